//! Threads for blocking peers, that a test can wait for without blocking.

use std::future::poll_fn;
use std::panic;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};

/// A thread for a blocking peer, whose panic is the test's.
pub(crate) fn peer_thread<T: Send + 'static>(
    peer: impl FnOnce() -> T + Send + 'static,
) -> PeerThread<T> {
    let end = Arc::new(Mutex::new(End::default()));
    let at_end = AnnounceEnd(end.clone());
    let thread = thread::spawn(move || {
        let _at_end = at_end;
        peer()
    });
    PeerThread { thread, end }
}

/// The thread that [`peer_thread`] has started.
pub(crate) struct PeerThread<T> {
    thread: JoinHandle<T>,
    end: Arc<Mutex<End>>,
}

#[derive(Default)]
struct End {
    reached: bool,
    waker: Option<Waker>,
}

impl<T> PeerThread<T> {
    /// What the thread returns, once it has ended; meanwhile the reactor runs.
    pub(crate) async fn join(self) -> T {
        poll_fn(|context| {
            let mut end = self.end.lock().expect("nothing panics in there");
            end.waker = Some(context.waker().clone());
            match end.reached {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        match self.thread.join() {
            Ok(value) => value,
            Err(panic) => panic::resume_unwind(panic),
        }
    }
}

/// Dropped as the last thing of the thread, even if it panics.
struct AnnounceEnd(Arc<Mutex<End>>);

impl Drop for AnnounceEnd {
    fn drop(&mut self) {
        let mut end = self.0.lock().expect("nothing panics in there");
        end.reached = true;
        let waker = end.waker.take();
        drop(end);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
