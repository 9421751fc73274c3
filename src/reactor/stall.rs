//! How long turns take, and which tasks hold them up.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::time::{Duration, Instant};

/// Times turns and polls, and reports those that take too long.
#[derive(Debug)]
pub(super) struct StallWatch {
    threshold: Duration,
    turns: RefCell<TurnLengths>,
    /// When this turn's first poll began, and when its last one ended.
    turn: Cell<Option<(Instant, Instant)>>,
    last_report: Cell<Option<Instant>>,
    unreported: Cell<u64>,
}

/// Where a task comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The name of its future's type.
    pub(super) name: fn() -> &'static str,
    pub(super) location: &'static Location<'static>,
}

impl Origin {
    /// That of `future`, as seen from the caller of the caller.
    #[track_caller]
    pub(super) fn of<F>(_: &F) -> Origin {
        Origin {
            name: type_name::<F>,
            location: Location::caller(),
        }
    }
}

impl StallWatch {
    pub(super) fn new(threshold: Duration) -> StallWatch {
        StallWatch {
            threshold,
            turns: RefCell::default(),
            turn: Cell::new(None),
            last_report: Cell::new(None),
            unreported: Cell::new(0),
        }
    }

    /// The first poll of a turn begins.
    pub(super) fn turn_begins(&self) {
        let now = Instant::now();
        self.turn.set(Some((now, now)));
    }

    /// A poll has ended: one that took too long is reported, and `true` returned.
    pub(super) fn poll_ended(&self, origin: Origin) -> bool {
        let now = Instant::now();
        let Some((began, last)) = self.turn.replace(None) else {
            return false;
        };
        self.turn.set(Some((began, now)));
        let took = now - last;
        let stalled = took >= self.threshold;
        if stalled {
            self.report(now, took, origin);
        }
        stalled
    }

    /// The turn has ended.
    pub(super) fn turn_ended(&self) {
        if let Some((began, last)) = self.turn.take()
            && last > began
        {
            self.turns.borrow_mut().add(last - began);
        }
    }

    pub(super) fn turns(&self) -> TurnLengths {
        self.turns.borrow().clone()
    }

    /// One line a second is enough to find the first of them.
    fn report(&self, now: Instant, took: Duration, origin: Origin) {
        let last = self.last_report.get();
        if last.is_some_and(|last| now - last < BETWEEN_REPORTS) {
            self.unreported.set(self.unreported.get() + 1);
            return;
        }
        self.last_report.set(Some(now));
        let more = match self.unreported.take() {
            0 => String::new(),
            more => format!("; {more} others did since the last such line"),
        };
        let Origin { name, location } = origin;
        log::warn!(
            "a task held the loop for {took:?}: {}, spawned at {location}{more}",
            name()
        );
    }
}

/// How long the turns of a reactor took, without the time that it slept: a
/// histogram. See [`Handle::turn_lengths`](super::Handle::turn_lengths).
///
/// Lengths are told apart to within an eighth, from 64 ns to an hour.
///
/// # Examples
///
/// See [`Builder::watch_stalls`](super::Builder::watch_stalls).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnLengths {
    buckets: Box<[u64; BUCKETS]>,
    total: Duration,
    longest: Duration,
}

impl Default for TurnLengths {
    fn default() -> TurnLengths {
        TurnLengths {
            buckets: Box::new([0; BUCKETS]),
            total: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }
}

impl TurnLengths {
    /// How many turns there were in which a task was polled. A poll of the future that
    /// [`block_on`](super::Reactor::block_on) runs counts as a turn of its own.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All turns together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }

    /// How many turns were longer than the bound before, and no longer than this one,
    /// in rising order: eight bounds for each doubling.
    ///
    /// # Examples
    ///
    /// Those of a cumulative histogram, one for each doubling:
    ///
    /// ```
    /// let turns = readinto::TurnLengths::default();
    /// let mut sum = 0;
    /// let cumulative = turns.buckets().map(|(bound, count)| {
    ///     sum += count;
    ///     (bound, sum)
    /// });
    /// assert_eq!(cumulative.skip(7).step_by(8).count(), 36);
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let buckets = self.buckets.iter().enumerate();
        buckets.map(|(bucket, &count)| (upper_bound(bucket), count))
    }

