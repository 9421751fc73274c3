//! What a server says on standard output.

use std::fmt;
use std::io::{self, Write};

/// Prints a line, at once. That nobody reads it is no reason to fail.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        log::info!("cannot write to standard output: {error}");
    }
}
