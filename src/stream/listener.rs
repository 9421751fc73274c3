//! Accepting connections, and which errors of accepting are the caller's.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::address::{Address, AtAddress};
use super::resolve::resolve_blocking;
use super::{Peer, Stream, options};
use crate::reactor::{Direction, Handle, Registration, ScheduledIo};

/// A listening TCP or Unix socket.
pub struct Listener {
    registration: Registration<Acceptor>,
    address: Address,
    accepting: Cell<bool>,
}

impl Listener {
    /// Binds to `address` and listens.
    ///
    /// A host name is resolved here and now, which blocks; the first of its
    /// addresses that can be bound is used. `SO_REUSEADDR` is set, so that a
    /// port whose old connections are still dying can be bound again. A Unix
    /// socket's file must not exist, and stays when the listener is dropped:
    /// both are the caller's to decide.
    ///
    /// # Errors
    ///
    /// An error that names the address, with the [`kind`](io::Error::kind) of
    /// its cause: most often `AddrInUse`.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::{Listener, Reactor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new()?;
    /// let listener = Listener::bind(&reactor.handle(), &"127.0.0.1:0".parse()?)?;
    /// println!("listening on {}", listener.local_address());
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind(handle: &Handle, address: &Address) -> io::Result<Listener> {
        let bound = match address {
            Address::Tcp { host, port } => bind_tcp(host, *port),
            Address::Unix(path) => bind_unix(path),
        };
        bound
            .and_then(|(acceptor, address)| {
                let io = ScheduledIo::assumed_ready();
                Ok(Listener {
                    registration: Registration::new(&handle.inner, acceptor, io)?,
                    address,
                    accepting: Cell::new(false),
                })
            })
            .map_err(|error| AtAddress::wrap("listen on", address, error))
    }

    /// The next connection.
    ///
    /// Connections that died while they waited are passed over in silence.
    ///
    /// # Errors
    ///
    /// - Out of descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`,
    ///   `ENOMEM`): the connection stays in the kernel's queue. Wait a little
    ///   before the next call, which will fail again at once while nothing has
    ///   been freed.
    /// - [`io::ErrorKind::ResourceBusy`] if another `accept` is waiting on this
    ///   listener; that one is not disturbed.
    /// - Anything else is an error of the listening socket itself.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> io::Result<Stream> {
        let _turn = Turn::take(&self.accepting)?;
        loop {
            let (socket, peer) = poll_fn(|context| self.poll_accept(context)).await?;
            let inner = self.registration.inner();
            match options::connected(&socket, &peer, inner.busy_poll) {
                Ok(low_water) => {
                    let registration =
                        Registration::new(inner, socket, ScheduledIo::assumed_ready())?;
                    return Ok(Stream::new(registration, peer, low_water));
                }
                // Some systems refuse options on a connection that was reset.
                Err(error) => log::debug!("passed over a connection: {error}"),
            }
        }
    }

    /// The address that is listened on, with the real port where 0 was asked.
    #[must_use]
    pub fn local_address(&self) -> Address {
        self.address.clone()
    }

    /// The socket, for its options.
    #[must_use]
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.registration.source())
    }

    fn poll_accept(&self, context: &Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        self.registration
            .poll_operation(context, Direction::Read, |acceptor| {
                loop {
                    match acceptor.accept() {
                        Err(error) if is_of_one_connection(&error) => {
                            log::debug!("passed over a connection: {error}");
                        }
                        accepted => return accepted,
                    }
                }
            })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Held by the one `accept` that may wait: two would take each other's waker.
struct Turn<'a>(&'a Cell<bool>);

impl Turn<'_> {
    fn take(accepting: &Cell<bool>) -> io::Result<Turn<'_>> {
        if accepting.replace(true) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another task is waiting to accept on this listener",
            ));
        }
        Ok(Turn(accepting))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Whether an error of `accept` is about the connection that it took off the
/// queue and not about the listener: accept(2) lists these and says to treat
/// them like "try again".
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPERM
                | libc::EPROTO
        )
    )
}

/// mio's listeners, for their one system call per connection.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((OwnedFd::from(stream).into(), Peer::Tcp(peer)))
            }
            Acceptor::Unix(listener) => {
                let (stream, peer) = listener.accept()?;
                let path = peer.as_pathname().map(PathBuf::from).unwrap_or_default();
                Ok((OwnedFd::from(stream).into(), Peer::Unix(path)))
            }
        }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Acceptor::Tcp(listener) => listener.as_fd(),
            Acceptor::Unix(listener) => listener.as_fd(),
        }
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<(Acceptor, Address)> {
    let mut last = None;
    for address in resolve_blocking(host, port)? {
        match listen_tcp(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("a lookup returns at least one address"))
}

fn listen_tcp(address: SocketAddr) -> io::Result<(Acceptor, Address)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let address = Address::from_sock_addr(&socket.local_addr()?)?;
    let listener = TcpListener::from_std(socket.into());
    Ok((Acceptor::Tcp(listener), address))
}

fn bind_unix(path: &Path) -> io::Result<(Acceptor, Address)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    let listener = UnixListener::from_std(OwnedFd::from(socket).into());
    Ok((Acceptor::Unix(listener), Address::Unix(path.to_owned())))
}

/// As large as the kernel allows: it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;
