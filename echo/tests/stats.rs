//! The server says what it does: now and then, and when it is asked.

mod support;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::Server;

#[test]
fn a_signal_asks_for_what_all_threads_have_done() {
    let server = Server::start(&["--threads", "2", "--stats-json"]);
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.echo(b"hello");
    }
    let ask = || {
        server.process.signal(Signal::SIGUSR1);
        let line = server.process.stdout_line();
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let report = ask();
    for (name, count) in [
        ("accepted", 10),
        ("frames_in", 10),
        ("frames_out", 10),
        ("bytes_in", 90),
        ("bytes_out", 90),
        // Each of two threads has a listener.
        ("sockets", 12),
        ("stalls", 0),
    ] {
        assert_eq!(report[name], count, "{name} in {report}");
    }
    assert!(report["seconds"].as_f64().unwrap() > 0.0, "{report}");

    clients[0].echo(b"hello");
    let report = ask();
    assert_eq!(report["frames_in"], 1, "since the last report: {report}");
    drop(clients);
    server.process.signal(Signal::SIGTERM);
    server.process.finish().assert_code(0);
}

#[test]
fn reports_come_by_themselves_until_the_end() {
    let server = Server::start(&["--stats", "20ms"]);
    server.connect().echo(b"hello");
    let mut turns_were_timed = false;
    for _ in 0..5 {
        let line = server.process.stdout_line();
        assert!(line.starts_with("stats: "), "{line}");
        for part in ["sockets", "frames/s", "turns/s", "memory"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        turns_were_timed |= line.contains("99 % within");
    }
    assert!(turns_were_timed);
    server.process.signal(Signal::SIGTERM);
    let finished = server.process.finish();
    finished.assert_code(0);
    let last = finished.stdout.last().unwrap();
    assert!(last.starts_with("stopped: "), "{last}");
}

#[test]
fn a_report_that_is_never_due_can_be_asked_for() {
    let server = Server::start(&["--stats", "300000000000years"]);
    server.process.signal(Signal::SIGUSR1);
    assert!(server.process.stdout_line().starts_with("stats: "));
    server.stop().assert_code(0);
}
