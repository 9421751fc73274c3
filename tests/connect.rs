//! Connecting and accepting: what fails, fails there, with the address in the
//! message; what waits can be dropped.

mod support;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use readinto::{Address, BoundListener, Handle, Listener, Reactor, Stream};
use socket2::{Domain, SockAddr, Socket, Type};
use support::{
    Transport, connect_blocking, drop_once, listen, listen_blocking, over_each_transport,
    peer_thread, run, skipped, yield_now,
};
use tempfile::TempDir;

const SHORT: Duration = Duration::from_millis(5);

#[track_caller]
fn assert_names(error: &io::Error, kind: ErrorKind, address: &Address) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
}

/// An address that belongs to a socket on which nobody listens, as long as
/// that lives.
fn deaf(transport: Transport) -> (Address, Socket, Option<TempDir>) {
    match transport {
        Transport::Tcp => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
            socket.bind(&any.into()).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            (address.into(), socket, None)
        }
        Transport::Unix => {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("socket");
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
            (Address::Unix(path), socket, Some(folder))
        }
    }
}

#[test]
fn a_refusal_comes_from_connect_and_names_the_address() {
    over_each_transport(async |handle, transport| {
        let (address, _deaf, _folder) = deaf(transport);
        for _ in 0..100 {
            let error = Stream::connect(&handle, &address).await.unwrap_err();
            assert_names(&error, ErrorKind::ConnectionRefused, &address);
        }
    });
}

#[test]
fn a_listener_that_was_dropped_refuses() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        let connected = Stream::connect(&handle, &address).await;
        connected.expect("it listens");
        drop(listener);
        let error = Stream::connect(&handle, &address).await.unwrap_err();
        assert_names(&error, ErrorKind::ConnectionRefused, &address);
    });
}

#[test]
fn a_path_that_is_not_there_is_not_found() {
    run(async |handle| {
        let folder = TempDir::new().unwrap();
        let address = Address::Unix(folder.path().join("nobody"));
        let error = Stream::connect(&handle, &address).await.unwrap_err();
        assert_names(&error, ErrorKind::NotFound, &address);
    });
}

#[test]
fn a_path_that_is_no_socket_is_refused() {
    run(async |handle| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "plain").unwrap();
        let address = Address::Unix(path);
        let error = Stream::connect(&handle, &address).await.unwrap_err();
        assert_names(&error, ErrorKind::ConnectionRefused, &address);
    });
}

