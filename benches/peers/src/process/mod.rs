//! A process that was started: its lines, its deadlines, its end.
//!
//! Nothing here waits without a deadline, and each wait also ends on an
//! interrupt. A process never outlives its [`Process`]: dropping it kills it and
//! what it has started, a tool after some time to end by itself.

mod cores;
mod parent;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select, unbounded};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

pub(crate) use cores::{Core, Cores};
pub(crate) use parent::end_with_the_parent;
pub(crate) use usage::{Usage, most_resident_bytes, resident_bytes};

use crate::interrupt::Interrupt;

/// Why something could not be done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// This machine does not have what it takes, and why: not the row's fault.
    Unavailable(String),
    /// It should have worked.
    Broken(String),
    /// We were asked to end.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unavailable(reason) | Failure::Broken(reason) => f.write_str(reason),
            Failure::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// A running process in a process group of its own, so that only we get ctrl-C.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    silence: Receiver<Infallible>,
    interrupt: Interrupt,
    grace: Duration,
}

impl Process {
    /// Starts it, on the given core only if there is one.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        core: Option<Core>,
        interrupt: &Interrupt,
    ) -> Result<Process, Failure> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = cores::spawn_on(core, command).map_err(|error| {
            let program = command.get_program().display();
            let reason = format!("cannot start {program}: {error}");
            match error.kind() {
                io::ErrorKind::NotFound => Failure::Unavailable(reason),
                _ => Failure::Broken(reason),
            }
        })?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("it was asked for");
        let errors = child.stderr.take().expect("it was asked for");

        let (sender, lines) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if !line.is_ok_and(|line| sender.send(line).is_ok()) {
                    return;
                }
            }
        });
        let complaints = Arc::default();
        let (end, silence) = bounded(0);
        thread::spawn({
            let complaints = Arc::clone(&complaints);
            move || {
                collect(errors, &complaints);
                drop(end);
            }
        });
        Ok(Process {
            name: name.to_owned(),
            child,
            input,
            lines,
            complaints,
            silence,
            interrupt: interrupt.clone(),
            grace: Duration::ZERO,
        })
    }

    /// Has it get ctrl-C before it is killed, and so much time to end with all that it
    /// has started: a package manager leaves nothing half done then. Those that it has
    /// started get no signal, for they are what it waits for.
    pub(crate) fn with_grace(mut self, grace: Duration) -> Process {
        self.grace = grace;
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        // One that can't be waited for is no process of ours any more.
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // If it has gone already, it is not waited for yet: nobody else has its id.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// The next line of its standard output.
    pub(crate) fn line(&mut self, deadline: Duration) -> Result<String, Failure> {
        select! {
            recv(self.lines) -> line => match line {
                Ok(line) => Ok(line),
                Err(_) => Err(self.early_end()),
            },
            recv(self.interrupt.closing()) -> _ => Err(Failure::Interrupted),
            default(deadline) => Err(self.overdue("no line", deadline)),
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().expect("the input is open until finish");
        match input.write_all(format!("{line}\n").as_bytes()) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.early_end()),
        }
    }

    /// Closes its standard input, waits for its end, and returns the lines that
    /// were left. Anything but exit code 0 is a failure.
    pub(crate) fn finish(mut self, deadline: Duration) -> Result<Vec<String>, Failure> {
        self.input = None;
        let started = Instant::now();
        let mut rest = Vec::new();
        loop {
            let left = deadline.saturating_sub(started.elapsed());
            select! {
                recv(self.lines) -> line => match line {
                    Ok(line) => rest.push(line),
                    Err(_) => break,
                },
                recv(self.interrupt.closing()) -> _ => return Err(Failure::Interrupted),
                default(left) => return Err(self.overdue("it did not end", deadline)),
            }
        }
        match self.wait(deadline.saturating_sub(started.elapsed()))? {
            status if status.success() => Ok(rest),
            status => Err(self.verdict(status)),
        }
    }

    /// An interval's rest, unless an interrupt or the end of the process comes
    /// first. The process must have nothing to say.
    pub(crate) fn rest(&mut self, interval: Duration) -> Result<(), Failure> {
        select! {
            recv(self.lines) -> line => Err(match line {
                Ok(line) => Failure::Broken(format!("{}: unexpected line {line:?}", self.name)),
                Err(_) => self.early_end(),
            }),
            recv(self.interrupt.closing()) -> _ => Err(Failure::Interrupted),
            default(interval) => Ok(()),
        }
    }

    /// It went away, or closed its output, before its time.
    fn early_end(&mut self) -> Failure {
        match self.wait(AFTER_OUTPUT) {
            Ok(status) => self.verdict(status),
            Err(failure) => failure,
        }
    }

    fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, Failure> {
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if self.interrupt.has_come() => return Err(Failure::Interrupted),
                Ok(None) if started.elapsed() < deadline => thread::sleep(END_STEP),
                Ok(None) => return Err(self.overdue("it did not end", deadline)),
                Err(error) => return Err(Failure::Broken(format!("{}: {error}", self.name))),
            }
        }
    }

    /// What an end other than a good one means.
    fn verdict(&self, status: ExitStatus) -> Failure {
        // What it said last may still be on its way.
        let _ = self.silence.recv_timeout(LAST_WORDS);
        if status.code() == Some(UNAVAILABLE) {
            let complaints = self.complaints.lock().expect("no holder panics");
            let reason = complaints
                .back()
                .map_or("it gave no reason", String::as_str);
            return Failure::Unavailable(reason.to_owned());
        }
        let how = match (status.code(), status.signal()) {
            (Some(0), _) => "ended too early".to_owned(),
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => format!("ended: {status}"),
        };
        Failure::Broken(format!("{} {how}{}", self.name, self.complaint()))
    }

    fn overdue(&self, what: &str, deadline: Duration) -> Failure {
        Failure::Broken(format!(
            "{}: {what} within {} s{}",
            self.name,
            deadline.as_secs(),
            self.complaint()
        ))
    }

    /// The last line on standard error that speaks of an error, or else the
    /// last; behind a colon.
    fn complaint(&self) -> String {
        let complaints = self.complaints.lock().expect("no holder panics");
        complaints
            .iter()
            .rfind(|line| line.to_lowercase().contains("error"))
            .or(complaints.back())
            .map_or(String::new(), |line| format!(": {}", line.trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        if !self.grace.is_zero() {
            self.signal(Signal::SIGINT);
        }
        // As long as there is one of them, nobody else can have the id of the group.
        let group = Pid::from_raw(self.child.id().cast_signed());
        let started = Instant::now();
        while self.is_running() || killpg(group, None::<Signal>).is_ok() {
            if started.elapsed() >= self.grace {
                // If it has gone in the meantime, there is nothing to kill.
                let _ = killpg(group, Signal::SIGKILL);
                break;
            }
            thread::sleep(END_STEP);
        }
        let _ = self.child.wait();
    }
}

/// Keeps the last lines that are not empty.
fn collect(errors: impl Read, kept: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(errors).lines() {
        // Not text, or cut off: neither is worth more than what came before.
        let Ok(line) = line else { return };
        if line.trim().is_empty() {
            continue;
        }
        let mut kept = kept.lock().expect("no holder panics");
        if kept.len() == COMPLAINTS {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// How a peer says that this machine can't run it.
const UNAVAILABLE: i32 = 3;

const AFTER_OUTPUT: Duration = Duration::from_secs(5);
const LAST_WORDS: Duration = Duration::from_millis(500);
const END_STEP: Duration = Duration::from_millis(1);
const COMPLAINTS: usize = 20;
