//! Whose socket options and whose place of buffers a row has.

use std::fs;
use std::io;

use socket2::{Domain, SockRef};

/// Whether a row's sockets are as the kernel makes them, but for `TCP_NODELAY`,
/// or as readinto makes them between two ends on one host; see also [`Room`](super::room::Room).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tuning {
    Default,
    AsReadinto,
}

impl Tuning {
    /// Sets the options of a connected socket.
    pub(super) fn apply(self, socket: &SockRef<'_>) -> io::Result<()> {
        let is_unix = socket.local_addr()?.domain() == Domain::UNIX;
        if !is_unix {
            socket.set_tcp_nodelay(true)?;
        }
        match (self, is_unix) {
            (Tuning::Default, _) => Ok(()),
            (Tuning::AsReadinto, true) => socket.set_send_buffer_size(UNIX_SEND_BUFFER),
            (Tuning::AsReadinto, false) if receive_buffer_limit() >= LEAST_RECEIVE_BUFFER => {
                socket.set_recv_buffer_size(RECEIVE_BUFFER)
            }
            (Tuning::AsReadinto, false) => Ok(()),
        }
    }
}

/// The largest `SO_RCVBUF` that the kernel grants, 0 if it can't be known.
fn receive_buffer_limit() -> usize {
    let limit = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    limit.trim().parse().unwrap_or(0)
}

// As in `src/stream/options.rs` of the library.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// Where the kernel grants less, its own autotuning does better.
const LEAST_RECEIVE_BUFFER: usize = 1024 * 1024;
const UNIX_SEND_BUFFER: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use readinto::{Address, Listener, Reactor, Stream};
    use tempfile::TempDir;

    use super::super::framing::Connected;
    use super::*;

    /// Or rows that are tuned would be compared with something else.
    #[test]
    fn a_tuned_socket_has_the_options_of_a_stream_of_readinto() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        for address in ["127.0.0.1:0".parse().unwrap(), Address::Unix(path)] {
            let mut reactor = Reactor::new().unwrap();
            let handle = reactor.handle();
            let listener = Listener::bind(&handle, &address).unwrap();
            let address = listener.local_address();
            let stream = reactor.block_on(Stream::connect(&handle, &address));
            let stream = stream.unwrap().unwrap();

            let connected = Connected::to(&address.to_string()).unwrap();
            let socket = match &connected {
                Connected::Tcp(stream) => SockRef::from(stream),
                Connected::Unix(stream) => SockRef::from(stream),
            };
            Tuning::AsReadinto.apply(&socket).unwrap();
            assert_eq!(options(&socket), options(&stream.socket()), "{address}");
        }
    }

    /// The sizes of the buffers, and whether `TCP_NODELAY` is set if there is one.
    fn options(socket: &SockRef<'_>) -> (usize, usize, Option<bool>) {
        (
            socket.recv_buffer_size().unwrap(),
            socket.send_buffer_size().unwrap(),
            socket.tcp_nodelay().ok(),
        )
    }
}
