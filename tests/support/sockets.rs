//! Connected sockets of both kinds: streams of the reactor, and blocking ones
//! of the standard sort, which do what no well-behaved program would.

use std::fmt;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use readinto::{Address, Handle, Listener, Stream};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tempfile::TempDir;

use super::{DEADLINE, yield_now};

/// What a stream can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
}

impl Transport {
    pub(crate) const ALL: [Transport; 2] = [Transport::Tcp, Transport::Unix];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP",
            Transport::Unix => "a Unix socket",
        })
    }
}

/// A listener on a free address, and the folder of its socket file, if it has
/// one, to be kept as long.
pub(crate) fn listen(handle: &Handle, transport: Transport) -> (Listener, Option<TempDir>) {
    let (address, folder) = free_address(transport);
    let listener = Listener::bind(handle, &address).expect("a free address");
    (listener, folder)
}

/// Both ends of a new connection: the one that connected, the one accepted.
pub(crate) async fn connected_pair(handle: &Handle, transport: Transport) -> (Stream, Stream) {
    let (listener, _folder) = listen(handle, transport);
    let here = Stream::connect(handle, &listener.local_address())
        .await
        .expect("the listener is there");
    let there = listener.accept().await.expect("somebody has connected");
    (here, there)
}

/// An accepted stream, and the blocking socket at its other end.
///
/// That socket may be moved to another thread; there, too, nothing waits for
/// ever.
pub(crate) async fn stream_and_peer(handle: &Handle, transport: Transport) -> (Stream, Socket) {
    let (listener, _folder) = listen(handle, transport);
    let peer = connect_blocking(&listener.local_address());
    let stream = listener.accept().await.expect("somebody has connected");
    (stream, peer)
}

/// A blocking socket, connected to a listener whose backlog has room.
pub(crate) fn connect_blocking(address: &Address) -> Socket {
    let (domain, address) = sock_addr(address);
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    socket.connect(&address).expect("the listener is there");
    bounded(socket)
}

/// A blocking listening socket on a free address of `transport`.
pub(crate) fn listen_blocking(transport: Transport) -> (Socket, Address, Option<TempDir>) {
    let (address, folder) = free_address(transport);
    let (domain, name) = sock_addr(&address);
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    socket.bind(&name).expect("a free address");
    socket.listen(16).expect("a bound socket can listen");
    let address = match socket.local_addr().expect("an address").as_socket() {
        Some(bound) => bound.into(),
        None => address,
    };
    (bounded(socket), address, folder)
}

fn free_address(transport: Transport) -> (Address, Option<TempDir>) {
    match transport {
        Transport::Tcp => ("127.0.0.1:0".parse().expect("an address"), None),
        Transport::Unix => {
            let folder = TempDir::new().expect("a folder for temporary files");
            (Address::Unix(folder.path().join("socket")), Some(folder))
        }
    }
}

fn sock_addr(address: &Address) -> (Domain, SockAddr) {
    match address {
        Address::Tcp { host, port } => {
            let ip = host.parse().expect("an IP address");
            let address = std::net::SocketAddr::new(ip, *port);
            (Domain::for_address(address), address.into())
        }
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path).expect("a short path")),
        other => panic!("{other} is neither TCP nor Unix"),
    }
}

fn bounded(socket: Socket) -> Socket {
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    if socket.domain().ok() != Some(Domain::UNIX) {
        socket.set_tcp_nodelay(true).expect("a TCP socket");
    }
    socket
}

/// Ends the connection of a TCP peer with a reset instead of a FIN.
pub(crate) fn reset(peer: Socket) {
    peer.set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    drop(peer);
}

/// Waits until at least `count` bytes lie in the kernel, unread.
pub(crate) async fn arrived(stream: &Stream, count: usize) {
    arrived_on(stream.socket(), count).await;
}

/// As [`arrived`], for what has been split off a stream.
pub(crate) async fn arrived_on(socket: SockRef<'_>, count: usize) {
    while unread(&socket, count) < count {
        yield_now().await;
    }
}

/// A condition for [`drop_once`](super::drop_once): all that has arrived so far
/// has been read.
pub(crate) fn drained(stream: &Stream) -> impl FnMut() -> bool + use<> {
    let duplicate = stream.socket().try_clone().expect("a free descriptor");
    move || unread(&SockRef::from(&duplicate), 1) == 0
}

/// How many bytes, up to `limit`, lie in the kernel for `socket`, unread.
///
/// A connection that was reset has none.
pub(crate) fn unread(socket: &SockRef<'_>, limit: usize) -> usize {
    let mut seen = vec![MaybeUninit::uninit(); limit];
    match socket.recv_with_flags(&mut seen, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("cannot peek: {error}"),
    }
}
