//! Who may connect, and what strangers can make of the log.

mod support;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

use socket2::{Domain, Socket, Type};
use support::{Client, DEADLINE, Server, run};

#[test]
fn those_outside_of_the_allowed_networks_are_refused_before_a_byte_is_read() {
    let mut server =
        Server::start_with_log("info", &["--allow", "127.0.0.8/30", "--allow", "127.0.0.1"]);
    let address: SocketAddr = server.address().parse().unwrap();
    for (host, admitted) in [(1, true), (8, true), (11, true), (2, false), (12, false)] {
        let mut client = Client(connect_from(Ipv4Addr::new(127, 0, 0, host), address));
        if admitted {
            client.echo(b"welcome");
        } else {
            // A reset, or its end if that is seen first.
            assert!(!matches!(client.0.read(&mut [0]), Ok(1..)));
            let line = server.process.stderr_line("refused a connection");
            assert!(line.contains(&format!("127.0.0.{host}:")), "{line}");
        }
    }
    server.stop().assert_code(0);
}

#[test]
fn a_server_that_others_can_reach_says_so() {
    let mut exposed = Server::start(&["--listen", "0.0.0.0:0"]);
    exposed.process.stderr_line("--allow");
    exposed.stop().assert_code(0);
    for arguments in [
        &["--listen", "0.0.0.0:0", "--allow", "127.0.0.0/8"][..],
        &["--listen", "127.0.0.1:0"],
    ] {
        let finished = Server::start(arguments).stop();
        finished.assert_code(0);
        assert!(finished.stderr.is_empty(), "{finished:?}");
    }
}

#[test]
fn a_unix_socket_is_its_owners_unless_another_mode_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    for (arguments, expected) in [
        (&[][..], 0o600),
        (&["--mode", "0660"], 0o660),
        (&["--mode", "777"], 0o777),
    ] {
        let arguments = [&["--listen", &listen], arguments].concat();
        let server = Server::start(&arguments);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, expected, "{arguments:?}");
        Client::connect_unix(&path).echo(b"hello");
        server.stop().assert_code(0);
    }
}

#[test]
fn a_mode_or_a_network_that_makes_no_sense_is_wrong_usage() {
    for arguments in [
        ["--mode", "0888"],
        ["--mode", "1777"],
        ["--mode", "+600"],
        ["--mode", "rw"],
        ["--allow", "10.0.0.0/33"],
        ["--allow", "localhost"],
    ] {
        let finished = run(&[&["serve"][..], &arguments].concat());
        finished.assert_code(2);
        let text = finished.stderr.join("\n");
        assert!(text.contains(arguments[1]), "{text}");
    }
}

#[test]
fn a_flood_of_nonsense_leaves_a_few_lines() {
    let server = Server::start(&["--max-frame", "1KiB"]);
    for _ in 0..200 {
        let mut client = server.connect();
        client.send_raw(&[0xff; 4]);
        client.assert_ended();
    }
    server.connect().echo(b"fine");
    let finished = server.stop();
    finished.assert_code(0);
    let lines = finished.stderr.len();
    assert!((1..=20).contains(&lines), "{lines} lines");
}

/// A connection that comes from `host`.
fn connect_from(host: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((host, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}
