//! Limits of connections, of time, and of the system.

mod support;

use std::fs;
use std::io::{ErrorKind, Read};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{BINARY, Process, Server, payload, wait_for};

#[test]
fn beyond_the_maximum_a_connection_waits_until_another_ends() {
    let server = Server::start(&["--max-connections", "2"]);
    let mut first = server.connect();
    let mut second = server.connect();
    first.echo(b"first");
    second.echo(b"second");
    let mut third = server.connect();
    third.send(b"third");
    for _ in 0..100 {
        first.echo(b"goes on");
    }
    third.0.set_nonblocking(true).unwrap();
    let nothing = third.0.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    third.0.set_nonblocking(false).unwrap();

    drop(second);
    assert_eq!(third.receive(), b"third");
    first.echo(b"still there");
}

#[test]
fn two_listeners_share_one_maximum() {
    let server = Server::start(&[
        "--max-connections",
        "1",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "127.0.0.1:0",
    ]);
    for _ in 0..5 {
        for address in &server.addresses {
            support::Client::connect(address).echo(b"one at a time");
        }
    }
    let mut first = support::Client::connect(&server.addresses[0]);
    first.echo(b"first");
    let mut second = support::Client::connect(&server.addresses[1]);
    second.send(b"second");
    for _ in 0..100 {
        first.echo(b"goes on");
    }
    second.0.set_nonblocking(true).unwrap();
    let nothing = second.0.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    second.0.set_nonblocking(false).unwrap();
    drop(first);
    assert_eq!(second.receive(), b"second");
}

#[test]
fn the_shares_of_all_threads_are_just_the_maximum() {
    let server = Server::start(&["--threads", "2", "--max-connections", "3", "--stats-json"]);
    // The kernel spreads them over the threads, so that neither lacks any.
    let clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    let accepted_since = || {
        server.process.signal(Signal::SIGUSR1);
        let report: Value = serde_json::from_str(&server.process.stdout_line()).unwrap();
        report["accepted"].as_u64().unwrap()
    };
    let mut accepted = 0;
    wait_for("three connections", || {
        accepted += accepted_since();
        (accepted >= 3).then_some(())
    });
    // Each thread answers in turns of its loop, in which it would accept another.
    for _ in 0..20 {
        accepted += accepted_since();
    }
    assert_eq!(accepted, 3);
    drop(clients);
    server.stop().assert_code(0);
}

#[test]
fn a_silent_connection_is_closed_after_the_idle_timeout() {
    let mut server = Server::start_with_log("info", &["--idle-timeout", "200ms"]);
    let mut silent = server.connect();
    silent.assert_ended();
    let mut served = server.connect();
    served.echo(b"hello");
    served.assert_ended();
    for _ in 0..2 {
        let line = server.process.stderr_line("idle timeout of 200ms");
        assert!(line.contains("--idle-timeout"), "{line}");
    }
    server.connect().echo(b"fine");
    server.stop().assert_code(0);
}

#[test]
fn a_frame_that_does_not_arrive_ends_with_the_frame_timeout() {
    let mut server = Server::start_with_log("info", &["--frame-timeout", "200ms"]);
    for part in [&[0, 0][..], &[0, 0, 0, 9, 1, 2, 3]] {
        let mut late = server.connect();
        late.echo(b"hello");
        late.send_raw(part);
        late.assert_ended();
        let line = server.process.stderr_line("frame timeout of 200ms");
        let bytes = format!("after {} bytes", part.len());
        assert!(
            line.contains(&bytes) && line.contains("--frame-timeout"),
            "{line}"
        );
    }
    server.connect().echo(b"fine");
    server.stop().assert_code(0);
}

#[test]
fn an_answer_that_is_not_taken_ends_with_the_stall_timeout() {
    let mut server = Server::start_with_log("info", &["--stall-timeout", "1s"]);
    let mut late = server.connect();
    // More than all buffers hold, or the kernel would take it for the peer.
    late.send(&payload(64_000_000));
    server
        .process
        .stderr_line("the peer took nothing more within the stall timeout of 1s");
    let error = late.0.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    server.connect().echo(b"fine");
    server.stop().assert_code(0);
}

#[test]
fn out_of_descriptors_the_server_serves_on_and_recovers() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 20; exec "$0" "$@""#, BINARY, "serve"]);
    let mut server = Server::start_command(&mut command, &[]);
    let mut first = server.connect();
    first.echo(b"hello");
    let mut others: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let line = server.process.stderr_line("cannot accept");
    assert!(line.contains("WARN") && line.contains("ulimit"), "{line}");

    // Waiting must not be work. A loop would use most of these ticks, which
    // are 10 ms each.
    let before = processor_ticks(server.process.id());
    thread::sleep(Duration::from_secs(1));
    let used = processor_ticks(server.process.id()) - before;
    assert!(used <= 10, "{used} ticks of 100");
    first.echo(&payload(1_000_000));

    others.truncate(3);
    for other in &mut others {
        other.echo(b"late, but served");
    }
    first.echo(b"still there");
    drop((first, others));
    let finished = server.stop();
    finished.assert_code(0);
    let warnings = finished.stderr.iter().filter(|line| line.contains("WARN"));
    assert_eq!(warnings.count(), 1, "{finished:#?}");
}

/// What a process has used so far, in ticks of 10 ms.
fn processor_ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name, in parentheses, may hold spaces.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = fields.split_whitespace().collect();
    // Fields 14 and 15 of proc(5); the first here is the third there.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn threads_that_can_not_be_started_are_named() {
    // The listeners of as many fit, their reactors don't.
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 64; exec "$0" "$@""#, BINARY, "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--threads", "30"]);
    let finished = Process::spawn(&mut command).finish();
    let error = finished.assert_code(1).stderr.last().expect("a reason");
    assert!(error.contains("30 threads"), "{error}");
    assert!(error.contains("--threads"), "{error}");
}
