//! How bytes move: a connected socket, its two verbs, and its two halves.

mod accept_error;
mod address;
mod bound_listener;
mod buffers;
mod connect;
mod connection;
mod error;
mod gather;
mod listener;
mod low_water;
mod options;
mod peer;
mod read_ahead;
mod read_exact_into;
mod resolve;
mod write_all;

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use socket2::{SockRef, Socket};

use crate::reactor::{Direction, Inner, Registration};

pub use address::{Address, AddressError};
pub use bound_listener::BoundListener;
pub use buffers::Buffers;
pub use error::StreamError;
pub(crate) use gather::Gather;
pub use listener::Listener;
pub use read_exact_into::ReadExactInto;
pub use write_all::WriteAll;

use connection::Connection;
use error::Poison;
use low_water::LowWater;
use peer::Peer;
use read_ahead::ReadAhead;

/// A connected TCP or Unix socket.
///
/// It moves data by two verbs, [`read_exact_into`](Stream::read_exact_into) and
/// [`write_all`](Stream::write_all), and by no other: the caller says how many
/// bytes it wants and where they go. Each takes `&mut`, so a second reader is
/// an error of compilation:
///
/// ```compile_fail
/// # async fn two_readers(mut stream: readinto::Stream) {
/// let (mut a, mut b) = ([0; 4], [0; 4]);
/// let first = stream.read_exact_into(&mut a);
/// let second = stream.read_exact_into(&mut b);
/// let _ = (first.await, second.await);
/// # }
/// ```
///
/// To read and write at the same time, [`split`](Stream::split) it. The
/// connection closes when the stream is dropped, or both of its halves are.
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

impl Stream {
    fn new(registration: Registration<Socket>, peer: Peer, low_water: LowWater) -> Stream {
        if matches!(peer, Peer::Unix(_)) {
            registration.expect_marks();
        }
        let connection = Connection::new(registration, peer, low_water);
        Stream {
            read: ReadHalf {
                connection: connection.clone(),
                poison: Poison::default(),
                ahead: ReadAhead::default(),
                reads_ahead: false,
            },
            write: WriteHalf {
                connection,
                poison: Poison::default(),
                sent: 0,
            },
        }
    }

    /// Fills `buf` from the stream; resolves when the last byte is in.
    ///
    /// # Errors, cancel safety
    ///
    /// Those of [`ReadHalf::read_exact_into`]. In short: dropping a read that
    /// has moved bytes poisons the reading direction.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::{Listener, Reactor, Stream};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
    /// reactor.block_on(async {
    ///     let mut here = Stream::connect(&handle, &listener.local_address()).await?;
    ///     let mut there = listener.accept().await?;
    ///
    ///     here.write_all(b"12 bytes, no").await?;
    ///     let mut first = [0; 8];
    ///     there.read_exact_into(&mut first).await?;
    ///     assert_eq!(&first, b"12 bytes");
    ///     # Ok::<(), Box<dyn std::error::Error>>(())
    /// })??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_exact_into<'a>(&'a mut self, buf: &'a mut [u8]) -> ReadExactInto<'a> {
        self.read.read_exact_into(buf)
    }

    /// Sends all bytes of a slice, or of a list of slices; resolves when the
    /// kernel has taken the last one.
    ///
    /// # Errors, cancel safety
    ///
    /// Those of [`WriteHalf::write_all`]. In short: dropping a write that has
    /// moved bytes poisons the writing direction.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn send(mut stream: readinto::Stream) -> Result<(), readinto::StreamError> {
    /// stream.write_all(b"one slice").await?;
    /// let payload = vec![7; 1_000_000];
    /// let header = (payload.len() as u32).to_be_bytes();
    /// stream.write_all(&[&header[..], &payload]).await?; // together, without a copy
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_all<'a>(&'a mut self, data: impl Into<Buffers<'a>>) -> WriteAll<'a> {
        self.write.write_all(data)
    }

    /// Two halves that two tasks can use at the same time.
    ///
    /// The connection closes when both have been dropped; dropping one of them
    /// does nothing on the wire. To end the writing direction, use
    /// [`WriteHalf::shutdown_write`].
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::{Listener, Reactor, Stream};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
    /// reactor.block_on(async {
    ///     let here = Stream::connect(&handle, &listener.local_address()).await?;
    ///     let mut there = listener.accept().await?;
    ///     let (mut read, mut write) = here.split();
    ///
    ///     let writing = handle.spawn(async move { write.write_all(b"ping").await });
    ///     let mut ping = [0; 4];
    ///     there.read_exact_into(&mut ping).await?;
    ///     there.write_all(&ping).await?;
    ///     let mut pong = [0; 4];
    ///     read.read_exact_into(&mut pong).await?;
    ///     assert_eq!(&pong, b"ping");
    ///     writing.await??;
    ///     # Ok::<(), Box<dyn std::error::Error>>(())
    /// })??;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// Has short reads take more than they were asked for, as
    /// [`ReadHalf::read_ahead`].
    #[must_use]
    pub fn read_ahead(mut self) -> Stream {
        self.read = self.read.read_ahead();
        self
    }

    /// How many bytes have been read ahead, as [`ReadHalf::buffered`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.read.buffered()
    }

    /// Ends the writing direction, as [`WriteHalf::shutdown_write`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.write.shutdown_write()
    }

    /// This end's address.
    ///
    /// # Errors
    ///
    /// Those of `getsockname`.
    pub fn local_address(&self) -> io::Result<Address> {
        Address::from_sock_addr(&self.socket().local_addr()?)
    }

    /// The other end's address, also after it has gone.
    #[must_use]
    pub fn peer_address(&self) -> Address {
        self.read.peer_address()
    }

    /// The socket, for its options.
    ///
    /// Moving data past the two verbs, or making the socket blocking, breaks
    /// what this crate promises.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn keep_alive(stream: &readinto::Stream) -> std::io::Result<()> {
    /// stream.socket().set_keepalive(true)
    /// # }
    /// ```
    #[must_use]
    pub fn socket(&self) -> SockRef<'_> {
        self.read.socket()
    }
}

