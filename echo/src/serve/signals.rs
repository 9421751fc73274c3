//! How a server is told things: by signals, or by another thread.
//!
//! A handler may do next to nothing, so a small thread takes the signals, and passes
//! them on to those who sleep.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use event_listener::Event;
use readinto::channel::{TaskReceiver, to_task};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// How often the server was told to stop; any thread may ask.
#[derive(Debug, Default)]
pub(crate) struct StopRequests {
    count: AtomicUsize,
    changed: Event,
}

impl StopRequests {
    /// Tells the server to stop, or to hurry if it is stopping already.
    pub(crate) fn request(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Tells the server to stop, unless it was told already.
    pub(crate) fn ensure(&self) {
        self.count.fetch_max(1, Ordering::Release);
        self.changed.notify(usize::MAX);
    }

    /// Waits until there were this many requests.
    pub(crate) async fn reached(&self, wanted: usize) {
        loop {
            // Listening begins before the look, lest a request fall in between.
            let changed = self.changed.listen();
            if self.count.load(Ordering::Acquire) >= wanted {
                return;
            }
            changed.await;
        }
    }
}

/// From now on, SIGTERM and SIGINT are requests to stop, and SIGHUP is nothing. What is
/// received says that SIGUSR1 has come, once for those that come meanwhile.
pub(crate) fn forward_to(stop: &Arc<StopRequests>) -> io::Result<TaskReceiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let stop = stop.clone();
    let (reports, asked) = to_task(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGHUP => log::info!("ignored SIGHUP"),
                    // It fails where one is waiting already, or nobody listens any more.
                    SIGUSR1 => drop(reports.try_send(())),
                    _ => stop.request(),
                }
            }
        })?;
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn to_ensure_that_it_stops_hurries_nobody() {
        let stop = StopRequests::default();
        stop.ensure();
        assert_eq!(stop.reached(1).now_or_never(), Some(()));
        stop.ensure();
        assert_eq!(stop.reached(2).now_or_never(), None);
        stop.request();
        assert_eq!(stop.reached(2).now_or_never(), Some(()));
    }
}
