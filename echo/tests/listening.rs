//! The server says where it listens, and says why it can't.

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::{BINARY, Client, Server, run, wait_for};

#[test]
fn each_listener_is_announced_with_its_real_port() {
    let directory = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", directory.path().join("echo").display());
    let server = Server::start(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "[::1]:0",
        "--listen",
        "localhost:0",
        "--listen",
        &unix,
    ]);

    let [v4, v6, name, announced_unix] = &server.addresses[..] else {
        panic!("{:?}", server.addresses);
    };
    assert!(v4.starts_with("127.0.0.1:") && !v4.ends_with(":0"), "{v4}");
    assert!(v6.starts_with("[::1]:") && !v6.ends_with(":0"), "{v6}");
    assert!(!name.ends_with(":0"), "{name}");
    assert_eq!(*announced_unix, unix);
    for address in [v4, v6, name] {
        Client::connect(address).echo(b"over TCP");
    }
    Client::connect_unix(&directory.path().join("echo")).echo(b"over a Unix socket");
    let finished = server.stop();
    finished.assert_code(0);
    // Besides the announcements, which were read, the line about its end.
    let [stopped] = &finished.stdout[..] else {
        panic!("{finished:?}");
    };
    assert!(stopped.starts_with("stopped: "), "{stopped}");
    assert!(finished.stderr.is_empty(), "{finished:?}");
}

#[test]
fn a_busy_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = run(&["serve", "--listen", &address]);
    let error = finished.assert_code(1).error();
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("--listen"), "{error}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
}

#[test]
fn a_path_that_can_not_be_bound_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing/echo");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [missing, file.join("echo")] {
        let address = format!("unix:{}", path.display());
        let finished = run(&["serve", "--listen", &address]);
        let error = finished.assert_code(1).error();
        assert!(error.contains(&address), "{error}");
    }
}

#[test]
fn one_listener_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let unix = format!("unix:{}", path.display());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = run(&["serve", "--listen", &unix, "--listen", &address]);
    assert!(finished.assert_code(1).error().contains(&address));
    assert!(finished.stdout.is_empty(), "{finished:?}");
    assert!(!path.exists());
}

#[test]
fn nobody_has_to_listen_to_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let mut child = Command::new(BINARY)
        .args(["serve", "--max-frame", "1000", "--listen"])
        .arg(format!("unix:{}", path.display()))
        .env("RUST_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // From here on, each line that it writes fails.
    drop((child.stdout.take(), child.stderr.take()));

    let connect = || std::os::unix::net::UnixStream::connect(&path).ok();
    let mut first = Client::over_unix(wait_for("the server to listen", connect));
    first.echo(b"still there");
    first.send_raw(&1001_u32.to_be_bytes());
    first.assert_ended();
    Client::connect_unix(&path).echo(b"and after a warning");

    let pid = Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let status = wait_for("the server to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
