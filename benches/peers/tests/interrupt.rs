//! Ctrl-C ends a session at once: no process is left, and what was measured is
//! still reported. One that is killed leaves none of the rows in Rust.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Peer, SOON, harness};

#[test]
fn an_interrupted_session_leaves_a_report_and_no_processes() {
    let output = tempfile::tempdir().unwrap();
    let (mut session, children) = measuring(output.path());
    send(Signal::SIGINT, &session.id().to_string());
    assert_eq!(session.exit_code(), Some(130));
    for child in children {
        assert!(!alive(&child), "process {child} is left");
    }
    let report = fs::read_to_string(output.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["complete"], false);
    let told = fs::read_to_string(output.path().join("report.md")).unwrap();
    assert!(told.contains("This session was interrupted"), "{told}");
}

#[test]
fn a_session_that_is_killed_leaves_no_row_in_rust() {
    let output = tempfile::tempdir().unwrap();
    let (mut session, children) = measuring(output.path());
    send(Signal::SIGKILL, &session.id().to_string());
    assert_eq!(session.exit_code(), None);
    let started = Instant::now();
    for child in children {
        while is_running(&child) {
            if started.elapsed() > SOON {
                send(Signal::SIGKILL, &child);
                panic!("process {child} is left");
            }
            thread::yield_now();
        }
    }
}

/// A session that measures a row in Rust, its server, and its load generator.
fn measuring(output: &Path) -> (Peer, Vec<String>) {
    let mut command = Command::new(harness());
    command
        .args(["--only", "rtt", "--peers", "smol", "--runs", "1000"])
        .arg("--output")
        .arg(output);
    let mut session = Peer::start("the session", &mut command);
    // The machine, then the plan: behind that the rounds begin.
    session.line().unwrap();
    session.line().unwrap();

    let started = Instant::now();
    let children = loop {
        let children = children_of(session.id());
        if children.len() == 2 {
            break children;
        }
        assert!(started.elapsed() < SOON, "no server and generator");
        thread::yield_now();
    };
    (session, children)
}

fn send(signal: Signal, process: &str) {
    kill(Pid::from_raw(process.parse().unwrap()), signal).unwrap();
}

fn children_of(parent: u32) -> Vec<String> {
    let is_child = |process: &String| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(is_child)
        .collect()
}

fn alive(process: &str) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap()
}

/// Whoever inherits a process may take a while to bury it.
fn is_running(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/status"))
        .is_ok_and(|status| !status.contains("State:\tZ"))
}
