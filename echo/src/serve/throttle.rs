//! Lines of the log that a peer can cause, so many of a kind a minute.
//!
//! Who connects ten thousand times a second and sends nonsense is to fill neither
//! a disk nor the time of the server.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use log::Level;

/// Counts the lines of each kind.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    windows: RefCell<HashMap<&'static str, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is written. So many were held back in the time that has just ended.
    Write {
        held_back: u64,
    },
    HoldBack,
}

impl Throttle {
    /// Writes a line, unless enough of its kind were written in this minute. Who has
    /// asked for debugging gets them all.
    pub(crate) fn log(&self, kind: &'static str, level: Level, line: fmt::Arguments<'_>) {
        // What nobody sees does not count.
        if !log::log_enabled!(level) {
            return;
        }
        if log::log_enabled!(Level::Debug) {
            log::log!(level, "{line}");
            return;
        }
        if let Verdict::Write { held_back } = self.judge(kind, Instant::now()) {
            if held_back > 0 {
                log::log!(level, "{held_back} more lines were held back: {kind}");
            }
            log::log!(level, "{line}");
        }
    }

    fn judge(&self, kind: &'static str, now: Instant) -> Verdict {
        let mut windows = self.windows.borrow_mut();
        let fresh = Window {
            began: now,
            lines: 0,
        };
        let window = windows.entry(kind).or_insert(fresh);
        let mut held_back = 0;
        if now.duration_since(window.began) >= WINDOW {
            held_back = window.lines.saturating_sub(MOST);
            *window = Window {
                began: now,
                lines: 0,
            };
        }
        window.lines += 1;
        match window.lines <= MOST {
            true => Verdict::Write { held_back },
            false => Verdict::HoldBack,
        }
    }
}

/// How many lines of a kind are written in a window.
const MOST: u64 = 20;
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_others_are_not_touched() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let written = Verdict::Write { held_back: 0 };
        for _ in 0..MOST {
            assert_eq!(throttle.judge("flood", start), written);
        }
        for _ in 0..1000 {
            assert_eq!(throttle.judge("flood", start), Verdict::HoldBack);
        }
        assert_eq!(throttle.judge("other", start), written);
        let later = start + WINDOW;
        let first = throttle.judge("flood", later);
        assert_eq!(first, Verdict::Write { held_back: 1000 });
        assert_eq!(throttle.judge("flood", later), written);
    }
}