    /// The longest turn.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The length that this share of the turns did not exceed, as in `0.99`, rounded
    /// up by an eighth at most; zero if there was none.
    ///
    /// # Examples
    ///
    /// See [`Builder::watch_stalls`](super::Builder::watch_stalls).
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return upper_bound(bucket).min(self.longest);
            }
        }
        self.longest
    }

    /// Those of both, for several reactors.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let builder = readinto::Reactor::builder().watch_stalls(std::time::Duration::from_secs(1));
    /// let reactors = [builder.clone().build()?, builder.build()?];
    /// let turns = reactors.iter().filter_map(|reactor| reactor.handle().turn_lengths());
    /// let all = turns.reduce(|one, other| one.plus(&other)).unwrap();
    /// assert_eq!(all.count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn plus(&self, other: &TurnLengths) -> TurnLengths {
        let mut sum = self.clone();
        let buckets = sum.buckets.iter_mut().zip(other.buckets.iter());
        buckets.for_each(|(bucket, count)| *bucket += count);
        sum.total = sum.total.saturating_add(other.total);
        sum.longest = sum.longest.max(other.longest);
        sum
    }

    /// Those that have come since `earlier`. The longest of them is known to an eighth,
    /// as a quantile is.
    ///
    /// # Examples
    ///
    /// As [`Stats::since`](super::Stats::since).
    #[must_use]
    pub fn since(&self, earlier: &TurnLengths) -> TurnLengths {
        let mut rest = self.clone();
        let buckets = rest.buckets.iter_mut().zip(earlier.buckets.iter());
        buckets.for_each(|(bucket, count)| *bucket = bucket.saturating_sub(*count));
        rest.total = rest.total.saturating_sub(earlier.total);
        rest.longest = match rest.count() {
            0 => Duration::ZERO,
            _ => rest.quantile(1.0),
        };
        rest
    }

    fn add(&mut self, length: Duration) {
        self.buckets[bucket(length)] += 1;
        self.total = self.total.saturating_add(length);
        self.longest = self.longest.max(length);
    }
}

/// Eight buckets for each doubling: the three bits behind the leading one.
fn bucket(length: Duration) -> usize {
    let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let nanos = nanos.clamp(1 << LEAST, (1 << MOST) - 1);
    let octave = nanos.ilog2();
    let eighth = (nanos >> (octave - EIGHTHS)) as usize % (1 << EIGHTHS);
    ((octave - LEAST) << EIGHTHS) as usize + eighth
}

fn upper_bound(bucket: usize) -> Duration {
    let octave = LEAST + (bucket >> EIGHTHS) as u32;
    let eighth = (bucket % (1 << EIGHTHS)) as u64;
    let next = (1 << EIGHTHS) + eighth + 1;
    Duration::from_nanos((next << (octave - EIGHTHS)) - 1)
}

/// Lengths from 2⁶ ns to 2⁴² ns are told apart.
const LEAST: u32 = 6;
const MOST: u32 = 42;
const EIGHTHS: u32 = 3;
const BUCKETS: usize = ((MOST - LEAST) << EIGHTHS) as usize;

const BETWEEN_REPORTS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_at_most_an_eighth_below_the_bound_of_its_bucket() {
        for nanos in (64..5000).chain([1_000_000, 123_456_789, 10_u64.pow(12)]) {
            let length = Duration::from_nanos(nanos);
            let bound = upper_bound(bucket(length));
            assert!(bound >= length, "{bound:?} for {length:?}");
            assert!(bound - length <= length / 8, "{bound:?} for {length:?}");
        }
    }

    #[test]
    fn a_turn_without_a_poll_does_not_count() {
        let watch = StallWatch::new(Duration::from_secs(1));
        watch.turn_begins();
        watch.turn_ended();
        assert_eq!(watch.turns().count(), 0);
        watch.turn_begins();
        let polled = Instant::now();
        while Instant::now() == polled {}
        watch.poll_ended(Origin::of(&()));
        watch.turn_ended();
        assert_eq!(watch.turns().count(), 1);
    }

    #[test]
    fn what_is_out_of_range_is_counted_at_its_end() {
        let mut turns = TurnLengths::default();
        turns.add(Duration::ZERO);
        turns.add(Duration::MAX);
        assert_eq!((turns.buckets[0], turns.buckets[BUCKETS - 1]), (1, 1));
        assert_eq!(turns.longest(), Duration::MAX);
    }

    #[test]
    fn an_interval_without_a_turn_has_no_longest() {
        let mut turns = TurnLengths::default();
        turns.add(Duration::from_millis(40));
        let none = turns.since(&turns);
        assert_eq!(none, TurnLengths::default());
        assert_eq!(none.quantile(0.99), Duration::ZERO);
        assert_eq!(none.plus(&turns), turns);
        assert_eq!(turns.plus(&none), turns);
    }

    #[test]
    fn a_quantile_is_that_of_the_sorted_lengths() {
        let mut turns = TurnLengths::default();
        assert_eq!(turns.quantile(0.5), Duration::ZERO);
        for micros in 1..=1000 {
            turns.add(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.0, 1), (0.001, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let exact = Duration::from_micros(micros);
            let got = turns.quantile(share);
            assert!((exact..=exact * 9 / 8).contains(&got), "{share}: {got:?}");
        }
        assert_eq!(turns.count(), 1000);
        assert_eq!(turns.total(), Duration::from_micros(500_500));
        let earlier = turns.clone();
        turns.add(Duration::from_micros(10));
        let since = turns.since(&earlier);
        assert_eq!((since.count(), since.total().as_micros()), (1, 10));
        let longest = since.longest().as_nanos();
        assert!((10_000..=11_250).contains(&longest), "{longest}");
        let turns = earlier;
        let counts: u64 = turns.buckets().map(|(_, count)| count).sum();
        assert_eq!(counts, 1000);
        assert!(turns.buckets().is_sorted_by(|one, other| one.0 < other.0));
        let twice = turns.plus(&turns);
        assert_eq!(twice.count(), 2000);
        assert_eq!(twice.quantile(0.5), turns.quantile(0.5));
    }
}
