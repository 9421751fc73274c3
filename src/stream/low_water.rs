//! One wake-up for many segments.
//!
//! A read that is sure to want a lot more need not be woken for each segment of
//! it: the kernel can be told to report a socket readable once so many bytes are
//! there (`SO_RCVLOWAT` in socket(7)). Linux also opens the receive window to
//! hold them. Across a network of namespaces, frames of 100 MB took a fifteenth
//! of the wake-ups so, four fifths of the processor time, and moved 1.4 times as
//! fast. On the same host, where the window is open already, it cost a tenth of
//! the speed, so it is not used there (`docs/benchmarks.md` for both).
//!
//! The mark is set only by who is about to wait, to less than what it still
//! needs, so that the last bytes are never waited for in vain. An end of stream
//! and an error are reported whatever the mark.

use std::cell::Cell;
use std::io;

// One of these macros calls the other by its bare name.
#[cfg(target_os = "linux")]
use nix::{setsockopt_impl, sockopt_impl};
use socket2::Socket;

/// The mark of one socket.
#[derive(Debug)]
pub(super) struct LowWater {
    /// As the kernel has it: 1 on a fresh socket.
    mark: Cell<usize>,
    /// Whether it can be set to more.
    is_supported: Cell<bool>,
}

impl LowWater {
    /// Of a socket whose buffers are left to the kernel.
    pub(super) fn new() -> LowWater {
        LowWater {
            mark: Cell::new(1),
            is_supported: Cell::new(true),
        }
    }

    /// Of one for which this has no use.
    pub(super) fn unused() -> LowWater {
        LowWater {
            mark: Cell::new(1),
            is_supported: Cell::new(false),
        }
    }

    /// A reader that lacks `missing` bytes is about to wait. Tells whether the
    /// mark was changed.
    ///
    /// What arrived just before may then be enough by the new mark and not have
    /// been by the old one, and not every kernel reports it: the reader has to
    /// look again before it waits.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt` when a mark has to be lowered again. None is known.
    pub(super) fn expect(&self, socket: &Socket, missing: usize) -> io::Result<bool> {
        let old = self.mark.get();
        let new = suitable(missing);
        if new == old || !self.is_supported.get() {
            return Ok(false);
        }
        match set_receive_low_water(socket, new) {
            Ok(()) => {
                self.mark.set(new);
                Ok(true)
            }
            Err(_) if old == 1 => {
                // It is a help, no need.
                self.is_supported.set(false);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The mark for one who lacks `missing` bytes: a small part of them, so that the
/// copying still goes on while bytes arrive; a power of two, so that it changes
/// a few times in a frame only; and 1 where that part is a segment or so.
fn suitable(missing: usize) -> usize {
    match (missing / 8).checked_ilog2() {
        Some(log) if 1 << log >= LEAST => MOST.min(1 << log),
        _ => 1,
    }
}

/// The highest mark. More saves next to nothing.
const MOST: usize = 1024 * 1024;

/// The lowest mark but 1. Less does not save what it costs to set it.
const LEAST: usize = 64 * 1024;

/// Has a TCP socket reported readable once so many bytes have arrived.
#[cfg(target_os = "linux")]
fn set_receive_low_water(socket: &Socket, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    Ok(nix::sys::socket::setsockopt(
        socket,
        ReceiveLowWater,
        &bytes,
    )?)
}

/// Elsewhere nothing has been measured.
#[cfg(not(target_os = "linux"))]
fn set_receive_low_water(_: &Socket, _: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
sockopt_impl!(
    /// How many bytes there must be for a socket to count as readable.
    ReceiveLowWater,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    libc::c_int
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_small_part_of_what_is_missing() {
        for (missing, mark) in [
            (1, 1),
            (8 * LEAST - 1, 1),
            (8 * LEAST, LEAST),
            (16 * LEAST - 1, LEAST),
            (16 * LEAST, 2 * LEAST),
            (100_000_000, MOST),
            (usize::MAX, MOST),
        ] {
            assert_eq!(suitable(missing), mark, "{missing}");
        }
    }
}
