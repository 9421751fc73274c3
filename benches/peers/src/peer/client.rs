//! What the client of every row in Rust does, whatever it runs on.
//!
//! It warms up and compares each answer, says `ready`, waits for a line, does
//! its work against the clock, reports in one line of JSON, and holds still
//! until it is let go.

use std::io::{self, BufRead, ErrorKind, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A connection that has the frames, and the room for an answer.
pub(crate) trait Wire {
    /// Sends the frame whose turn it is, the first or the second, and reads the answer.
    async fn exchange(&mut self, turn: usize) -> io::Result<()>;

    /// The last answer's payload.
    fn answer(&self) -> &[u8];
}

/// How many frames, and which.
pub(crate) struct Job {
    /// Sent in turn.
    pub(crate) payloads: [Vec<u8>; 2],
    pub(crate) frames: usize,
    pub(crate) warmup: usize,
}

impl Job {
    pub(crate) fn new(size: usize, frames: usize, warmup: usize) -> Job {
        Job {
            payloads: payloads(size),
            frames,
            warmup,
        }
    }

    /// Bytes of each payload.
    pub(crate) fn size(&self) -> usize {
        self.payloads[0].len()
    }

    /// The verb `bulk`.
    pub(crate) async fn ship(&self, wire: &mut impl Wire) -> io::Result<()> {
        let mut turn = 0;
        for _ in 0..self.warmup {
            turn = 1 - turn;
            wire.exchange(turn).await?;
            self.check(wire, turn)?;
        }
        wait_for_the_word()?;
        let start = Instant::now();
        for _ in 0..self.frames {
            turn = 1 - turn;
            wire.exchange(turn).await?;
            if wire.answer().len() != self.size() {
                return Err(wrong("length"));
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        self.check(wire, turn)?;
        let bytes = self.frames as u64 * self.size() as u64;
        report(&json!({ "seconds": seconds, "frames": self.frames, "bytes": bytes }))
    }

    fn check(&self, wire: &impl Wire, turn: usize) -> io::Result<()> {
        match wire.answer() == self.payloads[turn] {
            true => Ok(()),
            false => Err(wrong("bytes")),
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("an answer of wrong {what}"))
}

/// The verb `seed`: `iteration` connects, sends one frame in two writes, reads
/// the answer into the room that it is lent, the same each time, and returns how
/// long that took.
pub(crate) async fn seed(
    answer: &mut [u8],
    iterations: usize,
    mut iteration: impl AsyncFnMut(&[u8], &mut [u8]) -> io::Result<Duration>,
) -> io::Result<()> {
    let payloads = payloads(answer.len());
    wait_for_the_word()?;
    let mut seconds = Vec::new();
    for payload in payloads.iter().cycle().take(iterations) {
        let elapsed = iteration(payload, answer).await?;
        if *answer != **payload {
            return Err(wrong("bytes"));
        }
        seconds.push(elapsed.as_secs_f64());
    }
    report(&json!({ "seconds": seconds, "bytes": answer.len() }))
}

/// Two payloads that are sent in turn. No byte of one is the same in the other, so that
/// neither an answer nor the buffer of a server can be right by what was left there.
pub(crate) fn payloads(size: usize) -> [Vec<u8>; 2] {
    let payload = payload(size);
    let other = payload.iter().map(|byte| !byte).collect();
    [payload, other]
}

/// Bytes that look random and are the same each time: xorshift64.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Says that all is prepared, and waits for the word to go.
pub(crate) fn wait_for_the_word() -> io::Result<()> {
    say("ready")?;
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

/// Gives the figures, and holds still until it is let go.
pub(crate) fn report(figures: &Value) -> io::Result<()> {
    say(&figures.to_string())?;
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
