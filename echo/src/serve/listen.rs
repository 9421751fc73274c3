//! Where a server listens: binding, socket files, who is turned away, and what it says
//! of them.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use log::Level;
use nix::sys::stat::Mode;
use readinto::{Address, BoundListener, Reactor, Stream};

use super::error::ServeError;
use super::throttle::Throttle;
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
}

/// Says so if others than this host's can connect.
pub(super) fn warn_of_exposure(address: &Address) {
    let Address::Tcp { host, .. } = address else {
        return;
    };
    let ip = host.parse::<IpAddr>();
    if ip.is_ok_and(|ip| !ip.to_canonical().is_loopback()) {
        log::warn!(
            "other hosts can connect to {address}, and nothing is encrypted or authenticated: \
             see --allow"
        );
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
