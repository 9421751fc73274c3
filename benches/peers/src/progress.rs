//! How far the session is, on standard error: a bar on a terminal, a line per
//! round elsewhere.
//!
//! It draws between the turns only; while a turn runs, this process sleeps.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Counted in the time that was planned for what is done.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    planned: Cell<Duration>,
    done: Cell<Duration>,
    started: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            bar: io::stderr().is_terminal().then(|| {
                let style = ProgressStyle::with_template(BAR).expect("the template is right");
                ProgressBar::new(0).with_style(style)
            }),
            planned: Cell::default(),
            done: Cell::default(),
            started: Cell::new(Instant::now()),
        }
    }

    /// From here on it counts, up to this.
    pub(crate) fn plan(&self, planned: Duration) {
        self.planned.set(planned);
        self.started.set(Instant::now());
        if let Some(bar) = &self.bar {
            bar.set_length(planned.as_millis() as u64);
            bar.reset_elapsed();
        }
    }

    /// What begins now.
    pub(crate) fn stage(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(what.to_owned());
                bar.set_message("");
                bar.tick();
            }
            None => {
                let left = self.left().map_or(String::new(), |left| {
                    format!(", about {} left", in_words(left))
                });
                // Whoever closed standard error does not want to know.
                let _ = writeln!(io::stderr(), "{what}{left}");
            }
        }
    }

    /// Who has the turn now.
    pub(crate) fn turn(&self, row: &str) {
        if let Some(bar) = &self.bar {
            let left = self.left().map_or(String::new(), in_words);
            bar.set_message(format!("{row} ({left} left)"));
        }
    }

    /// Something is done that this time was planned for.
    pub(crate) fn advance(&self, planned: Duration) {
        self.done.set(self.done.get() + planned);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done.get().as_millis() as u64);
        }
    }

    /// Prints on standard output, above the bar if there is one.
    pub(crate) fn say(&self, text: &str) {
        let print = || {
            // Whoever closed standard output still gets the files.
            let _ = writeln!(io::stdout(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What is left of the plan, at the pace so far.
    fn left(&self) -> Option<Duration> {
        let (planned, done) = (self.planned.get(), self.done.get());
        if planned.is_zero() {
            return None;
        }
        let left = planned.saturating_sub(done);
        let pace = match done < TELLING {
            true => 1.0,
            false => self.started.get().elapsed().as_secs_f64() / done.as_secs_f64(),
        };
        Some(left.mul_f64(pace))
    }
}

/// "40 s", "12 min", "1 h 5 min".
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds.div_ceil(60)) {
        _ if seconds < 100 => format!("{seconds} s"),
        (0, minutes) if minutes < 60 => format!("{minutes} min"),
        (_, minutes) => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

const BAR: &str = "{wide_bar} {percent:>3} %\n{prefix} {msg}";
/// What must be done before its pace tells anything.
const TELLING: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        let told = [5, 99, 100, 3600, 5_400, 3_599].map(|s| in_words(Duration::from_secs(s)));
        assert_eq!(
            told,
            [
                "5 s",
                "99 s",
                "2 min",
                "1 h 0 min",
                "1 h 30 min",
                "1 h 0 min"
            ]
        );
    }
}
