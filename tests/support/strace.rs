//! Runs a test once more under strace(1), and reads what the kernel was asked.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::process::Command;

use tempfile::TempDir;

use super::skipped;

/// Runs `workload` in a traced process, and returns what it asked the kernel.
///
/// That process is this program again, with the test named `test`; there,
/// `workload` is run and nothing is returned. Nothing is returned, either, if
/// there is no strace or if it may not trace, which is then said.
pub(crate) fn traced(test: &str, workload: impl FnOnce()) -> Option<Trace> {
    traced_with(&[], test, workload)
}

/// As [`traced`], with further options of strace, say for a call that is to fail.
pub(crate) fn traced_with(options: &[&str], test: &str, workload: impl FnOnce()) -> Option<Trace> {
    if env::var_os(MARK).is_some() {
        workload();
        return None;
    }
    let folder = TempDir::new().expect("a folder for temporary files");
    let file = folder.path().join("calls");
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-xx", "-s", LONGEST_LIST, "-e", TRACED])
        .args(options)
        .arg("-o")
        .arg(&file)
        .arg(env::current_exe().expect("this program has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output();
    let traced = match traced {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped(&format!("{test}: there is no strace on this machine"));
            return None;
        }
        traced => traced.expect("strace can be run"),
    };
    let said = String::from_utf8_lossy(&traced.stderr);
    let refused =
        |line: &str| line.starts_with("strace:") && line.to_lowercase().contains("ptrace");
    if let Some(line) = said.lines().find(|line| refused(line)) {
        skipped(&format!("{test}: strace may not trace here ({line})"));
        return None;
    }
    let heard = String::from_utf8_lossy(&traced.stdout);
    assert!(
        traced.status.success(),
        "in the traced process:\n{heard}{said}"
    );
    assert!(
        heard.contains("1 passed"),
        "no test is named {test}:\n{heard}"
    );
    let notes = said.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix(NOTE)?.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    let calls = fs::read_to_string(&file).expect("what strace has written");
    Some(Trace {
        calls: parse(&calls),
        notes: notes.collect(),
    })
}

/// Tells the tracing process something that its trace does not show.
pub(crate) fn note(name: &str, value: usize) {
    eprintln!("{NOTE}{name} {value}");
}

/// What a traced process did.
pub(crate) struct Trace {
    calls: Vec<Call>,
    notes: HashMap<String, usize>,
}

impl Trace {
    /// The calls of the thread that has a reactor.
    pub(crate) fn of_the_reactor(&self) -> Vec<&Call> {
        self.split().0
    }

    /// The calls of all threads that have none.
    pub(crate) fn of_other_threads(&self) -> Vec<&Call> {
        self.split().1
    }

    fn split(&self) -> (Vec<&Call>, Vec<&Call>) {
        let mut registrations = self.calls.iter().filter(|call| call.name == "epoll_ctl");
        let thread = registrations.next().expect("a reactor's eventfd").thread;
        self.calls.iter().partition(|call| call.thread == thread)
    }

    /// What [`note`] has told.
    pub(crate) fn note(&self, name: &str) -> usize {
        self.notes[name]
    }
}

/// One system call.
#[derive(Debug)]
pub(crate) struct Call {
    thread: u32,
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// Negative if it failed.
    pub(crate) result: i64,
}

impl Call {
    /// Whether it is one of those that move bytes from or to a socket.
    pub(crate) fn moves_bytes(&self) -> bool {
        self.is_send() || self.is_receive()
    }

    pub(crate) fn is_send(&self) -> bool {
        ["sendto", "sendmsg", "write", "writev"].contains(&&*self.name)
    }

    pub(crate) fn is_receive(&self) -> bool {
        ["recvfrom", "recvmsg", "read", "readv"].contains(&&*self.name)
    }

    pub(crate) fn is_poll(&self) -> bool {
        self.name.starts_with("epoll_") && self.name.contains("wait")
    }

    /// The descriptor that is its first argument.
    pub(crate) fn descriptor(&self) -> usize {
        let end = self.arguments.find(',').unwrap_or(self.arguments.len());
        self.arguments[..end].parse().expect("a descriptor")
    }

    /// How many bytes it was given to move.
    pub(crate) fn given(&self) -> usize {
        let lengths: Vec<&str> = match &*self.name {
            "sendmsg" | "recvmsg" | "writev" | "readv" => {
                self.arguments.split("iov_len=").skip(1).collect()
            }
            _ => self.arguments.split(", ").skip(2).take(1).collect(),
        };
        assert!(!lengths.is_empty(), "no length in {self:?}");
        let digits = |text: &str| {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            text[..end].parse::<usize>().expect("a length")
        };
        lengths.into_iter().map(digits).sum()
    }
}

/// Reads strace's lines, and joins those that another thread interrupted.
fn parse(text: &str) -> Vec<Call> {
    let mut begun: HashMap<u32, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, line) = line.split_once(' ').expect("a thread and its call");
        let thread = thread.parse().expect("the number of a thread");
        let line = line.trim_start();
        if let Some(start) = line.strip_suffix("<unfinished ...>") {
            begun.insert(thread, start.trim_end().to_owned());
            continue;
        }
        let line = match line
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once("resumed>"))
        {
            Some((_name, rest)) => {
                format!("{} {}", begun.remove(&thread).unwrap_or_default(), rest)
            }
            None => line.to_owned(),
        };
        let Some((call, result)) = line.rsplit_once(" = ") else {
            continue; // a signal, or the end of a process
        };
        let (name, arguments) = call.split_once('(').expect("a call has arguments");
        let result = result
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok());
        calls.push(Call {
            thread,
            name: name.to_owned(),
            arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
            // A call that the end of the process cut off has none.
            result: result.unwrap_or(-1),
        });
    }
    calls
}

/// How many parts of a gathered write are shown, and how many bytes of a text;
/// those are in hexadecimal, so that none of them looks like an argument.
const LONGEST_LIST: &str = "32";

/// In the environment of the traced process.
const MARK: &str = "READINTO_TEST_IS_TRACED";

const NOTE: &str = "note: ";

/// All calls that can move bytes, and those of the reactor. A question mark
/// allows for a machine that does not have the call.
const TRACED: &str = "trace=listen,getsockopt,setsockopt,sendto,sendmsg,recvfrom,recvmsg,read,write,readv,writev,\
                      ?epoll_wait,epoll_pwait,epoll_ctl";