/// The reading half of a [`Stream`]; see [`Stream::split`].
pub struct ReadHalf {
    connection: Rc<Connection>,
    poison: Poison,
    ahead: ReadAhead,
    /// Whether exact reads put something there.
    reads_ahead: bool,
}

impl ReadHalf {
    /// The other end's address, also after it has gone.
    #[must_use]
    pub fn peer_address(&self) -> Address {
        self.connection.peer.address()
    }

    /// The socket, for its options: see [`Stream::socket`].
    #[must_use]
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.connection.registration.source())
    }

    /// Makes every further read fail, unless nothing had moved.
    pub(crate) fn poison(&mut self, moved: usize, wanted: usize) {
        if self.poison.set(moved, wanted) {
            self.reactor().counters.poisoned.add(1);
            self.discard_ahead();
        }
    }

    /// The reactor that it belongs to.
    pub(crate) fn reactor(&self) -> &Rc<Inner> {
        self.connection.registration.inner()
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_half("ReadHalf", &self.connection, &self.poison, f)
    }
}

/// The writing half of a [`Stream`]; see [`Stream::split`].
pub struct WriteHalf {
    connection: Rc<Connection>,
    poison: Poison,
    /// How many bytes the kernel has taken.
    sent: u64,
}

impl WriteHalf {
    /// Ends the writing direction: the peer reads what was sent, then the end
    /// of the stream. Reading goes on.
    ///
    /// # Errors
    ///
    /// Those of `shutdown`: `NotConnected` if the connection was reset, or if
    /// both ends had ended their side before.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn ask(mut stream: readinto::Stream) -> Result<(), Box<dyn std::error::Error>> {
    /// stream.write_all(b"all I have to say").await?;
    /// stream.shutdown_write()?;
    /// let mut answer = [0; 16];
    /// stream.read_exact_into(&mut answer).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    /// The other end's address, also after it has gone.
    #[must_use]
    pub fn peer_address(&self) -> Address {
        self.connection.peer.address()
    }

    /// The socket, for its options: see [`Stream::socket`].
    #[must_use]
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self.connection.registration.source())
    }

    /// Fails if an earlier write stopped half-way.
    #[inline]
    pub(crate) fn ensure_sound(&self) -> Result<(), StreamError> {
        self.poison.ensure_none()
    }

    /// The reactor that it belongs to.
    pub(crate) fn reactor(&self) -> &Rc<Inner> {
        self.connection.registration.inner()
    }

    /// Whether a write is worth a try.
    pub(crate) fn is_writable(&self) -> bool {
        self.connection.registration.is_ready(Direction::Write)
    }

    /// Has the next write ask the kernel, whatever the last one said.
    pub(crate) fn look_again(&self) {
        self.connection.registration.look_again(Direction::Write);
    }

    /// How many bytes the kernel has taken so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Makes every further write fail, unless nothing had moved.
    pub(crate) fn poison(&mut self, moved: usize, wanted: usize) {
        if self.poison.set(moved, wanted) {
            self.reactor().counters.poisoned.add(1);
        }
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_half("WriteHalf", &self.connection, &self.poison, f)
    }
}

fn fmt_half(
    name: &str,
    connection: &Connection,
    poison: &Poison,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.debug_struct(name)
        .field("peer", &connection.peer.address())
        .field("poison", poison)
        .finish_non_exhaustive()
}
