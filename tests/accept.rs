//! Whoever connects is accepted, whatever its name and whatever happens meanwhile.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use readinto::{BoundListener, Reactor};
use support::strace::{traced, traced_with};
use support::{Transport, connect_blocking, listen, run, skipped};

/// Arguments: the path to bind to, and the path to connect to.
const CLIENT: &str = r#"
import ctypes, os, signal, socket, struct, sys

signal.alarm(20)
peer = socket.socket(socket.AF_UNIX)
address = struct.pack("=H108s", socket.AF_UNIX, os.fsencode(sys.argv[1]))
assert ctypes.CDLL(None).bind(peer.fileno(), address, len(address)) == 0
peer.connect(sys.argv[2])
peer.sendall(b"hello")
"#;

/// The path fills the address to its last byte, so there is no NUL behind it.
#[test]
fn a_peer_whose_own_path_is_as_long_as_can_be() {
    run(async |handle| {
        let (listener, folder) = listen(&handle, Transport::Unix);
        let folder = folder.expect("a Unix socket is in one");
        let own = folder.path().join("client");
        let fill = "-".repeat(108 - own.as_os_str().len());
        let own = format!("{}{fill}", own.display());
        let client = Command::new("python3")
            .args(["-c", CLIENT, &own, &path_of(&listener)])
            .stdin(Stdio::null())
            .spawn();
        let Ok(mut client) = client else {
            return skipped("there is no python3");
        };
        let mut stream = listener.accept().await.unwrap();
        assert_eq!(stream.peer_address().to_string(), format!("unix:{own}"));
        let mut greeting = [0; 5];
        stream.read_exact_into(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello");
        assert!(client.wait().unwrap().success());
    });
}

fn path_of(listener: &readinto::Listener) -> String {
    let address = listener.local_address().to_string();
    address.strip_prefix("unix:").unwrap().to_owned()
}

/// What fails is the third registration: before it come the reactor's own and the
/// listener's.
#[test]
fn a_connection_that_there_is_no_room_for_waits_until_there_is() {
    let workload = || {
        run(async |handle| {
            let (listener, _folder) = listen(&handle, Transport::Tcp);
            let mut peer = connect_blocking(&listener.local_address());
            let mut stream = listener.accept().await.unwrap();
            assert_eq!(handle.stats().accepts_delayed, 1);
            peer.write_all(b"hello").unwrap();
            let mut greeting = [0; 5];
            stream.read_exact_into(&mut greeting).await.unwrap();
            stream.write_all(&greeting).await.unwrap();
            peer.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, b"hello");
        });
    };
    let name = "a_connection_that_there_is_no_room_for_waits_until_there_is";
    let fault = ["-e", "inject=epoll_ctl:error=ENOSPC:when=3"];
    if let Some(trace) = traced_with(&fault, name, workload) {
        let calls = trace.of_the_reactor();
        let failed = calls
            .iter()
            .filter(|call| call.name == "epoll_ctl" && call.result < 0);
        assert_eq!(failed.count(), 1);
    }
}

/// What fails is the first attempt, with the error that the kernel has for a connection
/// that was reset in its queue.
#[test]
fn a_connection_that_died_while_it_waited_is_passed_over() {
    let workload = || {
        run(async |handle| {
            let (listener, _folder) = listen(&handle, Transport::Tcp);
            let _peer = connect_blocking(&listener.local_address());
            let _stream = listener.accept().await.unwrap();
            let stats = handle.stats();
            assert_eq!((stats.accepts_skipped, stats.accepted), (1, 1));
        });
    };
    let name = "a_connection_that_died_while_it_waited_is_passed_over";
    let call = ["-e", "trace=accept4"];
    let fault = ["-e", "inject=accept4:error=ECONNABORTED:when=1"];
    traced_with(&[call, fault].concat(), name, workload);
}

/// What fails is again the third registration, for good; the connection behind it comes.
#[test]
fn a_connection_that_can_not_be_registered_is_not_tried_for_ever() {
    let workload = || {
        run(async |handle| {
            let (listener, _folder) = listen(&handle, Transport::Tcp);
            let _first = connect_blocking(&listener.local_address());
            let mut second = connect_blocking(&listener.local_address());
            second.write_all(b"second").unwrap();
            let mut stream = listener.accept().await.unwrap();
            let stats = handle.stats();
            assert_eq!((stats.accepts_skipped, stats.accepted), (1, 1));
            let mut name = [0; 6];
            stream.read_exact_into(&mut name).await.unwrap();
            assert_eq!(&name, b"second");
        });
    };
    let name = "a_connection_that_can_not_be_registered_is_not_tried_for_ever";
    let fault = ["-e", "inject=epoll_ctl:error=EPERM:when=3"];
    traced_with(&fault, name, workload);
}

/// Whoever connects to a socket that listens for a moment only is reset.
#[test]
fn of_many_listeners_none_is_there_for_a_moment_only() {
    let workload = || {
        // For the trace, which looks for its thread.
        let _reactor = Reactor::new().unwrap();
        let listeners = BoundListener::bind_many(&"127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(listeners.len(), 3);
    };
    let name = "of_many_listeners_none_is_there_for_a_moment_only";
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        let listening = calls.iter().filter(|call| call.name == "listen");
        assert_eq!(listening.count(), 3);
    }
}
