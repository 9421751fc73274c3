//! What the threads of a server have done, asked from outside of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use readinto::channel::to_task;
use readinto::{Handle, Remote, Stats, TurnLengths};

use super::server::Server;

/// Asks all threads of a server. Clones are the same observer.
#[derive(Clone)]
pub(crate) struct Observer {
    /// The reactor that waits for what they say.
    handle: Handle,
    threads: Rc<[Observed]>,
}

struct Observed {
    remote: Remote,
    /// What it had done when it last said so.
    known: RefCell<Done>,
}

impl Observer {
    pub(crate) fn new(handle: &Handle, server: &Server) -> Observer {
        let observed = |remote: &Remote| Observed {
            remote: remote.clone(),
            known: RefCell::default(),
        };
        Observer {
            handle: handle.clone(),
            threads: server.remotes().map(observed).collect(),
        }
    }

    /// The sum of what all have done so far. One that has ended, or is too busy to answer
    /// in time, counts as it did the last time.
    pub(crate) async fn ask(&self) -> Done {
        let (sender, mut receiver) = to_task(self.threads.len());
        for (number, thread) in self.threads.iter().enumerate() {
            let sender = sender.clone();
            let told = thread.remote.spawn(move |handle| async move {
                let done = Done {
                    stats: handle.stats(),
                    turns: handle.turn_lengths().unwrap_or_default(),
                };
                // Nobody waits for it any more if this comes late.
                let _ = sender.try_send((number, done));
            });
            if let Err(error) = told {
                log::debug!("thread {number} can't be asked: {error}");
            }
        }
        drop(sender);
        let listening = async {
            while let Some((number, done)) = receiver.recv().await {
                *self.threads[number].known.borrow_mut() = done;
            }
        };
        if let Err(late) = self.handle.timeout(PATIENCE, listening).await {
            log::debug!("not all threads have said what they do: {late}");
        }
        self.threads.iter().fold(Done::default(), |sum, thread| {
            sum.plus(&thread.known.borrow())
        })
    }
}

/// What a thread has done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) stats: Stats,
    /// Of none, unless they are timed.
    pub(crate) turns: TurnLengths,
}

impl Done {
    pub(crate) fn plus(&self, other: &Done) -> Done {
        Done {
            stats: self.stats.plus(&other.stats),
            turns: self.turns.plus(&other.turns),
        }
    }
}

/// How long a thread may take to say what it has done.
const PATIENCE: Duration = Duration::from_secs(1);