/// The kernel binds a socket with an empty path to a name of its own choice, and
/// takes what stands before a NUL for the whole path.
#[test]
fn a_path_that_is_not_the_name_of_the_socket_is_no_address() {
    run(async |handle| {
        let folder = TempDir::new().unwrap();
        let cut = folder.path().join("socket\0more");
        for path in ["".into(), cut] {
            let address = Address::Unix(path);
            let error = Listener::bind(&handle, &address).unwrap_err();
            assert_names(&error, ErrorKind::InvalidInput, &address);
            let error = Stream::connect(&handle, &address).await.unwrap_err();
            assert_names(&error, ErrorKind::InvalidInput, &address);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let many = BoundListener::bind_many(&Address::Unix("".into()), 2);
        assert_eq!(many.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_of_linux_is_an_address() {
    run(async |handle| {
        let name = format!("\0readinto \0 {}", std::process::id());
        let address = Address::Unix(name.into());
        let listener = Listener::bind(&handle, &address).unwrap();
        round_trip(&handle, &listener, &address).await;
    });
}

#[test]
fn an_address_in_use_cannot_be_listened_on() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        let error = Listener::bind(&handle, &address).unwrap_err();
        assert_names(&error, ErrorKind::AddrInUse, &address);
    });
}

#[test]
fn a_port_can_be_bound_again_while_its_old_connections_die() {
    run(async |handle| {
        let (listener, _) = listen(&handle, Transport::Tcp);
        let address = listener.local_address();
        let mut here = Stream::connect(&handle, &address).await.unwrap();
        // Whoever ends first is left with the dying connection.
        drop(listener.accept().await.unwrap());
        assert!(here.read_exact_into(&mut [0]).await.is_err());
        drop((here, listener));
        let again = Listener::bind(&handle, &address).unwrap();
        assert_eq!(again.local_address(), address);
    });
}

#[test]
fn a_host_name_that_no_resolver_takes_is_an_error_that_names_it() {
    // Labels have at most 63 bytes (RFC 1035), so this is asked nowhere.
    let host = "x".repeat(300);
    let address: Address = format!("{host}:80").parse().unwrap();
    run(async |handle| {
        let error = Stream::connect(&handle, &address).await.unwrap_err();
        assert!(error.to_string().contains(&host), "{error}");
        let error = Listener::bind(&handle, &address).unwrap_err();
        assert!(error.to_string().contains(&host), "{error}");
    });
}

#[test]
fn a_host_name_is_resolved() {
    run(async |handle| {
        let localhost = "localhost:0".parse().unwrap();
        let listener = Listener::bind(&handle, &localhost).unwrap();
        let Address::Tcp { port, .. } = listener.local_address() else {
            panic!("not TCP");
        };
        let by_name = format!("localhost:{port}").parse().unwrap();
        round_trip(&handle, &listener, &by_name).await;
        // A lookup that is given up leaves nothing that disturbs the next one.
        drop_once(Stream::connect(&handle, &by_name), || true).await;
        round_trip(&handle, &listener, &by_name).await;
    });
}

/// Connects to `address`, and sends a few bytes there and back.
async fn round_trip(handle: &Handle, listener: &Listener, address: &Address) {
    let mut here = Stream::connect(handle, address).await.unwrap();
    let mut there = loop {
        let stream = listener.accept().await.unwrap();
        // A connection that was given up may still be in the queue.
        if stream.peer_address() == here.local_address().unwrap() {
            break stream;
        }
    };
    let mut buf = [0; 5];
    here.write_all(b"there").await.unwrap();
    there.read_exact_into(&mut buf).await.unwrap();
    assert_eq!(&buf, b"there");
    there.write_all(b"back!").await.unwrap();
    here.read_exact_into(&mut buf).await.unwrap();
    assert_eq!(&buf, b"back!");
}

/// The name in [`TWO_ADDRESSES`] and the test that looks it up.
const HOST: &str = "two-addresses";
const TWO_ADDRESSES: &str = "127.0.0.1 two-addresses\n::1 two-addresses\n";
const INSIDE: &str = "READINTO_TEST_HAS_A_NAME_WITH_TWO_ADDRESSES";

/// No name has two addresses on every machine. Linux lets us have one that
/// does, in a mount namespace with another `/etc/hosts`, in which this test
/// runs once more.
#[test]
fn every_address_of_a_name_is_tried() {
    if std::env::var_os(INSIDE).is_some() {
        run(async |handle| try_both_addresses(&handle).await);
        return;
    }
    let folder = TempDir::new().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, TWO_ADDRESSES).unwrap();
    let probe = in_namespace(&hosts, Path::new("true")).output();
    if !probe.is_ok_and(|probe| probe.status.success()) || !has_ipv6() {
        skipped("no mount namespace to be had here, or no IPv6");
        return;
    }
    let inside = in_namespace(&hosts, &std::env::current_exe().unwrap())
        .args(["--exact", "every_address_of_a_name_is_tried"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&inside.stdout);
    assert!(
        inside.status.success() && output.contains("1 passed"),
        "{output}{}",
        String::from_utf8_lossy(&inside.stderr)
    );
}

/// `program`, with `hosts` as its `/etc/hosts`.
fn in_namespace(hosts: &Path, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg("mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"")
        .arg("sh")
        .args([hosts, program]);
    command
}

async fn try_both_addresses(handle: &Handle) {
    for only in ["127.0.0.1:0", "[::1]:0"] {
        let listener = Listener::bind(handle, &only.parse().unwrap()).unwrap();
        let Address::Tcp { port, .. } = listener.local_address() else {
            panic!("not TCP");
        };
        let by_name: Address = format!("{HOST}:{port}").parse().unwrap();
        round_trip(handle, &listener, &by_name).await;
        drop(listener);
        // And if none answers, the error is of the name that was asked for.
        let error = Stream::connect(handle, &by_name).await.unwrap_err();
        assert_names(&error, ErrorKind::ConnectionRefused, &by_name);
    }
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn ipv6_works_like_ipv4() {
    if !has_ipv6() {
        skipped("no IPv6 on this machine");
        return;
    }
    run(async |handle| {
        let any_port = "[::1]:0".parse().unwrap();
        let listener = Listener::bind(&handle, &any_port).unwrap();
        let address = listener.local_address();
        assert!(address.to_string().starts_with("[::1]:"), "{address}");
        assert_ne!(address, any_port, "the real port");
        round_trip(&handle, &listener, &address).await;
    });
}

#[test]
fn both_ends_know_each_others_address() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        let here = Stream::connect(&handle, &address).await.unwrap();
        let there = listener.accept().await.unwrap();
        assert_eq!(here.peer_address(), address);
        assert_eq!(there.local_address().unwrap(), address);
        assert_eq!(there.peer_address(), here.local_address().unwrap());
        if transport == Transport::Unix {
            assert_eq!(there.peer_address(), Address::Unix("".into()));
        }
        let (read, write) = here.split();
        assert_eq!(read.peer_address(), address);
        assert_eq!(write.peer_address(), address);
    });
}

/// A Unix listener whose backlog is full makes others wait, even though the
/// kernel gives them nothing to wait for.
#[test]
fn connects_to_a_full_unix_backlog_wait_their_turn() {
    const CONNECTS: usize = 20;
    run(async |handle| {
        let (listener, address, _folder) = listen_blocking(Transport::Unix);
        listener.listen(2).unwrap();
        let mut tasks = Vec::new();
        for _ in 0..CONNECTS {
            let (handle, address) = (handle.clone(), address.clone());
            tasks.push(
                handle
                    .clone()
                    .spawn(async move { Stream::connect(&handle, &address).await }),
            );
        }
        // The kernel lets one more in than it was told.
        while handle.tasks() > CONNECTS - 3 {
            yield_now().await;
        }
        yield_now().await;
        assert_eq!(handle.tasks(), CONNECTS - 3, "the others wait");

        let acceptor = peer_thread(move || {
            (0..CONNECTS)
                .map(|_| listener.accept().unwrap().0)
                .collect::<Vec<_>>()
        });
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(acceptor.join().await.len(), CONNECTS);
    });
}

#[test]
fn a_connect_that_waits_can_be_dropped() {
    over_each_transport(async |handle, transport| {
        let (listener, address, _folder) = listen_blocking(transport);
        listener.listen(0).unwrap();
        // The one that the kernel lets in makes the backlog full.
        let first = Stream::connect(&handle, &address).await.unwrap();
        for _ in 0..3 {
            let late = handle
                .timeout(SHORT, Stream::connect(&handle, &address))
                .await;
            assert!(late.is_err(), "{late:?}");
        }
        // It was not disturbed.
        let (there, _) = listener.accept().unwrap();
        assert_eq!(there.send(b"hello").unwrap(), 5);
        let mut first = first;
        let mut buf = [0; 5];
        first.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
    });
}

#[test]
fn a_second_accept_is_refused_and_the_first_goes_on() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let listener = std::rc::Rc::new(listener);
        for _ in 0..3 {
            let accepting = listener.clone();
            let first = handle.spawn(async move { accepting.accept().await });
            yield_now().await;
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
            assert!(!first.is_finished());
            let _peer = connect_blocking(&listener.local_address());
            first.await.unwrap().unwrap();
        }
        // When nobody waits, the place is free.
        let _peer = connect_blocking(&listener.local_address());
        listener.accept().await.unwrap();
    });
}

