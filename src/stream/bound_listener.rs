//! Listening sockets that belong to no reactor yet.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, Socket, Type};

use super::address::{Address, AtAddress};
use super::resolve::resolve_blocking;

/// A listening socket that belongs to no reactor yet, and so can go to the thread
/// of one.
///
/// Connections wait in the kernel's queue until it is [attached](Self::attach).
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::net::TcpStream;
/// use std::thread;
///
/// use readinto::{BoundListener, Reactor};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = BoundListener::bind(&"127.0.0.1:0".parse()?)?;
/// let address = listener.local_address().to_string();
/// let serving = thread::spawn(move || -> io::Result<()> {
///     let mut reactor = Reactor::new()?;
///     let listener = listener.attach(&reactor.handle())?;
///     let mut stream = reactor.block_on(listener.accept())??;
///     Ok(reactor.block_on(stream.write_all(b"from another thread"))??)
/// });
/// let greeting = io::read_to_string(TcpStream::connect(address)?)?;
/// assert_eq!(greeting, "from another thread");
/// serving.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// For one on each of several threads, see [`Shards`](crate::Shards).
#[derive(Debug)]
pub struct BoundListener {
    pub(super) socket: Socket,
    address: Address,
}

impl BoundListener {
    /// Binds to `address` and listens, as
    /// [`Listener::bind`](crate::Listener::bind) does.
    ///
    /// # Errors
    ///
    /// As there; [`InvalidInput`](io::ErrorKind::InvalidInput) for a Unix path that is
    /// empty, or that holds a NUL.
    ///
    /// # Examples
    ///
    /// See [`BoundListener`].
    pub fn bind(address: &Address) -> io::Result<BoundListener> {
        let bound = match address {
            Address::Tcp { host, port } => at_first(host, *port, |at| listen_tcp(at, false)),
            Address::Unix(path) => listen_unix(path),
        };
        bound.map_err(|error| AtAddress::wrap("listen on", address, error))
    }

    /// Binds `count` listeners to `address`, each for a reactor of its own; none,
    /// and nothing is bound, if that is zero.
    ///
    /// Over TCP each has a queue of its own (`SO_REUSEPORT`), into which the kernel
    /// puts connections by a hash of both addresses. So they are spread evenly if
    /// they are many, and a listener that is not attached, or does not accept, keeps
    /// the connections that fell to it waiting. On a Unix socket, and where the
    /// kernel has no `SO_REUSEPORT`, they share one queue, and the first to ask gets
    /// the next connection.
    ///
    /// That somebody else listens there is an error, as ever, though the kernel
    /// would let a process of the same user join in.
    ///
    /// # Errors
    ///
    /// As [`bind`](BoundListener::bind).
    ///
    /// # Examples
    ///
    /// See [`Shards`](crate::Shards).
    pub fn bind_many(address: &Address, count: usize) -> io::Result<Vec<BoundListener>> {
        let bound = match (count, address) {
            (0, _) => Ok(Vec::new()),
            (1, _) => return Ok(vec![BoundListener::bind(address)?]),
            (_, Address::Unix(path)) => listen_unix(path).and_then(|one| one.duplicates(count)),
            (_, Address::Tcp { host, port }) => listen_tcp_many(host, *port, count),
        };
        bound.map_err(|error| AtAddress::wrap("listen on", address, error))
    }

    /// The address that is listened on, with the real port where 0 was asked.
    ///
    /// # Examples
    ///
    /// See [`BoundListener`].
    #[must_use]
    pub fn local_address(&self) -> Address {
        self.address.clone()
    }

    /// So many of it: one queue, from which whoever comes first takes.
    fn duplicates(self, count: usize) -> io::Result<Vec<BoundListener>> {
        let duplicate = |_| {
            Ok(BoundListener {
                socket: self.socket.try_clone()?,
                address: self.address.clone(),
            })
        };
        let mut all: Vec<_> = (1..count).map(duplicate).collect::<io::Result<_>>()?;
        all.push(self);
        Ok(all)
    }
}

/// What `bind` makes of the first address of a host that it can have.
fn at_first<T>(host: &str, port: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut last = None;
    for address in resolve_blocking(host, port)? {
        match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("a lookup returns at least one address"))
}

fn listen_tcp_many(host: &str, port: u16, count: usize) -> io::Result<Vec<BoundListener>> {
    // Shows that the address is free, and, for port 0, finds one. It does not listen, or
    // who connects meanwhile would be reset.
    let free = at_first(host, port, |address| bind_tcp(address, false)?.local_addr())?;
    let free = free.as_socket().expect("what was bound is a TCP address");
    let many = (0..count).map(|_| listen_tcp(free, true)).collect();
    match many {
        Err(error) if is_unsupported(&error) => listen_tcp(free, false)?.duplicates(count),
        many => many,
    }
}

fn listen_tcp(address: SocketAddr, shared: bool) -> io::Result<BoundListener> {
    let socket = bind_tcp(address, shared)?;
    socket.listen(BACKLOG)?;
    let address = Address::from_sock_addr(&socket.local_addr()?)?;
    Ok(BoundListener { socket, address })
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen_unix(path: &Path) -> io::Result<BoundListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&Address::unix_sock_addr(path)?)?;
    socket.listen(BACKLOG)?;
    let address = Address::Unix(path.to_owned());
    Ok(BoundListener { socket, address })
}

/// Whether the kernel does not know the option.
fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOPROTOOPT)
}

/// As large as the kernel allows: it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;
