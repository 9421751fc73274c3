//! Opening a connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::address::{Address, AtAddress};
use super::resolve::resolve;
use super::{Peer, Stream, options};
use crate::reactor::{Direction, Handle, Registration, ScheduledIo};

impl Stream {
    /// Connects to `address`.
    ///
    /// A host name is resolved on a thread of its own, of which a process has 64 at
    /// once, and each of its addresses is tried in turn until one answers. The kernel
    /// gives a silent host about two minutes; [`Handle::timeout`] gives it less.
    ///
    /// # Errors
    ///
    /// An error that names the address: of the resolver, or of the last
    /// address tried (refused, unreachable, timed out), with its
    /// [`kind`](io::Error::kind);
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a Unix path that is empty,
    /// or that holds a NUL. A connection that comes back is established; no error
    /// of connecting is left for the first read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the half-made connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::io::ErrorKind;
    /// use readinto::{Reactor, Stream};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let nobody = "127.0.0.1:1".parse()?;
    /// let refused = reactor.block_on(Stream::connect(&handle, &nobody))?;
    /// assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(handle: &Handle, address: &Address) -> io::Result<Stream> {
        let connected = match address {
            Address::Tcp { host, port } => connect_tcp(handle, host, *port).await,
            Address::Unix(path) => connect_unix(handle, path).await,
        };
        connected.map_err(|error| AtAddress::wrap("connect to", address, error))
    }
}

async fn connect_tcp(handle: &Handle, host: &str, port: u16) -> io::Result<Stream> {
    let mut last = None;
    for peer in resolve(host, port).await? {
        match connect_to(handle, peer).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("a lookup returns at least one address"))
}

async fn connect_to(handle: &Handle, peer: SocketAddr) -> io::Result<Stream> {
    let registration = establish(handle, Domain::for_address(peer), &peer.into()).await?;
    prepare(handle, registration, Peer::Tcp(peer))
}

async fn connect_unix(handle: &Handle, path: &Path) -> io::Result<Stream> {
    let address = Address::unix_sock_addr(path)?;
    let mut pause = FIRST_PAUSE;
    loop {
        match establish(handle, Domain::UNIX, &address).await {
            Ok(registration) => {
                return prepare(handle, registration, Peer::Unix(path.to_owned()));
            }
            // The listener's backlog is full. A blocking connect would wait
            // its turn; without blocking there is no event to wait for.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                handle.sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

fn prepare(handle: &Handle, registration: Registration<Socket>, peer: Peer) -> io::Result<Stream> {
    let low_water = options::connected(registration.source(), &peer, handle.inner.busy_poll)?;
    Ok(Stream::new(registration, peer, low_water))
}

/// A socket that is connected to `address`, and registered.
async fn establish(
    handle: &Handle,
    domain: Domain,
    address: &SockAddr,
) -> io::Result<Registration<Socket>> {
    handle.inner.ensure_open()?;
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Ok(()) => {
            let assumed = ScheduledIo::assumed_ready();
            return Ok(Registration::new(&handle.inner, socket, assumed)?);
        }
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    // Registered only now: epoll reports a socket that has not begun to
    // connect as hung up.
    let registration = Registration::new(&handle.inner, socket, ScheduledIo::unready())?;
    poll_fn(|context| registration.poll_ready(context, Direction::Write)).await?;
    match registration.source().take_error()? {
        None => Ok(registration),
        Some(error) => Err(error),
    }
}
