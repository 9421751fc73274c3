//! Where a server listens: binding, socket files, who is turned away, and what it says
//! of them.

use std::io;
use std::time::Duration;

use log::Level;
use nix::sys::stat::Mode;
use readinto::{Address, BoundListener, Reactor, Stream};

use super::error::ServeError;
use super::throttle::Throttle;
use super::unix_path::{self, SocketFile};
use crate::allow;

/// The listeners of one address, one for each thread of a server.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listeners: Vec<BoundListener>,
    pub(crate) address: Address,
    /// The socket file that is to go with them.
    pub(crate) file: Option<SocketFile>,
}

impl Bound {
    /// Listens on `address`, for so many threads; replaces a Unix socket that nobody
    /// listens on.
    ///
    /// Its file has this mode, from the moment that it is there.
    pub(crate) fn bind(address: &Address, mode: Mode, threads: usize) -> Result<Bound, ServeError> {
        let bind = || match address {
            Address::Unix(_) => {
                unix_path::with_mode(mode, || BoundListener::bind_many(address, threads))
            }
            _ => BoundListener::bind_many(address, threads),
        };
        let mut bound = bind();
        if let (Err(error), Address::Unix(path)) = (&bound, address)
            && error.kind() == io::ErrorKind::AddrInUse
        {
            let mut reactor = Reactor::new().map_err(ServeError::Reactor)?;
            let handle = reactor.handle();
            reactor
                .block_on(unix_path::remove_stale(&handle, path))
                .map_err(ServeError::Reactor)?
                .map_err(|reason| ServeError::InTheWay {
                    address: address.clone(),
                    reason,
                })?;
            bound = bind();
        }
        let listeners = bound.map_err(ServeError::Bind)?;
        let file = match address {
            Address::Unix(path) => Some(SocketFile::own(path)),
            _ => None,
        };
        Ok(Bound {
            // With the real port, where 0 was asked.
            address: listeners[0].local_address(),
            listeners,
            file,
        })
    }
}

/// Says so if others than this host's can connect.
pub(super) fn warn_of_exposure(address: &Address) {
    if is_exposed(address) {
        log::warn!(
            "other hosts can connect to {address}, and nothing is encrypted or authenticated: \
             see --allow"
        );
    }
}

fn is_exposed(address: &Address) -> bool {
    match address {
        Address::Tcp { host, .. } => allow::ip_of(host).is_some_and(|ip| !ip.is_loopback()),
        _ => false,
    }
}

/// Ends a connection that [`AllowList`](crate::allow::AllowList) does not admit, before a
/// byte of it is read.
pub(super) fn refuse(stream: &Stream, throttle: &Throttle) {
    let peer = stream.peer_address();
    // A reset, which leaves nothing behind here.
    if let Err(error) = stream.socket().set_linger(Some(Duration::ZERO)) {
        log::debug!("cannot reset the connection from {peer}: {error}");
    }
    throttle.log(
        "connections from where --allow does not say",
        Level::Info,
        format_args!("refused a connection from {peer} (see --allow)"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_loopback_and_unix_sockets_are_exposed() {
        for (address, expected) in [
            ("127.0.0.9:7000", false),
            ("[::1]:7000", false),
            ("[::ffff:127.0.0.1]:7000", false),
            ("unix:/run/echo", false),
            ("0.0.0.0:7000", true),
            ("[::]:7000", true),
            ("[::ffff:192.0.2.7]:7000", true),
            ("[fe80::1%2]:7000", true),
        ] {
            assert_eq!(is_exposed(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
