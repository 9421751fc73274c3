//! Socket options: what we set on a new connection, and why.
//!
//! Always `TCP_NODELAY`: a message that is complete should leave.
//!
//! **On the same host** (loopback, or both ends have one address): with the
//! kernel's autotuning, a receiver that keeps up is never given a larger
//! window, and a sender that offers bounded chunks then waits for it: on
//! loopback, frames of 1 MB fall to a third. So the receive buffer is fixed,
//! which opens the window from the first byte. A Unix socket has only the
//! sender's buffer, so that is what is enlarged there. `docs/architecture.md`
//! has the measurements.
//!
//! **Across a network** buffers are left to the kernel: a fixed buffer there
//! is a fixed bandwidth-delay product. There, long reads wait for much at once:
//! see `low_water.rs`.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Once, OnceLock};
use std::time::Duration;

// One of these macros calls the other by its bare name.
#[cfg(target_os = "linux")]
use nix::{setsockopt_impl, sockopt_impl};
use socket2::Socket;

use super::low_water::LowWater;
use super::peer::Peer;

/// Asked for as `SO_RCVBUF`; the kernel doubles it. 1 to 4 MiB measured alike.
const SAME_HOST_RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// Where the kernel grants less than this, its own autotuning does better.
const LEAST_USEFUL_RECEIVE_BUFFER: usize = 1024 * 1024;

/// Asked for as `SO_SNDBUF`; 512 KiB to 2 MiB measured alike.
const UNIX_SEND_BUFFER: usize = 1024 * 1024;

/// Prepares a connected socket of a reactor that polls busily for
/// `busy_polling`, if it does. Returns the means to wait for much at once.
pub(super) fn connected(
    socket: &Socket,
    peer: &Peer,
    busy_polling: Duration,
) -> io::Result<LowWater> {
    match *peer {
        Peer::Tcp(peer) => tcp_connected(socket, peer, busy_polling),
        Peer::Unix(_) => {
            socket.set_send_buffer_size(UNIX_SEND_BUFFER)?;
            // A Unix socket counts as readable whatever the mark.
            Ok(LowWater::unused())
        }
    }
}

fn tcp_connected(
    socket: &Socket,
    peer: SocketAddr,
    busy_polling: Duration,
) -> io::Result<LowWater> {
    socket.set_tcp_nodelay(true)?;
    if !busy_polling.is_zero() {
        busy_poll(socket, busy_polling);
    }
    if is_same_host(socket, peer)? && receive_buffer_limit() >= LEAST_USEFUL_RECEIVE_BUFFER {
        socket.set_recv_buffer_size(SAME_HOST_RECEIVE_BUFFER)?;
        return Ok(LowWater::unused());
    }
    Ok(LowWater::new())
}

/// Has the kernel poll the network card for a socket, if that is permitted.
///
/// It takes `CAP_NET_ADMIN` to ask for more than `net.core.busy_read` (see
/// socket(7)), which few programs have; without it nothing is lost.
#[cfg(target_os = "linux")]
fn busy_poll(socket: &Socket, most: Duration) {
    static REFUSED: Once = Once::new();
    let microseconds = libc::c_int::try_from(most.as_micros()).unwrap_or(libc::c_int::MAX);
    if let Err(error) = nix::sys::socket::setsockopt(socket, BusyPoll, &microseconds) {
        REFUSED.call_once(|| log::debug!("no SO_BUSY_POLL: {error}"));
    }
}

/// Only Linux knows it.
#[cfg(not(target_os = "linux"))]
fn busy_poll(_: &Socket, _: Duration) {}

#[cfg(target_os = "linux")]
sockopt_impl!(
    /// For how many microseconds a read polls the network card.
    BusyPoll,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_BUSY_POLL,
    libc::c_int
);

fn is_same_host(socket: &Socket, peer: SocketAddr) -> io::Result<bool> {
    let peer: IpAddr = peer.ip().to_canonical();
    if peer.is_loopback() {
        return Ok(true);
    }
    let local = socket.local_addr()?.as_socket();
    Ok(local.is_some_and(|local| local.ip().to_canonical() == peer))
}

/// At most how many bytes the kernel can hold that have been sent to `socket`.
pub(super) fn most_in_kernel(socket: &Socket, peer: &Peer) -> usize {
    let ours = socket.recv_buffer_size().unwrap_or(0);
    match peer {
        Peer::Tcp(_) => ours,
        // They are in the sender's buffer, of twice the size that it has asked for.
        Peer::Unix(_) => {
            let like_ours = socket.send_buffer_size().unwrap_or(0);
            ours.max(like_ours).max(2 * send_buffer_limit())
        }
    }
}

/// The largest `SO_RCVBUF` that the kernel grants, 0 if it can't be known.
///
/// Asking the socket would be too late: a buffer once fixed stays fixed.
fn receive_buffer_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    kernel_limit("/proc/sys/net/core/rmem_max", &LIMIT)
}

/// The same of `SO_SNDBUF`.
fn send_buffer_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    kernel_limit("/proc/sys/net/core/wmem_max", &LIMIT)
}

/// A limit of the kernel's, one for all network namespaces, so it is read once.
fn kernel_limit(path: &str, known: &OnceLock<usize>) -> usize {
    if let Some(&limit) = known.get() {
        return limit;
    }
    match fs::read_to_string(path) {
        Ok(text) => *known.get_or_init(|| text.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => *known.get_or_init(|| 0),
        // Out of descriptors, say: it may work the next time.
        Err(_) => 0,
    }
}
