//! Where to connect or to listen: `host:port` or `unix:/path`, as one type.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::SockAddr;

/// The address of a [`Stream`](crate::Stream) or a [`Listener`](crate::Listener).
///
/// Its text is `host:port` for TCP, with an IPv6 address in brackets, or
/// `unix:` and a path. A host is an IP address or a name; names are resolved
/// when the address is used, not when it is parsed. Port 0 asks a listener for
/// any free port.
///
/// # Examples
///
/// ```
/// use readinto::Address;
///
/// for text in ["127.0.0.1:7000", "[::1]:0", "localhost:7000", "unix:/run/echo"] {
///     let address: Address = text.parse()?;
///     assert_eq!(address.to_string(), text);
/// }
/// assert!("localhost".parse::<Address>().is_err());
/// # Ok::<(), readinto::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP endpoint.
    Tcp {
        /// An IP address without brackets, or a host name.
        host: String,
        /// The port, 0 for any.
        port: u16,
    },
    /// The path of a Unix socket; empty for a peer that has none, to which nobody can
    /// connect.
    Unix(PathBuf),
}

impl Address {
    /// The address in the form that the kernel reports.
    pub(crate) fn from_sock_addr(address: &SockAddr) -> io::Result<Address> {
        if let Some(address) = address.as_socket() {
            return Ok(address.into());
        }
        if address.is_unix() {
            let path = address.as_pathname().map(PathBuf::from);
            return Ok(Address::Unix(path.unwrap_or_default()));
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "neither a TCP nor a Unix socket",
        ))
    }

    /// A Unix socket's path in the form that the kernel takes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for one that would name no socket, or another than it says:
    /// Linux binds a socket with an empty path to a name of its own choice, and a
    /// path ends for the kernel at its first NUL.
    pub(crate) fn unix_sock_addr(path: &Path) -> io::Result<SockAddr> {
        let wrong = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        match path.as_os_str().as_bytes() {
            [] => wrong("the path is empty"),
            // An abstract name of Linux begins with a NUL, and may have more.
            [first, rest @ ..] if *first != 0 && rest.contains(&0) => {
                wrong("a path can't hold a NUL")
            }
            _ => SockAddr::unix(path),
        }
    }

    /// The socket address, if the host is an IP address already.
    pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
        // With a scope (`fe80::1%2`), only the standard parser of whole
        // addresses will do.
        match host.parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, port)),
            Err(_) => format!("[{host}]:{port}").parse().ok(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                format!("{}%{}", v6.ip(), v6.scope_id())
            }
            _ => address.ip().to_string(),
        };
        Address::Tcp {
            host,
            port: address.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) if path.as_os_str().is_empty() => write!(f, "unix:{UNNAMED}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let wrong = |reason| {
            Err(AddressError {
                text: text.to_owned(),
                reason,
            })
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => wrong("the path is missing"),
                UNNAMED => wrong("that stands for a socket without a path"),
                path if path.contains('\0') => wrong("a path can't hold a NUL"),
                path if path.len() > MAX_UNIX_PATH => wrong("the path is longer than 107 bytes"),
                path => Ok(Address::Unix(path.into())),
            };
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong("the port is missing");
        };
        let host = match host.strip_prefix('[') {
            Some(bracketed) => match bracketed.strip_suffix(']') {
                Some(v6) if Address::literal(v6, 0).is_some_and(|a| a.is_ipv6()) => v6,
                Some(_) => return wrong("not an IPv6 address in the brackets"),
                None => return wrong("the closing bracket is missing"),
            },
            None if host.contains(':') => return wrong("an IPv6 address goes in brackets"),
            None if host.contains(char::is_whitespace) => return wrong("a host has no spaces"),
            None => host,
        };
        if host.is_empty() {
            return wrong("the host is missing");
        }
        match port.parse() {
            Ok(port) if !port_has_sign(text) => Ok(Address::Tcp {
                host: host.to_owned(),
                port,
            }),
            _ => wrong("the port is not a number from 0 to 65535"),
        }
    }
}

/// Rust parses `+80` as a number; nobody means it as a port.
fn port_has_sign(text: &str) -> bool {
    text.contains(":+")
}

/// What stands in the text of a peer's address where it has no path.
const UNNAMED: &str = "(unnamed)";

/// The room for a path in Linux's `sockaddr_un`, less its final NUL (unix(7)).
const MAX_UNIX_PATH: usize = 107;

/// Why a text is not an [`Address`].
///
/// # Examples
///
/// See [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an address: {} (expected host:port, [v6]:port or unix:/path)",
            self.text, self.reason
        )
    }
}

impl Error for AddressError {}

/// An I/O error with the address that it is about.
pub(crate) struct AtAddress {
    action: &'static str,
    address: Address,
    source: io::Error,
}

impl AtAddress {
    /// `source` with «`action` `address`: » before it, and of the same kind.
    pub(crate) fn wrap(action: &'static str, address: &Address, source: io::Error) -> io::Error {
        io::Error::new(
            source.kind(),
            AtAddress {
                action,
                address: address.clone(),
                source,
            },
        )
    }
}

impl fmt::Debug for AtAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // This is what is seen of it where `main` returns it.
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Display for AtAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} {}: {}",
            self.action, self.address, self.source
        )
    }
}

impl Error for AtAddress {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        for (text, reason) in [
            ("", "port is missing"),
            ("localhost", "port is missing"),
            (":80", "host is missing"),
            ("::1:80", "brackets"),
            ("[::1", "closing bracket"),
            ("[::1:80", "closing bracket"),
            ("[localhost]:80", "not an IPv6"),
            ("[127.0.0.1]:80", "not an IPv6"),
            ("a b:80", "no spaces"),
            ("host:", "not a number"),
            ("host:+80", "not a number"),
            ("host:65536", "not a number"),
            ("unix:", "path is missing"),
            ("unix:(unnamed)", "without a path"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
        let long = format!("unix:/{}", "x".repeat(MAX_UNIX_PATH));
        assert!(long.parse::<Address>().is_err());
    }

    proptest! {
        #[test]
        fn a_socket_address_survives_its_text(address: SocketAddr) {
            // The flow label is no part of the text.
            let address = match address {
                SocketAddr::V6(mut v6) => { v6.set_flowinfo(0); SocketAddr::V6(v6) }
                v4 => v4,
            };
            let parsed: Address = Address::from(address).to_string().parse().unwrap();
            let Address::Tcp { host, port } = parsed else { panic!("not TCP") };
            prop_assert_eq!(Address::literal(&host, port), Some(address));
        }

        #[test]
        fn no_text_panics(text in "(unix:)?[\\[]?\\PC{0,20}[\\]]?(:[0-9+]{0,6})?") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
