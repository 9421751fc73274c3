//! Ctrl-C, and the other ways of being asked to end.
//!
//! Whatever waits for a process also waits for this, gives up, and drops its
//! processes on the way out, which kills them.

use std::convert::Infallible;
use std::io;
use std::thread;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The exit code of what was asked to end, as a shell has it for ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Becomes ready once this process was asked to end, and stays so.
#[derive(Clone)]
pub(crate) struct Interrupt(Receiver<Infallible>);

impl Interrupt {
    /// From now on the signals are ours.
    pub(crate) fn catch() -> io::Result<Interrupt> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (sender, receiver) = bounded(0);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                signals.forever().next();
                // Nothing is ever sent: that the channel closes is the news.
                drop(sender);
            })?;
        Ok(Interrupt(receiver))
    }

    /// For tests: nobody asks.
    #[cfg(test)]
    pub(crate) fn never() -> Interrupt {
        Interrupt(crossbeam_channel::never())
    }

    /// A channel that closes on the signal, for `select!`.
    pub(crate) fn closing(&self) -> &Receiver<Infallible> {
        &self.0
    }

    pub(crate) fn has_come(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }
}
