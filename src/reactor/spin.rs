//! Busy polling: whether to look again and again before going to sleep.
//!
//! Waking a thread that sleeps in the kernel takes some 20 to 30 µs on the
//! machines of `docs/architecture.md`, each time. While traffic is close, it is
//! cheaper to keep looking. How close it is shows in the waits: one that ended
//! within the bound restores the whole window, one that did not halves it, so
//! that a stream of events that are far apart soon costs no spinning at all.

use std::time::{Duration, Instant};

/// How long to spin before the next sleep.
#[derive(Debug)]
pub(super) struct Spin {
    /// The bound that the user has set, zero for never.
    most: Duration,
    window: Duration,
    /// When the wait began that is going on.
    since: Option<Instant>,
}

impl Spin {
    pub(super) fn new(most: Duration) -> Spin {
        // Longer than anybody waits, and still within what the clock can say.
        let most = most.min(Duration::from_secs(3600));
        Spin {
            most,
            window: most,
            since: None,
        }
    }

    /// Whether it is switched on.
    pub(super) fn is_on(&self) -> bool {
        !self.most.is_zero()
    }

    /// A wait begins: until when to spin. `deadline` is the next timer's.
    ///
    /// The kernel counts whole milliseconds, so the last ones before a deadline
    /// are spun as well.
    pub(super) fn until(&mut self, now: Instant, deadline: Option<Instant>) -> Option<Instant> {
        self.since.get_or_insert(now);
        let window = (!self.window.is_zero()).then(|| now + self.window);
        let near = deadline.filter(|&deadline| deadline < now + FINAL);
        match (window, near) {
            (Some(window), Some(near)) => Some(window.max(near)),
            (window, near) => window.or(near),
        }
    }

    /// Spinning has led to nothing: a sleep comes next.
    pub(super) fn failed(&mut self) {
        self.window /= 2;
        if self.window < LEAST {
            self.window = Duration::ZERO;
        }
    }

    /// Something has come: the wait is over.
    pub(super) fn ended(&mut self, now: Instant) {
        if let Some(since) = self.since.take()
            && now.duration_since(since) <= self.most + WAKING
        {
            self.window = self.most;
        }
    }
}

/// What waking takes at most, mostly, after a wait that was slept: it is no part
/// of the time until something came.
const WAKING: Duration = Duration::from_micros(50);

/// How much of the wait for a deadline is left to spinning.
pub(super) const FINAL: Duration = Duration::from_millis(2);

/// Less than a system call takes.
const LEAST: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(64);

    #[test]
    fn waits_in_vain_end_the_spinning_and_one_short_wait_restores_it() {
        let mut spin = Spin::new(MOST);
        let now = Instant::now();
        let mut spun = Duration::ZERO;
        for _ in 0..20 {
            let until = spin.until(now, None);
            spun += until.map_or(Duration::ZERO, |until| until - now);
            spin.failed();
            spin.ended(now + 2 * MOST + WAKING);
        }
        // 64, 32, 16, 8, 4, 2 and 1.
        assert_eq!(spun, 2 * MOST - LEAST);
        assert_eq!(spin.until(now, None), None);

        spin.ended(now + MOST + WAKING);
        assert_eq!(spin.until(now, None), Some(now + MOST));
    }

    #[test]
    fn a_near_deadline_is_spun_for_and_a_far_one_is_not() {
        let mut spin = Spin::new(MOST);
        let now = Instant::now();
        let near = now + Duration::from_millis(1);
        assert_eq!(spin.until(now, Some(near)), Some(near));
        let far = now + FINAL;
        assert_eq!(spin.until(now, Some(far)), Some(now + MOST));
    }
}
