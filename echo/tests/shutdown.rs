//! How the server stops: what is in flight is finished, within limits.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{DEADLINE, Server, frame, payload, wait_for};

#[test]
fn a_frame_half_sent_is_answered_and_idle_connections_close_at_once() {
    let server = Server::start(&["--drain-timeout", "none"]);
    let mut idle = server.connect();
    let mut busy = server.connect();
    let mut in_header = server.connect();
    for client in [&mut idle, &mut busy, &mut in_header] {
        client.echo(b"hello");
    }
    let sent = payload(1_000_000);
    let bytes = frame(&sent);
    let (first, rest) = bytes.split_at(500_000);
    busy.send_raw(first);
    in_header.send_raw(&bytes[..2]);

    server.process.signal(Signal::SIGTERM);
    idle.assert_ended();
    let refused = TcpStream::connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    busy.send_raw(rest);
    assert!(busy.receive() == sent, "not what was sent");
    busy.assert_ended();
    in_header.send_raw(&bytes[2..]);
    assert!(in_header.receive() == sent, "not what was sent");
    in_header.assert_ended();
    drop((busy, in_header));
    let finished = server.process.finish();
    finished.assert_code(0);
    assert!(finished.stderr.is_empty(), "{finished:?}");
    assert_eq!(
        finished.stdout,
        ["stopped: connections finished: 3, cut: 0"]
    );
}

/// Connections are spread over the threads by the kernel; all threads drain. Each closes
/// its own listener, so the address refuses once idle connections of all have ended.
#[test]
fn many_threads_drain_as_one() {
    let server = Server::start(&["--threads", "3", "--drain-timeout", "none"]);
    let mut clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
    let sent = frame(b"in flight");
    for client in &mut clients {
        client.echo(b"hello");
        client.send_raw(&sent[..6]);
    }
    let mut idle: Vec<_> = (0..24).map(|_| server.connect()).collect();
    for client in &mut idle {
        client.echo(b"hello");
    }
    server.process.signal(Signal::SIGTERM);
    for client in &mut idle {
        client.assert_ended();
    }
    let refused = TcpStream::connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    for client in &mut clients {
        client.send_raw(&sent[6..]);
        assert_eq!(client.receive(), b"in flight");
        client.assert_ended();
    }
    drop((clients, idle));
    let finished = server.process.finish();
    finished.assert_code(0);
    assert_eq!(
        finished.stdout,
        ["stopped: connections finished: 48, cut: 0"]
    );
}

#[test]
fn sigint_is_as_good() {
    let server = Server::start(&[]);
    server.connect().echo(b"hello");
    server.process.signal(Signal::SIGINT);
    server.process.finish().assert_code(0);
}

#[test]
fn frames_that_wait_in_the_queue_are_answered() {
    let server = Server::start(&["--drain-timeout", "none"]);
    let mut idle = server.connect();
    let mut client = server.connect();
    idle.echo(b"hello");
    // The answer to the first is larger than all buffers, so the server is
    // still busy with it when the others lie in its queue.
    let large = payload(64_000_000);
    client.send(&large);
    client.send(b"second");
    client.send(b"third");

    server.process.signal(Signal::SIGTERM);
    idle.assert_ended();
    assert!(client.receive() == large, "not what was sent");
    assert_eq!(client.receive(), b"second");
    assert_eq!(client.receive(), b"third");
    client.assert_ended();
    drop(client);
    server.process.finish().assert_code(0);
}

/// What the kernel has taken of an answer is not yet with the peer: closing the socket
/// would turn the next byte that comes into a reset, and the answer would be lost.
#[test]
fn an_answer_that_is_not_read_yet_survives_what_its_peer_sends_next() {
    let mut server = Server::start_with_log(
        "debug",
        &["--threads", "1", "--stats-json", "--drain-timeout", "none"],
    );
    let mut client = server.connect();
    let sent = payload(3_000_000);
    client.send(&sent);
    let mut answered = 0;
    wait_for("the kernel to take the answer", || {
        server.process.signal(Signal::SIGUSR1);
        let report: Value = serde_json::from_str(&server.process.stdout_line()).unwrap();
        answered += report["frames_out"].as_u64().unwrap();
        (answered == 1).then_some(())
    });

    server.process.signal(Signal::SIGTERM);
    server.process.stderr_line("closed connection 1");
    client.send_raw(&[0]);
    assert!(client.receive() == sent, "not what was sent");
    client.assert_ended();
    drop(client);
    let finished = server.process.finish();
    finished.assert_code(0);
    let last = finished.stdout.last().unwrap();
    assert_eq!(last, "stopped: connections finished: 1, cut: 0");
}

