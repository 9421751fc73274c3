//! What the server is doing, in a line: now and then, or when somebody asks.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, HumanCount};
use readinto::{Stats, TurnLengths};
use serde_json::{Map, Value};

use super::output::say;
use super::server::{Done, Server};
use super::signals::Word;
use crate::cli::ServeOptions;

/// A connection that holds the loop for so long is worth a line in the log.
pub(crate) const STALL: Duration = Duration::from_millis(10);

/// Tells what has happened since it told last.
pub(crate) struct Reporter<'a> {
    server: &'a Server,
    every: Option<Duration>,
    json: bool,
    last: Instant,
    /// What all threads together had done by then.
    before: Stats,
    /// What each had done when it last said so.
    known: Vec<Done>,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(server: &'a Server, options: &ServeOptions) -> Reporter<'a> {
        Reporter {
            server,
            every: options.stats.duration(),
            json: options.stats_json,
            last: Instant::now(),
            before: Stats::default(),
            known: Vec::new(),
        }
    }

    /// Reports as often as it was told to, and when asked, until the server is to stop.
    pub(crate) fn report_until_stopped(&mut self, words: &Receiver<Word>) {
        let mut next = self.every.map(|every| self.last + every);
        loop {
            let word = match next {
                Some(next) => words.recv_timeout(next.saturating_duration_since(Instant::now())),
                None => words.recv().map_err(RecvTimeoutError::from),
            };
            match word {
                Ok(Word::Report) => self.report(),
                Err(RecvTimeoutError::Timeout) => {
                    self.report();
                    next = self.every.map(|every| self.last + every);
                }
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn report(&mut self) {
        self.server.ask(&mut self.known);
        let now = Instant::now();
        let sum = |sum: Done, done| sum.plus(done);
        let all = self.known.iter().fold(Done::default(), sum);
        let report = Report {
            elapsed: now - self.last,
            stats: all.stats.since(&self.before),
            turns: all.turns,
        };
        (self.last, self.before) = (now, all.stats);
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
    /// Of all turns so far, if they are timed.
    turns: TurnLengths,
}

impl Report {
    fn as_json(&self) -> Value {
        let mut report = Map::new();
        let mut put = |name: &str, value: Value| report.insert(name.to_owned(), value);
        put("seconds", self.elapsed.as_secs_f64().into());
        for (name, value) in self.stats.fields() {
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
            write!(
                f,
                "; turns so far: 99 % within {p99:.0?}, longest {longest:.0?}"
            )?;
        }
        Ok(())
    }
}
