//! Where a server listens: binding, socket files, and what it says of them.

use std::io;
use std::net::IpAddr;

use nix::sys::stat::Mode;
use readinto::{Address, BoundListener, Reactor};

use super::error::ServeError;
use super::unix_path::{self, SocketFile};

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

    /// Says so if others than this host's can connect.
    pub(crate) fn warn_of_exposure(&self) {
        let Address::Tcp { host, .. } = &self.address else {
            return;
        };
        let ip = host.parse::<IpAddr>();
        if ip.is_ok_and(|ip| !ip.to_canonical().is_loopback()) {
            log::warn!(
                "other hosts can connect to {}, and nothing is encrypted or authenticated: \
                 see --allow",
                self.address
            );
        }
    }
}