#[test]
fn many_connect_at_once() {
    const CONNECTS: usize = 200;
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        let accepting = handle.spawn(async move {
            let mut accepted = Vec::new();
            while accepted.len() < CONNECTS {
                accepted.push(listener.accept().await.unwrap());
            }
            for stream in &mut accepted {
                stream.write_all(b"welcome").await.unwrap();
            }
        });
        let connects: Vec<_> = (0..CONNECTS)
            .map(|_| {
                let (handle, address) = (handle.clone(), address.clone());
                handle.clone().spawn(async move {
                    let mut stream = Stream::connect(&handle, &address).await.unwrap();
                    let mut buf = [0; 7];
                    stream.read_exact_into(&mut buf).await.unwrap();
                    buf
                })
            })
            .collect();
        for connect in connects {
            assert_eq!(&connect.await.unwrap(), b"welcome");
        }
        accepting.await.unwrap();
    });
}

#[test]
fn a_reactor_that_is_gone_says_so() {
    let handle = Reactor::new().unwrap().handle();
    run(async |alive| {
        let (listener, _folder) = listen(&alive, Transport::Tcp);
        let address = listener.local_address();
        let error = Stream::connect(&handle, &address).await.unwrap_err();
        assert_names(&error, ErrorKind::NotConnected, &address);
        let any: Address = "127.0.0.1:0".parse().unwrap();
        let error = Listener::bind(&handle, &any).unwrap_err();
        assert_names(&error, ErrorKind::NotConnected, &any);
    });
}
