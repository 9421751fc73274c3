//! Connections whose answer takes its time: the kernel says "in progress", and
//! what becomes of it reaches `connect` and not the first read.
//!
//! A listener with a full backlog drops what arrives, and the kernel asks again
//! after a second; by then the answer has changed.

mod support;

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;

use readinto::{Address, Handle, JoinHandle, Stream};
use socket2::Socket;

use support::{Transport, connect_blocking, listen_blocking, run, yield_now};

#[test]
fn a_connection_that_is_answered_late_is_made_and_works() {
    run(async |handle| {
        let (listener, _fills_the_backlog, connecting) = connecting_to_the_busy(&handle).await;
        drop(listener.accept().expect("the one in the backlog"));
        let mut stream = connecting.await.unwrap().expect("room by now");
        let (there, _) = listener.accept().expect("the late one");

        stream.write_all(b"late").await.unwrap();
        let mut got = [MaybeUninit::uninit(); 4];
        assert_eq!(there.recv(&mut got).unwrap(), 4);
        assert_eq!(there.send(b"soon").unwrap(), 4);
        let mut answer = [0; 4];
        stream.read_exact_into(&mut answer).await.unwrap();
        assert_eq!(&answer, b"soon");
    });
}

#[test]
fn a_connection_that_is_refused_late_fails_in_connect() {
    run(async |handle| {
        let (listener, _fills_the_backlog, connecting) = connecting_to_the_busy(&handle).await;
        let address: Address = listener
            .local_addr()
            .unwrap()
            .as_socket()
            .expect("a TCP socket")
            .into();
        drop(listener);
        let error = connecting.await.unwrap().expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}

/// A listener whose backlog is full, with the connection that fills it, and a
/// task that is trying to connect.
async fn connecting_to_the_busy(
    handle: &Handle,
) -> (Socket, Socket, JoinHandle<io::Result<Stream>>) {
    let (listener, address, _) = listen_blocking(Transport::Tcp);
    listener.listen(0).unwrap();
    let fills_the_backlog = connect_blocking(&address);
    let connecting = {
        let handle = handle.clone();
        handle
            .clone()
            .spawn(async move { Stream::connect(&handle, &address).await })
    };
    for _ in 0..3 {
        yield_now().await;
    }
    assert!(!connecting.is_finished(), "answered at once");
    (listener, fills_the_backlog, connecting)
}
