//! Where the two ends of a turn meet: TCP over loopback or a Unix socket.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use readinto::Address;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

/// What carries the frames.
#[derive(Debug)]
pub(crate) enum Transport {
    /// TCP over 127.0.0.1, at any free port.
    Tcp,
    /// A Unix socket in a folder of its own.
    Unix(TempDir),
}

impl Transport {
    pub(crate) fn new(unix: bool) -> io::Result<Transport> {
        Ok(match unix {
            false => Transport::Tcp,
            true => Transport::Unix(TempDir::with_prefix("readinto-bulk-")?),
        })
    }

    /// A blocking socket that listens, and its address.
    pub(crate) fn listen(&self) -> io::Result<(Socket, SockAddr)> {
        let (domain, address) = match self {
            Transport::Tcp => (Domain::IPV4, any_port().into()),
            Transport::Unix(folder) => {
                let path = folder.path().join("hand-written");
                remove_socket(&path)?;
                (Domain::UNIX, SockAddr::unix(path)?)
            }
        };
        let listener = Socket::new(domain, Type::STREAM, None)?;
        listener.bind(&address)?;
        listener.listen(1)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Where the library is to listen.
    pub(crate) fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Transport::Tcp => any_port().into(),
            Transport::Unix(folder) => {
                let path = folder.path().join("readinto");
                remove_socket(&path)?;
                Address::Unix(path)
            }
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP on loopback",
            Transport::Unix(_) => "a Unix socket",
        })
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Every turn listens anew at the same path.
fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
