//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::Address;

/// Who is at the other end, as it was when the connection was made.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Peer {
    pub(super) fn address(&self) -> Address {
        match self {
            Peer::Tcp(address) => (*address).into(),
            Peer::Unix(path) => Address::Unix(path.clone()),
        }
    }
}
