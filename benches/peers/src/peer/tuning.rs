//! Whose socket options a row has.

use std::fs;
use std::io;

use socket2::{Domain, SockRef};

/// Whether a row's sockets are as the kernel makes them, but for `TCP_NODELAY`,
/// or as readinto makes them between two ends on one host.
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
