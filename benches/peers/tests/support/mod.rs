//! Processes that tests start: the harness, and single rows.

#![allow(dead_code, reason = "no test uses all of it")]

#[path = "../../../../tests/support/skipped.rs"]
mod skipped;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use skipped::skipped;

/// Whatever waits fails after this.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) fn harness() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_peers"))
}

/// The rows in Rust that have a server, and those that need nothing but Python's
/// standard library.
pub(crate) fn rows_to_test() -> Vec<String> {
    let list = Command::new(harness()).arg("--list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let (_, rows) = list.split_once("rows").expect("a list of rows");
    let rows: Vec<String> = rows
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| match words[..] {
            [name, _, "Rust", ..] => name != "memcpy",
            [_, "asyncio" | "python-blocking", "Python", ..] => true,
            _ => false,
        })
        .map(|words| words[0].to_owned())
        .collect();
    assert!(rows.len() > 10, "{rows:?}");
    rows
}

/// Starts a row with these arguments and a prefix.
pub(crate) fn peer(row: &str, arguments: &[&str], prefix: &str) -> Peer {
    let is_python = row.starts_with("asyncio") || row.starts_with("python");
    let mut command = match is_python {
        true => {
            let mut command = Command::new("python3");
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
            command.arg(folder.join("python/main.py"));
            command
        }
        false => {
            let mut command = Command::new(harness());
            command.arg("peer");
            command
        }
    };
    command.arg(row).args(arguments).args(["--prefix", prefix]);
    Peer::start(row, &mut command)
}

/// A running process; dropping it kills it.
pub(crate) struct Peer {
    name: String,
    child: Option<Child>,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    complaint: String,
}

impl Peer {
    pub(crate) fn start(name: &str, command: &mut Command) -> Peer {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let (sender, lines) = channel();
        let mut peer = Peer {
            name: name.to_owned(),
            child: None,
            input: None,
            lines,
            complaints: None,
            complaint: String::new(),
        };
        match child {
            Ok(mut child) => {
                peer.input = child.stdin.take();
                let output = child.stdout.take().unwrap();
                thread::spawn(move || {
                    for line in BufReader::new(output).lines() {
                        if !line.is_ok_and(|line| sender.send(line).is_ok()) {
                            return;
                        }
                    }
                });
                let mut errors = child.stderr.take().unwrap();
                peer.complaints = Some(thread::spawn(move || {
                    let mut text = String::new();
                    // What is not text is no reason either.
                    let _ = errors.read_to_string(&mut text);
                    text
                }));
                peer.child = Some(child);
            }
            Err(error) => peer.complaint = format!("cannot be started: {error}"),
        }
        peer
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// The next line of its output; none, with a printed reason, if this machine
    /// can't run the row.
    pub(crate) fn line(&mut self) -> Option<String> {
        if self.child.is_none() {
            skipped(&format!("{}: {}", self.name, self.complaint));
            return None;
        }
        if let Ok(line) = self.lines.recv_timeout(SOON) {
            return Some(line);
        }
        let code = self.exit_code();
        let complaint = self.complaint();
        assert_eq!(code, Some(3), "{}: {complaint}", self.name);
        skipped(&format!("{}: {complaint}", self.name));
        None
    }

    /// Where it listens.
    pub(crate) fn address(&mut self) -> Option<String> {
        let line = self.line()?;
        let address = line.strip_prefix("listening on ");
        Some(address.unwrap_or_else(|| panic!("{line:?}")).to_owned())
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was started");
        writeln!(input, "{line}").unwrap();
    }

    /// Waits for its end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.input = None;
        let child = self.child.as_mut().expect("it was started");
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < SOON, "{} does not end", self.name);
            thread::yield_now();
        }
    }

    /// All that it wrote to standard error, once it has ended.
    pub(crate) fn complaint(&mut self) -> String {
        if let Some(complaints) = self.complaints.take() {
            self.complaint = complaints.join().unwrap();
        }
        self.complaint.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
