//! Accepting connections.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::task::{Context, Poll};

use socket2::{SockAddr, SockRef, Socket};

use super::accept_error::{Shortage, Verdict};
use super::address::{Address, AtAddress};
use super::bound_listener::BoundListener;
use super::{Peer, Stream, options};
use crate::reactor::{Direction, Handle, Registration, ScheduledIo, Sleep, Unregistered};

/// A listening TCP or Unix socket.
///
/// # Examples
///
/// See [`bind`](Listener::bind).
pub struct Listener {
    registration: Registration<Socket>,
    address: Address,
    accepting: Cell<bool>,
    /// A connection that there was no room for yet.
    kept: Cell<Option<(Socket, Peer)>>,
    shortage: Shortage,
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
        let open = handle.inner.ensure_open();
        open.map_err(|error| AtAddress::wrap("listen on", address, error))?;
        BoundListener::bind(address)?.attach(handle)
    }

    /// The next connection.
    ///
    /// Connections that died while they waited are passed over in silence. What is set on
    /// a new one: `TCP_NODELAY`, and, where both ends are on this host and the kernel grants
    /// them, buffers of a fixed size (see [Memory](crate#memory)).
    ///
    /// While the process is out of descriptors or memory, connections stay in the
    /// kernel's queue: this waits, and tries again after 10 ms, then less and less
    /// often, up to once a second. That costs next to nothing, goes to
    /// [`log::warn!`] once a minute, and leaves other connections alone.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::ResourceBusy`] if another `accept` is waiting on this
    ///   listener; that one is not disturbed.
    /// - [`io::ErrorKind::NotConnected`] if it would have to wait for a reactor that
    ///   is gone.
    /// - Anything else is an error of the listening socket itself, which will not
    ///   go away.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    ///
    /// # Examples
    ///
    /// See the crate's own.
    pub async fn accept(&self) -> io::Result<Stream> {
        let _guard = AcceptGuard::take(&self.accepting)?;
        let inner = self.registration.inner();
        loop {
            match self.accept_one().await {
                Ok(stream) => {
                    self.shortage.is_over();
                    inner.counters.accepted.add(1);
                    return Ok(stream);
                }
                Err(error) => match Verdict::of(&error) {
                    Verdict::Skip => self.skip(&error),
                    Verdict::BackOff => {
                        // Nobody would count the time.
                        inner.ensure_open()?;
                        inner.counters.accepts_delayed.add(1);
                        self.back_off(&error).await;
                    }
                    Verdict::Fatal => return Err(error),
                },
            }
        }
    }

    async fn accept_one(&self) -> io::Result<Stream> {
        loop {
            let (socket, peer) = match self.kept.take() {
                Some(kept) => kept,
                None => poll_fn(|context| self.poll_accept(context)).await?,
            };
            let inner = self.registration.inner();
            let low_water = match options::connected(&socket, &peer, inner.busy_poll) {
                Ok(low_water) => low_water,
                // Some systems refuse options on a connection that was reset.
                Err(error) => {
                    self.skip(&error);
                    continue;
                }
            };
            return match Registration::new(inner, socket, ScheduledIo::assumed_ready()) {
                Ok(registration) => Ok(Stream::new(registration, peer, low_water)),
                Err(Unregistered { source, error }) => {
                    // Any other error would come again, at once and for ever.
                    if Verdict::of(&error) == Verdict::BackOff {
                        self.kept.set(Some((source, peer)));
                    }
                    Err(error)
                }
            };
        }
    }

    fn skip(&self, error: &io::Error) {
        let inner = self.registration.inner();
        inner.counters.accepts_skipped.add(1);
        log::debug!("passed over a connection: {error}");
    }

    async fn back_off(&self, error: &io::Error) {
        if self.shortage.is_to_be_reported() {
            let hint = match error.raw_os_error() {
                Some(libc::EMFILE) => " (ulimit -n sets how many files may be open)",
                _ => "",
            };
            log::warn!(
                "cannot accept on {}: {error}; new connections wait until there is room{hint}",
                self.address
            );
        }
        let inner = self.registration.inner().clone();
        Sleep::new(inner, self.shortage.next_pause()).await;
    }

    /// The address that is listened on, with the real port where 0 was asked.
    ///
    /// # Examples
    ///
    /// See [`Stream`].
    #[must_use]
    pub fn local_address(&self) -> Address {
        self.address.clone()
    }

    /// The socket, for its options.
    ///
    /// # Examples
    ///
    /// See [`Stream::socket`].
    #[must_use]
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.registration.source())
    }

    fn poll_accept(&self, context: &Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        self.registration
            .poll_operation(context, Direction::Read, accept)
    }
}

impl BoundListener {
    /// Makes it a listener of this reactor.
    ///
    /// # Errors
    ///
    /// Those of registering a socket with the kernel's poll, and
    /// [`io::ErrorKind::NotConnected`] if the reactor is gone.
    ///
    /// # Examples
    ///
    /// See [`BoundListener`].
    pub fn attach(self, handle: &Handle) -> io::Result<Listener> {
        let address = self.local_address();
        let registered =
            Registration::new(&handle.inner, self.socket, ScheduledIo::assumed_ready())
                .map_err(|failed| AtAddress::wrap("listen on", &address, failed.error));
        Ok(Listener {
            registration: registered?,
            address,
            accepting: Cell::new(false),
            kept: Cell::new(None),
            shortage: Shortage::new(),
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
struct AcceptGuard<'a>(&'a Cell<bool>);

impl AcceptGuard<'_> {
    fn take(accepting: &Cell<bool>) -> io::Result<AcceptGuard<'_>> {
        if accepting.replace(true) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another task is waiting to accept on this listener",
            ));
        }
        Ok(AcceptGuard(accepting))
    }
}

impl Drop for AcceptGuard<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A connection from the kernel's queue, in one system call where there is one for it.
///
/// Not by mio's listener: it panics where the peer's own Unix socket has a path that
/// fills its address, and so has no NUL at its end (BUGS in unix(7)).
fn accept(listener: &Socket) -> io::Result<(Socket, Peer)> {
    let (socket, peer) = accept_nonblocking(listener)?;
    let peer = match peer.as_socket() {
        Some(peer) => Peer::Tcp(peer),
        None => Peer::Unix(peer.as_pathname().map(PathBuf::from).unwrap_or_default()),
    };
    Ok((socket, peer))
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn accept_nonblocking(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn accept_nonblocking(listener: &Socket) -> io::Result<(Socket, SockAddr)> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}
