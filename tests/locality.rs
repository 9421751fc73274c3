//! The receive buffer is fixed where the peer is on the same host, and left to
//! the kernel where it is not or where nobody can tell.
//!
//! The network is made of two namespaces with a cable between them, so nothing
//! leaves the machine; it takes `ip` and the right to make them.

mod support;

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{self, Command};
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns};
use readinto::{Address, Listener, Stream};
use support::{Transport, connected_pair, run};

#[test]
fn on_loopback_the_buffer_is_fixed() {
    run(async |handle| {
        let (here, there) = connected_pair(&handle, Transport::Tcp).await;
        for stream in [here, there] {
            assert_eq!(buffer_of(&stream), expected_on_the_same_host());
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

const LEFT: &str = "10.77.0.1";
const RIGHT: &str = "10.77.0.2";

/// Two namespaces and a cable; gone when it is dropped.
struct Network {
    left: Namespace,
    right: Namespace,
}

#[derive(Clone)]
struct Namespace(String);

impl Network {
    fn set_up(name: &str) -> Option<Network> {
        let namespace = |side| Namespace(format!("readinto-{}-{name}-{side}", process::id()));
        let network = Network {
            left: namespace("left"),
            right: namespace("right"),
        };
        let (left, right) = (&network.left.0, &network.right.0);
        let steps = [
            format!("netns add {left}"),
            format!("netns add {right}"),
            format!("-n {left} link add cable type veth peer name cable netns {right}"),
            format!("-n {left} address add {LEFT}/24 dev cable"),
            format!("-n {right} address add {RIGHT}/24 dev cable"),
            format!("-n {left} link set cable up"),
            format!("-n {left} link set lo up"),
            format!("-n {right} link set cable up"),
        ];
        for step in steps {
            if let Err(reason) = ip(&step) {
                eprintln!("skipped: no network of namespaces here (ip {step}: {reason})");
                return None;
            }
        }
        Some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for Namespace(name) in [&self.left, &self.right] {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

impl Namespace {
    /// Moves this thread, and the sockets that it opens, into the namespace.
    fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("it is there");
        setns(file, CloneFlags::CLONE_NEWNET).expect("what made it may enter it");
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
