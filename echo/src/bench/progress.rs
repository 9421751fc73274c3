//! How far a benchmark is, on standard error: a bar on a terminal, a line now
//! and then elsewhere.
//!
//! Answers are only counted; who shows the count looks at it by the clock.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use readinto::Handle;

/// The frames that have been answered, out of all of a part of the benchmark.
pub(crate) struct Progress {
    part: &'static str,
    answered: Cell<u64>,
    total: u64,
    frame_size: usize,
    started: Cell<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(part: &'static str, total: u64, frame_size: usize) -> Progress {
        Progress {
            part,
            answered: Cell::new(0),
            total,
            frame_size,
            started: Cell::new(Instant::now()),
            bar: io::stderr().is_terminal().then(|| {
                let style = ProgressStyle::with_template(BAR).expect("the template is right");
                ProgressBar::new(total).with_style(style).with_prefix(part)
            }),
        }
    }

    /// One more frame was answered.
    pub(crate) fn count(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Shows the count until it is dropped.
    pub(crate) async fn show(&self, handle: &Handle) {
        self.started.set(Instant::now());
        loop {
            match &self.bar {
                Some(bar) => {
                    handle.sleep(BAR_STEP).await;
                    bar.set_position(self.answered.get());
                    bar.set_message(self.rate());
                }
                None => {
                    handle.sleep(LINE_STEP).await;
                    // Whoever closed standard error does not want to know.
                    let _ = writeln!(
                        io::stderr(),
                        "{}: {} of {} frames, {}",
                        self.part,
                        self.answered.get(),
                        self.total,
                        self.rate()
                    );
                }
            }
        }
    }

    fn rate(&self) -> String {
        let bytes = self.answered.get() as f64 * self.frame_size as f64;
        let seconds = self.started.get().elapsed().as_secs_f64();
        format!("{:.0} MB/s", bytes / seconds / 1e6)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const BAR: &str = "{prefix} {wide_bar} {pos} of {len} frames, {msg}, {eta} left";
const BAR_STEP: Duration = Duration::from_millis(200);
const LINE_STEP: Duration = Duration::from_secs(5);
