//! The frames that all rows in Rust speak, and where their servers listen.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};

use clap::ValueEnum;
use socket2::{Domain, Socket, Type};

/// How the length before each frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prefix {
    #[value(name = "u32be")]
    U32Be,
    #[value(name = "u64le")]
    U64Le,
}

impl Prefix {
    pub(crate) fn size(self) -> usize {
        match self {
            Prefix::U32Be => 4,
            Prefix::U64Le => 8,
        }
    }

    /// The length as it goes on the wire, in the first [`size`](Prefix::size)
    /// bytes.
    pub(crate) fn encode(self, len: usize) -> [u8; 8] {
        match self {
            Prefix::U32Be => ((len as u64) << 32).to_be_bytes(),
            Prefix::U64Le => (len as u64).to_le_bytes(),
        }
    }

    /// The length that stands in `header`.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a frame that no row accepts.
    pub(crate) fn decode(self, header: &[u8]) -> io::Result<usize> {
        let len = match self {
            Prefix::U32Be => u64::from(u32::from_be_bytes(first(header))),
            Prefix::U64Le => u64::from_le_bytes(first(header)),
        };
        match len {
            0..=MAX_FRAME => Ok(len as usize),
            _ => Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("a frame of {len} bytes, above the limit of {MAX_FRAME}"),
            )),
        }
    }

    /// How long the frame is that begins with `bytes`, prefix included, as far as
    /// that is known.
    ///
    /// # Errors
    ///
    /// As [`decode`](Prefix::decode).
    pub(crate) fn needed(self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.size();
        match bytes.len() < size {
            true => Ok(size),
            false => Ok(size + self.decode(bytes)?),
        }
    }

    /// How many of `bytes` are whole frames.
    ///
    /// # Errors
    ///
    /// As [`decode`](Prefix::decode), of whichever frame.
    pub(crate) fn complete(self, bytes: &[u8]) -> io::Result<usize> {
        let mut end = 0;
        loop {
            let needed = self.needed(&bytes[end..])?;
            if bytes.len() - end < needed {
                return Ok(end);
            }
            end += needed;
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

fn first<const N: usize>(header: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[..N]);
    bytes
}

/// What every row accepts.
pub(crate) const MAX_FRAME: u64 = 256 << 20;

/// A listening socket, not yet of any runtime.
pub(crate) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// Listens on `host:port` or `unix:/path`, and says so.
    pub(crate) fn announce(address: &str) -> io::Result<Bound> {
        let (bound, address) = match address.strip_prefix("unix:") {
            Some(path) => {
                let _ = fs::remove_file(path);
                (Bound::Unix(UnixListener::bind(path)?), address.to_owned())
            }
            None => {
                let listener = listen(address)?;
                let address = listener.local_addr()?.to_string();
                (Bound::Tcp(listener), address)
            }
        };
        let mut out = io::stdout().lock();
        writeln!(out, "listening on {address}")?;
        out.flush()?;
        Ok(bound)
    }

    /// Makes it a listener that does not block, as all but one row want it.
    pub(crate) fn nonblocking(self) -> io::Result<Bound> {
        match &self {
            Bound::Tcp(listener) => listener.set_nonblocking(true)?,
            Bound::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(self)
    }
}

/// As `TcpListener::bind`, but with the backlog that runtimes ask for.
fn listen(address: &str) -> io::Result<TcpListener> {
    let address = address.to_socket_addrs()?.next();
    let address = address.ok_or(ErrorKind::AddrNotAvailable)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// tokio's; the standard library's is 128.
const BACKLOG: i32 = 1024;

/// A connected blocking socket, not yet of any runtime.
pub(crate) enum Connected {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connected {
    /// Connects to `host:port` or `unix:/path`.
    pub(crate) fn to(address: &str) -> io::Result<Connected> {
        match address.strip_prefix("unix:") {
            Some(path) => Ok(Connected::Unix(UnixStream::connect(path)?)),
            None => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Connected::Tcp(stream))
            }
        }
    }

    /// Makes it a socket that does not block, as all but one row want it.
    pub(crate) fn nonblocking(self) -> io::Result<Connected> {
        match &self {
            Connected::Tcp(stream) => stream.set_nonblocking(true)?,
            Connected::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(self)
    }
}

/// Whether an error is a peer that ended between two frames, if that is where
/// it was met.
pub(crate) fn is_end(error: &io::Error) -> bool {
    error.kind() == ErrorKind::UnexpectedEof
}
