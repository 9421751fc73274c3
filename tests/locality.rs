//! The receive buffer is fixed where the peer is on the same host, and left to
//! the kernel where it is not or where nobody can tell.
//!
//! Where `ip` can't make a network of namespaces, that part is skipped.

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use readinto::{Address, Listener, Stream};
use support::network::{LEFT, Network, RIGHT};
use support::{Transport, connected_pair, run};

#[test]
fn on_loopback_the_buffer_is_fixed() {
    run(async |handle| {
        let (here, there) = connected_pair(&handle, Transport::Tcp).await;
        for stream in [here, there] {
            assert_eq!(buffer_of(&stream), expected_on_the_same_host());
            assert!(stream.socket().tcp_nodelay().unwrap());
        }
    });
}

#[test]
fn an_address_of_our_own_is_the_same_host() {
    let Some(network) = Network::set_up("own") else {
        return;
    };
    network.left.enter();
    run(async |handle| {
        let (here, there) = pair_at(&handle, LEFT).await;
        for stream in [here, there] {
            assert_eq!(buffer_of(&stream), expected_on_the_same_host());
        }
    });
}

#[test]
fn across_a_network_the_buffer_is_left_to_the_kernel_at_both_ends() {
    let Some(network) = Network::set_up("far") else {
        return;
    };
    let right = network.right.clone();
    let (sender, receiver) = mpsc::channel();
    // A plain peer at the other end, which listens, and then connects.
    let peer = thread::spawn(move || {
        right.enter();
        let listener = TcpListener::bind((RIGHT, 0)).unwrap();
        sender.send(listener.local_addr().unwrap()).unwrap();
        let (mut first, from) = listener.accept().unwrap();
        let mut port = [0; 2];
        first.read_exact(&mut port).unwrap();
        let back = SocketAddr::new(from.ip(), u16::from_be_bytes(port));
        let mut second = TcpStream::connect(back).unwrap();
        // Until the library has seen both.
        first.read_exact(&mut [0]).unwrap();
        second.read_exact(&mut [0]).unwrap();
    });
    network.left.enter();
    let there = receiver.recv().unwrap();
    run(async |handle| {
        let mut connected = Stream::connect(&handle, &there.into()).await.unwrap();
        let listener = Listener::bind(&handle, &format!("{LEFT}:0").parse().unwrap()).unwrap();
        let Address::Tcp { port, .. } = listener.local_address() else {
            panic!("not TCP");
        };
        connected.write_all(&port.to_be_bytes()).await.unwrap();
        let mut accepted = listener.accept().await.unwrap();
        for stream in [&mut connected, &mut accepted] {
            let buffer = buffer_of(stream);
            assert!(buffer <= kernels_default(), "{buffer} bytes");
            stream.write_all(b"!").await.unwrap();
        }
    });
    peer.join().unwrap();
}

/// Both ends of a connection of a host with itself.
async fn pair_at(handle: &readinto::Handle, host: &str) -> (Stream, Stream) {
    let address = format!("{host}:0").parse().unwrap();
    let listener = Listener::bind(handle, &address).unwrap();
    let here = Stream::connect(handle, &listener.local_address()).await;
    (here.unwrap(), listener.accept().await.unwrap())
}

fn buffer_of(stream: &Stream) -> usize {
    stream.socket().recv_buffer_size().unwrap()
}

/// The kernel doubles what is asked for, up to twice its limit.
fn expected_on_the_same_host() -> usize {
    match first_number("/proc/sys/net/core/rmem_max", 0) {
        small if small < 1024 * 1024 => kernels_default(),
        limit => 2 * limit.min(2 * 1024 * 1024),
    }
}

/// What a receive buffer begins with.
fn kernels_default() -> usize {
    first_number("/proc/sys/net/ipv4/tcp_rmem", 1)
}

fn first_number(file: &str, index: usize) -> usize {
    let text = std::fs::read_to_string(file).expect("the kernel tells");
    let number = text.split_whitespace().nth(index).expect("a number");
    number.parse().expect("a number")
}
