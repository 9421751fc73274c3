//! A time limit that costs next to nothing while it is kept.
//!
//! Arming and disarming a timer for each frame would be work for every frame, to
//! the benefit of one in millions. So the timer is left as it is when a frame has
//! come in time. When it rings, for a frame that is long gone, the limit of now is
//! looked at, and the timer set to that: once in the time of the limit, and not
//! once per frame.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::reactor::{Inner, Sleep};

/// Watches one wait after the other.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The wait that is watched.
    mark: Option<u64>,
    /// When it has lasted too long; `None` is never.
    due: Option<Instant>,
    /// It rings when that is due, or before.
    alarm: Option<Sleep>,
    /// Whether the kernel was asked once more since then.
    has_looked_again: bool,
}

impl Watch {
    /// Polled by who waits. Ready once `after` has passed since it was first
    /// polled with this `mark`, which is another one for each wait.
    pub(super) fn poll_elapsed(
        &mut self,
        reactor: &Rc<Inner>,
        context: &mut Context<'_>,
        mark: u64,
        after: Duration,
    ) -> Poll<()> {
        if self.mark != Some(mark) {
            self.mark = Some(mark);
            self.has_looked_again = false;
            self.due = Instant::now().checked_add(after);
        }
        let Some(due) = self.due else {
            return Poll::Pending;
        };
        loop {
            let alarm = match &mut self.alarm {
                Some(alarm) if alarm.deadline() <= due => alarm,
                // None, or one that would ring too late.
                alarm => alarm.insert(Sleep::until(reactor.clone(), due)),
            };
            let rings = alarm.deadline();
            if Pin::new(alarm).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.alarm = None;
            if rings == due {
                return Poll::Ready(());
            }
        }
    }

    /// Whether a wait that has lasted too long is to ask the kernel before it gives up:
    /// once, for what it has not been told of.
    pub(super) fn looks_again(&mut self) -> bool {
        !mem::replace(&mut self.has_looked_again, true)
    }
}

/// A limit to how long a frame may take while others wait for memory.
#[derive(Debug)]
pub(super) struct ShortageTimeout {
    pub(super) after: Duration,
    watch: Watch,
}

impl ShortageTimeout {
    pub(super) fn new(after: Duration) -> ShortageTimeout {
        ShortageTimeout {
            after,
            watch: Watch::default(),
        }
    }

    /// As [`Watch::poll_elapsed`], for a time in which nobody else waits for
    /// memory does not count: then the wait begins anew.
    pub(super) fn poll_elapsed(
        &mut self,
        reactor: &Rc<Inner>,
        context: &mut Context<'_>,
        mark: u64,
    ) -> Poll<()> {
        loop {
            ready!(self.watch.poll_elapsed(reactor, context, mark, self.after));
            self.watch = Watch::default();
            if reactor.pool.is_short() {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Reactor;
    use std::future::poll_fn;

    const LIMIT: Duration = Duration::from_millis(20);

    /// How often the task of a watch is polled until the watch ends, if every
    /// poll until then brings a new wait; and how long that took.
    fn watch(mut marks: impl Iterator<Item = u64>) -> (usize, Duration) {
        let mut reactor = Reactor::new().unwrap();
        let inner = reactor.handle().inner.clone();
        let mut watch = Watch::default();
        let mut polls = 0;
        let mut mark = 0;
        let start = Instant::now();
        let waiting = poll_fn(|context| {
            polls += 1;
            mark = marks.next().unwrap_or(mark);
            watch.poll_elapsed(&inner, context, mark, LIMIT)
        });
        reactor.block_on(waiting).unwrap();
        (polls, start.elapsed())
    }

    #[test]
    fn a_wait_ends_with_its_limit_and_not_before() {
        let (polls, elapsed) = watch([1].into_iter());
        assert_eq!(polls, 2);
        assert!(elapsed >= LIMIT, "{elapsed:?}");
    }

    /// The timer rings for the first wait when the second has begun.
    #[test]
    fn a_new_wait_has_its_whole_time() {
        let (polls, elapsed) = watch([1, 2].into_iter());
        assert_eq!(polls, 3);
        assert!(elapsed >= 2 * LIMIT, "{elapsed:?}");
    }

    #[test]
    fn a_thousand_waits_arm_one_timer() {
        let mut reactor = Reactor::new().unwrap();
        let inner = reactor.handle().inner.clone();
        let mut watch = Watch::default();
        let hour = Duration::from_secs(3600);
        let waits = poll_fn(|context| {
            for mark in 0..1000 {
                assert!(watch.poll_elapsed(&inner, context, mark, hour).is_pending());
            }
            Poll::Ready(watch.alarm.as_ref().map(Sleep::deadline))
        });
        let first = reactor.block_on(waits).unwrap();
        assert!(first.is_some_and(|rings| Some(rings) <= watch.due));
    }

    #[test]
    fn a_limit_beyond_what_the_clock_can_say_never_ends() {
        let mut reactor = Reactor::new().unwrap();
        let inner = reactor.handle().inner.clone();
        let mut watch = Watch::default();
        let polled =
            poll_fn(|context| Poll::Ready(watch.poll_elapsed(&inner, context, 1, Duration::MAX)));
        assert!(reactor.block_on(polled).unwrap().is_pending());
        assert!(watch.alarm.is_none());
    }
}
