//! What is not tested on this machine.

use std::io::{Write, stderr};

/// Says that something is skipped and why, where it is read: of a test that passes, what
/// `eprintln!` says is not shown.
pub(crate) fn skipped(why: &str) {
    // Whether anybody reads it makes no difference to the test.
    let _ = writeln!(stderr(), "skipped: {why}");
}