#[test]
fn a_peer_that_never_pauses_does_not_put_off_the_end() {
    let server = Server::start(&["--drain-timeout", "none"]);
    let mut client = server.connect();
    client.0.set_nonblocking(true).unwrap();
    let one = frame(&payload(10_000));
    let endless = one.repeat(100);
    let mut sent = 0;
    let mut answers = Vec::new();
    // Sends all that the kernel takes but reads little, so that the server
    // always finds another frame in its queue.
    let mut turn = |answers: &mut Vec<u8>| {
        while let Ok(more) = client.0.write(&endless[sent % one.len()..]) {
            sent += more;
        }
        let mut some = [0; 20_000];
        match client.0.read(&mut some) {
            Ok(0) => Some(()),
            Ok(read) => {
                answers.extend_from_slice(&some[..read]);
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("not a clean end: {error}"),
        }
    };
    while answers.len() < 30_000_000 {
        assert!(turn(&mut answers).is_none(), "the end came early");
    }
    server.process.signal(Signal::SIGTERM);
    let deadline = Instant::now() + DEADLINE;
    while turn(&mut answers).is_none() {
        assert!(Instant::now() < deadline, "still answering");
    }
    // Whole frames, and then the end: nothing is cut off.
    assert!(answers.chunks(one.len()).all(|chunk| chunk == one));
    drop(client);
    server.process.finish().assert_code(0);
}

#[test]
fn the_drain_timeout_cuts_what_is_left() {
    let server = Server::start(&["--drain-timeout", "200ms"]);
    let mut idle = server.connect();
    let mut stuck = server.connect();
    idle.echo(b"hello");
    stuck.echo(b"hello");
    stuck.send_raw(&[0, 0, 0, 9, 1]);
    server.process.signal(Signal::SIGTERM);
    idle.assert_ended();
    // A reset: nobody is to take this for a clean end.
    let cut = stuck.0.read(&mut [0]).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::ConnectionReset);

    let finished = server.process.finish();
    let error = finished.assert_code(1).error();
    for part in ["200ms", "finished: 1", "cut: 1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_peer_that_has_its_answer_but_does_not_close_is_not_cut() {
    let server = Server::start(&["--drain-timeout", "700ms"]);
    let mut client = server.connect();
    let mut idle = server.connect();
    client.echo(b"hello");
    idle.echo(b"hello");
    let (first, rest) = (&frame(b"in flight")[..7], &frame(b"in flight")[7..]);
    client.send_raw(first);
    server.process.signal(Signal::SIGTERM);
    idle.assert_ended();
    client.send_raw(rest);
    assert_eq!(client.receive(), b"in flight");
    client.assert_ended();
    // Still open here, and yet there is nothing to complain of.
    let finished = server.process.finish();
    finished.assert_code(0);
    assert!(finished.stderr.is_empty(), "{finished:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = Server::start(&["--drain-timeout", "none"]);
    let mut idle = server.connect();
    let mut stuck = server.connect();
    idle.echo(b"hello");
    stuck.echo(b"hello");
    stuck.send_raw(&[0, 0, 0, 9, 1]);
    server.process.signal(Signal::SIGTERM);
    idle.assert_ended();
    server.process.signal(Signal::SIGINT);
    let finished = server.process.finish();
    let error = finished.assert_code(1).error();
    for part in ["second signal", "finished: 1", "cut: 1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_second_signal_that_cuts_nothing_is_no_failure() {
    let server = Server::start(&["--drain-timeout", "none"]);
    let mut idle = server.connect();
    idle.echo(b"hello");
    server.process.signal(Signal::SIGTERM);
    // Open still, at this end.
    idle.assert_ended();
    server.process.signal(Signal::SIGTERM);
    let finished = server.process.finish();
    finished.assert_code(0);
    assert_eq!(
        finished.stdout,
        ["stopped: connections finished: 1, cut: 0"]
    );
}

#[test]
fn sighup_is_ignored() {
    let mut server = Server::start_with_log("info", &[]);
    let mut client = server.connect();
    client.echo(b"before");
    server.process.signal(Signal::SIGHUP);
    server.process.stderr_line("ignored SIGHUP");
    client.echo(b"after");
    server.connect().echo(b"and new ones are welcome");
    server.stop().assert_code(0);
}
