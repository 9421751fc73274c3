//! How a connection to the example `nbd` begins and ends: the handshake, its limits,
//! and what a signal does.

mod support;

use std::fs;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::signal::Signal;

use support::assert_same;
use support::example::Example;
use support::nbd::{
    ABORT, Client, EXPORT_NAME, FLUSH, GO, INFO, LIST, OK, READ, REP_ACK, REP_ERR_INVALID,
    REP_ERR_UNKNOWN, REP_ERR_UNSUP, REP_INFO, REP_SERVER, Server, WRITE, request,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// What a `GO` or an `INFO` is told of a disk of 1 MiB.
fn assert_export_info(client: &mut Client, option: u32) {
    let mut export = vec![0, 0];
    export.extend(MIB.to_be_bytes());
    export.extend(0x016d_u16.to_be_bytes());
    assert_eq!(client.option_reply(option), (REP_INFO, export));
    let mut sizes = vec![0, 3];
    sizes.extend([1_u32, 4096, 32 << 20].map(u32::to_be_bytes).concat());
    assert_eq!(client.option_reply(option), (REP_INFO, sizes));
    assert_eq!(client.option_reply(option), (REP_ACK, vec![]));
}

#[test]
fn options_are_answered_by_the_book() {
    let server = Server::start(&["--size", "1MiB"]);
    let mut client = server.connect();
    client.greet(3);
    // To encrypt, to have structured replies, and two that nobody knows.
    for option in [5, 8, 77, u32::MAX] {
        client.option(option, b"whatever it takes");
        assert_eq!(client.option_reply(option), (REP_ERR_UNSUP, vec![]));
    }
    for option in [INFO, GO] {
        client.option(option, b"\0\0\0\x03foo\0\0");
        assert_eq!(client.option_reply(option), (REP_ERR_UNKNOWN, vec![]));
        for malformed in [
            &b""[..],
            &[0; 5],
            &[0; 7],
            b"\0\0\0\0\0\x01",
            b"\xff\xff\xff\xff\0\0",
        ] {
            client.option(option, malformed);
            assert_eq!(client.option_reply(option), (REP_ERR_INVALID, vec![]));
        }
    }
    client.option(LIST, b"");
    assert_eq!(client.option_reply(LIST), (REP_SERVER, vec![0; 4]));
    assert_eq!(client.option_reply(LIST), (REP_ACK, vec![]));
    client.option(LIST, b"x");
    assert_eq!(client.option_reply(LIST), (REP_ERR_INVALID, vec![]));
    client.option(INFO, b"\0\0\0\0\0\x01\0\x03");
    assert_export_info(&mut client, INFO);
    client.option(GO, &[0; 6]);
    assert_export_info(&mut client, GO);
    assert_eq!(client.read(0, 512), [0; 512]);

    let mut client = server.connect();
    client.greet(3);
    client.option(ABORT, b"");
    assert_eq!(client.option_reply(ABORT), (REP_ACK, vec![]));
    assert!(client.is_closed());
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn an_old_client_asks_for_the_export_by_name() {
    let server = Server::start(&["--size", "1MiB"]);
    for flags in 0..4 {
        let mut client = server.connect();
        client.greet(flags);
        client.option(EXPORT_NAME, b"");
        assert_eq!(client.receive(), MIB.to_be_bytes());
        assert_eq!(client.receive(), 0x016d_u16.to_be_bytes());
        if flags & 2 == 0 {
            assert_eq!(client.receive(), [0; 124]);
        }
        assert_eq!(client.read(0, 512), [0; 512]);
    }
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn garbage_ends_the_connection_with_one_line() {
    let server = Server::start(&["--size", "1MiB"]);
    let complain = |about: &str, garbage: &dyn Fn() -> Client| {
        let mut client = garbage();
        assert!(client.is_closed());
        drop(client);
        let line = server.complaint();
        assert!(line.contains(about), "{line}");
    };
    complain("unknown client flags 0x47455420", &|| {
        let mut client = server.connect();
        client.greet(u32::from_be_bytes(*b"GET "));
        client
    });
    complain("not an option", &|| {
        let mut client = server.connect();
        client.greet(3);
        client.send(&[b'x'; 16]);
        client
    });
    complain("4294967295 bytes of data", &|| {
        let mut client = server.connect();
        client.greet(3);
        client.send(b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff");
        client
    });
    complain("no export of that name", &|| {
        let mut client = server.connect();
        client.greet(3);
        client.option(EXPORT_NAME, b"foo");
        client
    });
    complain("not a request", &|| {
        let mut client = server.client();
        client.send(&[b'x'; 28]);
        client
    });
    complain("ended after 27 of 28 bytes", &|| {
        let mut client = server.client();
        client.send(&request(0, READ, 1, 0, 512)[..27]);
        client.0.shutdown(Shutdown::Write).unwrap();
        client
    });
    assert_eq!(server.client().read(0, 512), [0; 512]);
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn garbage_costs_a_client_none_of_the_replies_before_it() {
    let server = Server::start(&["--size", "1MiB"]);
    let mut client = server.client();
    // More than the client's window, so that some of it stays in the server's kernel, and
    // more garbage than is read ahead.
    const LEN: usize = 256 * 1024;
    let read = request(0, READ, 1, 0, LEN as u32);
    let write = [&request(0, WRITE, 2, 0, 512)[..], &[1; 512]].concat();
    client.send(&[&read[..], &write, &[b'x'; 50_000]].concat());
    assert_eq!(client.reply(1), OK);
    assert_same(&client.receive::<LEN>(), &[0; LEN]);
    assert_eq!(client.reply(2), OK);
    assert!(client.is_closed());
    drop(client);
    let line = server.complaint();
    assert!(line.contains("not a request"), "{line}");
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn a_handshake_has_a_time_limit_and_what_follows_has_none() {
    let server = Server::start(&["--size", "1MiB", "--handshake-timeout", "1"]);
    let mut quick = server.client();
    let mut silent = server.connect();
    let mut halfway = server.connect();
    halfway.greet(3);
    halfway.send(b"IHAVE");
    silent.receive::<18>();
    assert!(silent.is_closed());
    assert!(halfway.is_closed());
    for _ in 0..2 {
        let line = server.complaint();
        assert!(line.contains("1s"), "{line}");
    }
    assert_eq!(quick.read(0, 512), [0; 512]);
}

#[test]
fn connections_above_the_limit_wait_for_others_to_end() {
    let server = Server::start(&["--size", "1MiB", "--max-connections", "2"]);
    // All at once, and there is room for two.
    server.signal(Signal::SIGSTOP);
    let [first, second, third] = [(); 3].map(|()| server.connect());
    server.signal(Signal::SIGCONT);
    let [mut first, mut second] = [first, second].map(Client::go);
    for _ in 0..10 {
        assert_eq!(first.read(0, 512), [0; 512]);
        assert_eq!(second.read(0, 512), [0; 512]);
    }
    assert!(third.hears_nothing());
    drop(first);
    assert_eq!(third.go().read(0, 512), [0; 512]);
    assert_eq!(second.read(0, 512), [0; 512]);
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn a_signal_ends_the_server_once_the_requests_in_flight_are_answered() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, [0; 4096]).unwrap();
    let server = Server::start(&["--file", path.to_str().unwrap()]);
    let (mut idle, mut greeting, mut busy) = (server.client(), server.connect(), server.client());
    greeting.greet(3);
    busy.send(&request(0, WRITE, 1, 0, 4096));
    busy.send(&[1; 100]);
    // When it has answered this, it has seen all of the above.
    assert_eq!(idle.write(0, &[2; 4096]), OK);

    server.signal(Signal::SIGTERM);
    assert!(idle.is_closed());
    assert!(greeting.is_closed());
    assert!(TcpStream::connect(&server.address).is_err());
    busy.send(&[3; 3996]);
    assert_eq!(busy.reply(1), OK);
    assert!(busy.is_closed());
    drop((idle, greeting, busy));
    assert_eq!(server.finish(), (Some(0), vec![]));
    let expected = [&[1; 100][..], &[3; 3996]].concat();
    assert_same(&fs::read(&path).unwrap(), &expected);
}

#[test]
fn what_has_arrived_by_the_end_is_answered() {
    let server = Server::start(&["--size", "1MiB"]);
    // So long that nothing behind it is read ahead, and so many that the server gives way
    // to others in between.
    let payload = [1; 16 * 1024];
    let write = |cookie| [&request(0, WRITE, cookie, 0, 16 * 1024)[..], &payload].concat();
    let mut busy = draining(&server, &(1..=20).flat_map(write).collect::<Vec<_>>());
    for cookie in 0..=20 {
        assert_eq!(busy.reply(cookie), OK);
    }
    assert!(busy.is_closed());
    drop(busy);
    assert_eq!(server.finish(), (Some(0), vec![]));
}

#[test]
fn a_request_that_has_begun_by_the_end_is_answered_behind_all_others() {
    let server = Server::start(&["--size", "1MiB"]);
    let (mut idle, mut busy) = (server.client(), server.client());
    // More than the client's window, so that some of it stays in the server's kernel.
    const LEN: usize = 256 * 1024;
    let begun = request(0, FLUSH, 1, 0, 0);
    busy.send(&[&request(0, READ, 0, 0, LEN as u32), &begun[..10]].concat());
    // When it has answered this, it has seen the above.
    assert_eq!(idle.read(0, 512), [0; 512]);
    server.signal(Signal::SIGTERM);
    assert!(idle.is_closed());
    busy.send(&begun[10..]);
    assert_eq!(busy.reply(0), OK);
    assert_same(&busy.receive::<LEN>(), &[0; LEN]);
    assert_eq!(busy.reply(1), OK);
    assert!(busy.is_closed());
    drop(busy);
    assert_eq!(server.finish(), (Some(0), vec![]));
}

#[test]
fn a_client_that_goes_on_asking_does_not_put_off_the_end() {
    let server = Server::start(&["--size", "1MiB"]);
    let flush = |cookie| request(0, FLUSH, cookie, 0, 0);
    let mut busy = draining(&server, &(1..2000).flat_map(flush).collect::<Vec<_>>());
    for cookie in 0..1024 {
        assert_eq!(busy.reply(cookie), OK);
    }
    assert!(busy.is_closed());
    drop(busy);
    assert_eq!(server.finish(), (Some(0), vec![]));
}

/// A client of a server that began to drain in the middle of its request 0. The rest of
/// that has come since, and the other requests behind it.
fn draining(server: &Server, others: &[u8]) -> Client {
    let (mut idle, mut busy) = (server.client(), server.client());
    busy.send(&request(0, WRITE, 0, 0, 512));
    // When it has answered this, it has seen the above.
    assert_eq!(idle.read(0, 512), [0; 512]);
    server.signal(Signal::SIGTERM);
    assert!(idle.is_closed());

    // All at once.
    server.signal(Signal::SIGSTOP);
    busy.send(&[&[1; 512], others].concat());
    server.signal(Signal::SIGCONT);
    busy
}

#[test]
fn a_second_signal_cuts_who_keeps_the_server() {
    let server = Server::start(&["--size", "1MiB"]);
    let (mut idle, mut busy) = (server.client(), server.client());
    busy.send(&request(0, WRITE, 1, 0, 4096));
    assert_eq!(idle.read(0, 512), [0; 512]);
    server.signal(Signal::SIGINT);
    assert!(idle.is_closed());
    server.signal(Signal::SIGINT);
    assert!(busy.is_closed());
    drop(idle);
    let (code, complaints) = server.finish();
    assert_eq!(code, Some(1));
    assert_eq!(complaints, ["nbd: connections that had to be cut: 1"]);
}

#[test]
fn a_unix_socket_is_removed_at_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    let (server, _) = Example::listening("nbd", &["--listen", &address, "--size", "1MiB"]);
    UnixStream::connect(&path).unwrap();
    server.signal(Signal::SIGTERM);
    assert!(server.finish().0.success());
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_is_not_its_own_any_more_stays_and_is_no_failure() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let address = format!("unix:{}", path.display());
    for replaced in [false, true] {
        let (server, _) = Example::listening("nbd", &["--listen", &address, "--size", "1MiB"]);
        fs::remove_file(&path).unwrap();
        let _other = replaced.then(|| UnixListener::bind(&path).unwrap());
        server.signal(Signal::SIGTERM);
        let (status, _, complaints) = server.finish();
        assert!(status.success(), "{complaints:?}");
        assert_eq!(path.exists(), replaced);
    }
}
