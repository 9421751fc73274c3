//! The file of a Unix socket: a stale one is replaced, anything else is left
//! alone, and the server's own goes with it.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;
use support::{Client, Server, run, wait_for};

#[test]
fn a_stale_socket_is_replaced_and_ours_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    // The standard library leaves the file behind.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());

    let server = Server::start(&["--listen", &format!("unix:{}", path.display())]);
    Client::connect_unix(&path).echo(b"replaced");
    server.stop().assert_code(0);
    assert!(!path.exists());
}

#[test]
fn what_a_killed_server_leaves_is_stale() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let address = format!("unix:{}", path.display());
    let killed = Server::start(&["--listen", &address]);
    killed.process.signal(Signal::SIGKILL);
    killed.process.finish();
    assert!(path.exists());

    let server = Server::start(&["--listen", &address]);
    Client::connect_unix(&path).echo(b"again");
    server.stop().assert_code(0);
}

#[test]
fn a_live_socket_is_an_error_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let address = format!("unix:{}", path.display());
    let server = Server::start(&["--listen", &address]);
    let finished = run(&["serve", "--listen", &address]);
    let error = finished.assert_code(1).error();
    assert!(error.contains(&address), "{error}");
    Client::connect_unix(&path).echo(b"undisturbed");
    server.stop().assert_code(0);
}

#[test]
fn what_is_no_socket_is_an_error_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let stale = directory.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let link = directory.path().join("link");
    symlink(&stale, &link).unwrap();

    for path in [&file, &folder, &link] {
        let address = format!("unix:{}", path.display());
        let finished = run(&["serve", "--listen", &address]);
        let error = finished.assert_code(1).error();
        assert!(error.contains(&address), "{error}");
        assert!(error.contains("no socket"), "{error}");
        assert!(fs::symlink_metadata(path).is_ok(), "{address} was removed");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_file_that_took_the_place_of_ours_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let server = Server::start(&["--listen", &format!("unix:{}", path.display())]);
    // Kept, lest the new file get the inode of the old one.
    fs::rename(&path, directory.path().join("moved")).unwrap();
    fs::write(&path, "another's").unwrap();
    server.stop().assert_code(0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
}

#[test]
fn our_file_goes_also_after_a_second_signal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo");
    let server = Server::start(&["--listen", &format!("unix:{}", path.display())]);
    let mut client = Client::connect_unix(&path);
    client.echo(b"hello");
    client.send_raw(&[0, 0, 0, 9, 1]);
    server.process.signal(Signal::SIGTERM);
    wait_for("the listener to close", || (!path.exists()).then_some(()));
    server.process.signal(Signal::SIGTERM);
    server.process.finish().assert_code(1);
    assert!(!path.exists());
}
