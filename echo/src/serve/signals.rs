//! How a server is told things: by signals, or by another thread.
//!
//! A handler may do next to nothing, so a small thread takes the signals, and passes
//! them on to those who sleep.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use event_listener::Event;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// How often the server was told to stop; any thread may ask.
#[derive(Debug)]
pub(crate) struct StopRequests {
    count: AtomicUsize,
    changed: Event,
    word: Sender<Word>,
}

/// What the thread that waits for a server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The server was told to stop.
    Stop,
    /// Somebody wants to know what it does.
    Report,
}

impl StopRequests {
    /// None yet; and what others are to hear of them.
    pub(crate) fn new() -> (Arc<StopRequests>, Receiver<Word>) {
        let (word, words) = mpsc::channel();
        let stop = StopRequests {
            count: AtomicUsize::new(0),
            changed: Event::new(),
            word,
        };
        (Arc::new(stop), words)
    }

    /// Tells the server to stop, or to hurry if it is stopping already.
    pub(crate) fn request(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.changed.notify(usize::MAX);
        self.tell(Word::Stop);
    }

    fn tell(&self, word: Word) {
        // Who does not listen need not know.
        let _ = self.word.send(word);
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

/// From now on, SIGTERM and SIGINT are requests to stop, SIGUSR1 asks for a report,
/// and SIGHUP is nothing.
pub(crate) fn forward_to(stop: &Arc<StopRequests>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let stop = stop.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGHUP => log::info!("ignored SIGHUP"),
                    SIGUSR1 => stop.tell(Word::Report),
                    _ => stop.request(),
                }
            }
        })?;
    Ok(())
}
