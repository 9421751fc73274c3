//! What the server is doing, in a line: now and then, or when somebody asks.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, HumanCount};
use readinto::channel::TaskReceiver;
use readinto::{Handle, Stats, TurnLengths};
use serde_json::{Map, Value};

use super::observer::{Done, Observer};
use crate::cli::ServeOptions;
use crate::output::say;

/// Tells what has happened since it told last.
pub(crate) struct Reporter {
    observer: Observer,
    every: Option<Duration>,
    json: bool,
    last: Instant,
    /// What all threads together had done by then.
    before: Done,
}

impl Reporter {
    pub(crate) fn new(observer: Observer, options: &ServeOptions) -> Reporter {
        Reporter {
            observer,
            every: options.stats.duration(),
            json: options.stats_json,
            last: Instant::now(),
            before: Done::default(),
        }
    }

    /// Reports as often as it was told to, and when asked, for as long as somebody can.
    pub(crate) async fn run(mut self, handle: Handle, mut asked: TaskReceiver<()>) {
        let mut next = self.next();
        loop {
            let word = match next {
                Some(next) => {
                    let rest = next.saturating_duration_since(Instant::now());
                    handle.timeout(rest, asked.recv()).await
                }
                None => Ok(asked.recv().await),
            };
            match word {
                Ok(Some(())) => self.report().await,
                Ok(None) => return,
                Err(_) => {
                    self.report().await;
                    next = self.next();
                }
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.every.and_then(|every| self.last.checked_add(every))
    }

    async fn report(&mut self) {
        let all = self.observer.ask().await;
        let now = Instant::now();
        let report = Report {
            elapsed: now - self.last,
            stats: all.stats.since(&self.before.stats),
            turns: all.turns.since(&self.before.turns),
        };
        (self.last, self.before) = (now, all);
        match self.json {
            true => say(format_args!("{}", report.as_json())),
            false => say(format_args!("{report}")),
        }
    }
}

/// What has happened in a while.
struct Report {
    elapsed: Duration,
    stats: Stats,
    /// None, unless they are timed.
    turns: TurnLengths,
}

impl Report {
    fn as_json(&self) -> Value {
        let mut report = Map::new();
        let mut put = |name: &str, value: Value| report.insert(name.to_owned(), value);
        put("seconds", self.elapsed.as_secs_f64().into());
        for (name, value) in self.stats.counters().chain(self.stats.gauges()) {
            put(name, value.into());
        }
        if self.turns.count() > 0 {
            let (p99, longest) = (self.turns.quantile(0.99), self.turns.longest());
            put("turn_p99_seconds", p99.as_secs_f64().into());
            put("turn_longest_seconds", longest.as_secs_f64().into());
        }
        Value::Object(report)
    }

    fn per_second(&self, count: u64) -> HumanCount {
        HumanCount((count as f64 / self.elapsed.as_secs_f64()).round() as u64)
    }

    fn bytes_per_second(&self, bytes: u64) -> DecimalBytes {
        DecimalBytes(self.per_second(bytes).0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        write!(
            f,
            "stats: {} sockets, {} accepted/s; in {} frames/s, {}/s; out {} frames/s, {}/s; \
             {} turns/s, {} of them slept; memory {}, idle {}",
            stats.sockets,
            self.per_second(stats.accepted),
            self.per_second(stats.frames_in),
            self.bytes_per_second(stats.bytes_in),
            self.per_second(stats.frames_out),
            self.bytes_per_second(stats.bytes_out),
            self.per_second(stats.turns),
            self.per_second(stats.sleeps),
            DecimalBytes(stats.memory_lent),
            DecimalBytes(stats.memory_idle),
        )?;
        if self.turns.count() > 0 {
            let (p99, longest) = (self.turns.quantile(0.99), self.turns.longest());
            write!(f, "; turns: 99 % within {p99:.0?}, longest {longest:.0?}")?;
        }
        Ok(())
    }
}
