//! Lines on the standard streams: where nobody reads them any more they are lost, and
//! stop no thread.

use std::fmt;
use std::fs::File;
use std::io::{self, Stderr, Stdout, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::libc::{O_NOCTTY, O_NONBLOCK, PIPE_BUF};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::ttyname;

/// Prints a line on standard output, at once. That nobody reads it is no reason to fail.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    if let Err(error) = STDOUT.offer(line.as_bytes(), PollTimeout::ZERO) {
        log::info!("cannot write to standard output: {error}");
    }
}

/// Prints the last line of a run on standard error, for which there is time.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    // Nobody is left to tell if standard error is closed as well.
    let _ = STDERR.offer(line.as_bytes(), A_SECOND.into());
}

/// Standard error, for the logger, which writes a line at a time.
pub(crate) struct LogTarget;

impl Write for LogTarget {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.offer(line, PollTimeout::ZERO)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A standard stream.
struct Output<S> {
    stream: S,
    /// What it leads to, if that is a terminal. It may have room for less than a line,
    /// which polling does not tell; so it is opened once more, without blocking, which
    /// others that share the stream are not to notice.
    terminal: Option<File>,
}

static STDOUT: LazyLock<Output<Stdout>> = LazyLock::new(|| Output::new(io::stdout()));
static STDERR: LazyLock<Output<Stderr>> = LazyLock::new(|| Output::new(io::stderr()));

impl<S: AsFd> Output<S>
where
    for<'a> &'a S: Write,
{
    fn new(stream: S) -> Output<S> {
        // There is no name, unless it is a terminal.
        let terminal = ttyname(&stream).ok().and_then(|name| {
            let mut options = File::options();
            options.write(true).custom_flags(O_NONBLOCK | O_NOCTTY);
            options.open(name).ok()
        });
        Output { stream, terminal }
    }

    fn offer(&self, line: &[u8], patience: PollTimeout) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => offer(terminal, line, patience),
            None => offer(&self.stream, line, patience),
        }
    }
}

/// Writes all of it, or fails if there is no room for so long.
///
/// A pipe that polls as writable takes `PIPE_BUF` bytes at once, unless another process
/// fills it in between. Of a longer line, a part may be written.
fn offer(mut out: impl Write + AsFd, line: &[u8], patience: PollTimeout) -> io::Result<()> {
    // Both streams may be one pipe, with room for one of two threads.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for piece in line.chunks(PIPE_BUF) {
        // An error of the stream is for the write to tell.
        let ready = poll(
            &mut [PollFd::new(out.as_fd(), PollFlags::POLLOUT)],
            patience,
        )?;
        if ready == 0 {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "it is full, and nobody reads it",
            ));
        }
        out.write_all(piece)?;
        out.flush()?;
    }
    Ok(())
}

static TURN: Mutex<()> = Mutex::new(());

/// In milliseconds.
const A_SECOND: u16 = 1000;
