//! The examples do what their first lines say.

mod support;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use nix::sys::signal::Signal;
use readinto::Prefix;
use socket2::SockRef;
use support::example::{Ended, Example, finish_with_fault};
use support::{DEADLINE, assert_same, framed, pattern, unread};
use tempfile::TempDir;

const ANY_PORT: &str = "127.0.0.1:0";

/// Has the example `client` ask three questions, and checks the answers.
#[track_caller]
fn assert_answers(address: &str) {
    let (status, lines, complaints) = Example::start("client", &[address]).finish();
    assert!(status.success(), "{complaints:?}");
    assert_eq!(lines, ["one: one", "two: two", "three: three"]);
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn echo_answers_the_client() {
    let (_echo, address) = Example::listening("echo", &[ANY_PORT]);
    assert_answers(&address);
}

#[test]
fn the_client_waits_for_a_server_that_comes_late_and_gives_up_on_one_that_never_does() {
    let free = {
        let (_echo, address) = Example::listening("echo", &[ANY_PORT]);
        address
    };
    let client = Example::start("client", &[&free]);
    assert!(client.complaint().contains("trying again"));
    let (echo, _) = Example::listening("echo", &[&free]);
    let (status, lines, _) = client.finish();
    assert!(status.success());
    assert_eq!(lines.len(), 3);

    drop(echo);
    let (status, lines, complaints) = Example::start("client", &[&free]).finish();
    assert!(!status.success());
    assert!(lines.is_empty(), "{lines:?}");
    assert!(
        complaints.last().unwrap().contains("refused"),
        "{complaints:?}"
    );
}

#[test]
fn the_last_attempt_of_the_client_has_only_what_is_left_of_its_deadline() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hangs_up = listener.try_clone().unwrap();
    thread::spawn(move || hangs_up.incoming().take(8).for_each(drop));
    let (status, _, complaints) = Example::start("client", &[&address]).finish();
    assert!(!status.success());
    // The ninth attempt, which nobody answers, has 8 pauses of 200 ms before it, and so no
    // 500 of 2000 ms. A machine that is very busy does not get so far.
    if complaints.len() > 8 {
        let failure = complaints.last().unwrap();
        assert!(!failure.contains("500ms"), "{failure}");
    }
}

#[test]
fn the_proxy_goes_round_the_servers() {
    let (_one, first) = Example::listening("echo", &[ANY_PORT]);
    let (two, second) = Example::listening("echo", &[ANY_PORT]);
    let (proxy, address) = Example::listening("proxy", &[ANY_PORT, &first, &second]);
    assert_answers(&address);
    assert_answers(&address);

    drop(two);
    assert_answers(&address);
    let (status, ..) = Example::start("client", &[&address]).finish();
    assert!(
        status.success(),
        "the next attempt reaches the server that is left"
    );
    assert!(proxy.complaint().contains(&second), "it names who failed");
}

/// Each has a share of the reactor's time of its own.
#[test]
fn the_proxy_brings_answers_to_a_client_that_uploads_without_pause() {
    let (_proxy, mut client, mut server) = through_the_proxy();
    let answer = framed(Prefix::U32Be, b"an answer");
    let answering = thread::spawn({
        let answer = answer.clone();
        move || {
            let mut taken = vec![0; 1 << 20];
            server.read_exact(&mut taken).unwrap();
            server.write_all(&answer).unwrap();
            while server.read(&mut taken).unwrap() > 0 {}
        }
    });
    // Frames so short that the proxy is what takes longest.
    let questions = framed(Prefix::U32Be, &[1; 100]).repeat(100_000);
    let mut sent = 0;
    while unread(&SockRef::from(&client), 1) == 0 {
        // The kernel's buffers hold less.
        assert!(sent < 50_000_000, "still no answer");
        client.write_all(&questions).unwrap();
        sent += questions.len();
    }
    client.shutdown(Shutdown::Write).unwrap();
    answering.join().unwrap();
    assert_same(&io::read_to_string(&client).unwrap().into_bytes(), &answer);
}

#[test]
fn what_ends_one_direction_of_the_proxy_by_force_ends_the_other() {
    let (proxy, mut client, _server) = through_the_proxy();
    client.write_all(&[0xff; 4]).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let complaint = proxy.complaint();
    assert!(complaint.contains("4294967295"), "{complaint}");
}

#[test]
fn the_proxy_has_further_clients_wait() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    SockRef::from(&listener)
        .set_read_timeout(Some(DEADLINE))
        .unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let (_proxy, address) = Example::listening("proxy", &[ANY_PORT, &server]);
    let mut pairs: Vec<_> = (0..100)
        .map(|_| {
            let client = TcpStream::connect(&address).unwrap();
            (client, listener.accept().unwrap().0)
        })
        .collect();
    let _further = TcpStream::connect(&address).unwrap();
    // When these have gone through, one by one, the proxy would have served it.
    let mut frame = framed(Prefix::U32Be, b"one of a hundred");
    let (client, server) = &mut pairs[0];
    for _ in 0..10 {
        client.write_all(&frame).unwrap();
        server.read_exact(&mut frame).unwrap();
    }
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

    listener.set_nonblocking(false).unwrap();
    pairs.pop();
    listener.accept().unwrap();
}

/// A client and a server with the proxy between them.
fn through_the_proxy() -> (Example, TcpStream, TcpStream) {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let (proxy, address) = Example::listening("proxy", &[ANY_PORT, &server]);
    let client = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    (proxy, client, server)
}

#[test]
fn a_received_file_is_what_was_sent() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let (receiver, address) = Example::listening("receive_file", &[ANY_PORT, path]);
    let mut sender = TcpStream::connect(address).unwrap();
    let files = [pattern(1, 5_000_000), pattern(2, 1)];
    for file in &files {
        sender.write_all(&framed(Prefix::U64Be, file)).unwrap();
    }
    for (number, file) in (1..).zip(&files) {
        let line = receiver.line();
        assert!(line.ends_with(&format!("{} bytes", file.len())), "{line}");
        let received = folder.path().join(format!("1/1-{number}"));
        assert_same(&fs::read(received).unwrap(), file);
    }
    // Half a file is not shown as one.
    sender
        .write_all(&framed(Prefix::U64Be, &files[0])[..1000])
        .unwrap();
    drop(sender);
    let complaint = receiver.complaint();
    assert!(complaint.contains("992 of 5000000 bytes"), "{complaint}");
    assert!(folder.path().join("1/1-3.partial").exists());
    assert!(!folder.path().join("1/1-3").exists());
}

#[test]
fn received_files_stay_when_others_are_received_later() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let received = ["first", "second"].map(|run| {
        let (receiver, address) = Example::listening("receive_file", &[ANY_PORT, path]);
        let mut sender = TcpStream::connect(address).unwrap();
        let file = framed(Prefix::U64Be, run.as_bytes());
        sender.write_all(&[&file, &file[..9]].concat()).unwrap();
        let line = receiver.line();
        drop(sender);
        let complaint = receiver.complaint();
        assert!(complaint.contains("1 of"), "half a file stays: {complaint}");
        (run, line.split(": ").next().unwrap().to_owned())
    });
    for (content, path) in received {
        assert_eq!(fs::read_to_string(path).unwrap(), content);
    }
}

#[test]
fn a_full_disk_ends_a_transfer_and_not_the_receiver() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let arguments = [ANY_PORT, path];
    let Some((receiver, address)) =
        Example::listening_beside_small_disk("receive_file", &arguments, path)
    else {
        return;
    };
    let send = |len| {
        let mut sender = TcpStream::connect(&address).unwrap();
        let file = framed(Prefix::U64Be, &pattern(1, len));
        sender.write_all(&file).unwrap();
    };
    send(1 << 20);
    assert!(receiver.line().ends_with("1048576 bytes"));
    send(1);
    let complaint = receiver.complaint();
    assert!(complaint.contains("No space left"), "{complaint}");
    send(0);
    assert!(receiver.line().ends_with(": 0 bytes"));
}

#[test]
fn the_daemon_answers_tells_and_drains() {
    let (daemon, address) = Example::listening("daemon", &[ANY_PORT]);
    assert_answers(&address);
    daemon.signal(Signal::SIGUSR1);
    let line = daemon.line();
    assert!(line.contains("frames_in: 3, frames_out: 3"), "{line}");

    let mut in_flight = TcpStream::connect(&address).unwrap();
    let question = framed(Prefix::U32Be, b"in flight");
    in_flight.write_all(&question[..6]).unwrap();
    // The daemon has it before the signal: 3 questions of 4 + 3, 3 and 5 bytes, and 6.
    while !asked(&daemon).contains("bytes_in: 29,") {}
    daemon.signal(Signal::SIGTERM);
    in_flight.write_all(&question[6..]).unwrap();
    assert_eq!(io::read_to_string(&in_flight).unwrap().as_bytes(), question);
    drop(in_flight);
    let (status, lines, complaints) = daemon.finish();
    assert!(status.success(), "{complaints:?}");
    assert_eq!(lines, ["stopped; connections cut: 0"]);
}

/// A peer that goes on sending loses none of the answers that it gets.
#[test]
fn the_daemon_ends_in_order_although_a_peer_goes_on_sending() {
    let (daemon, address) = Example::listening("daemon", &[ANY_PORT]);
    let mut busy = TcpStream::connect(&address).unwrap();
    let question = framed(Prefix::U32Be, b"in flight");
    busy.write_all(&question[..6]).unwrap();
    while !asked(&daemon).contains("bytes_in: 6,") {}
    daemon.signal(Signal::SIGTERM);
    // No thread listens any more, so each of them drains.
    while TcpStream::connect(&address).is_ok() {}

    // The frame that has begun is taken, though it is more than a socket holds; then no
    // more is, of what stands for empty frames.
    let long = framed(Prefix::U32Be, &pattern(1, 16_000_000));
    busy.write_all(&[&question[6..], &long, &[0; 100_000]].concat())
        .unwrap();
    let mut answers = Vec::new();
    busy.read_to_end(&mut answers).unwrap();
    answers.truncate(question.len() + long.len());
    assert_same(&answers, &[question, long].concat());
    drop(busy);
    let (status, lines, complaints) = daemon.finish();
    assert!(status.success(), "{complaints:?}");
    assert_eq!(lines.last().unwrap(), "stopped; connections cut: 0");
}

#[test]
fn the_daemon_loses_no_answer_to_the_frame_that_is_too_long() {
    let (daemon, address) = Example::listening("daemon", &[ANY_PORT]);
    let mut peer = TcpStream::connect(&address).unwrap();
    // More than the peer's window, so that some of the answers stay in the daemon's kernel.
    let questions = framed(Prefix::U32Be, &pattern(1, 100_000)).repeat(3);
    let too_long = [&[0x7f; 4][..], b"what will not be read"].concat();
    peer.write_all(&[&questions[..], &too_long].concat())
        .unwrap();
    while !asked(&daemon).contains("frames_out: 3,") {}
    let mut answers = Vec::new();
    peer.read_to_end(&mut answers).unwrap();
    assert_same(&answers, &questions);
    drop(peer);
    let complaint = daemon.complaint();
    assert!(complaint.contains("2139062143"), "{complaint}");
}

#[test]
fn a_daemon_that_can_not_accept_any_more_ends_and_says_why() {
    let fault = "accept4:error=EBADF";
    let Some((status, _, complaints)) = finish_with_fault("daemon", &[ANY_PORT], fault) else {
        return;
    };
    assert!(!status.success(), "{complaints:?}");
    let reason = complaints.last().expect("a reason");
    assert!(reason.contains("Bad file descriptor"), "{reason}");
}

fn asked(daemon: &Example) -> String {
    daemon.signal(Signal::SIGUSR1);
    daemon.line()
}

#[test]
fn a_foreign_loop_runs_a_reactor_beside_its_own_things() {
    assert_foreign_loop_runs(Example::start("foreign_loop", &[]).finish());
}

/// As a signal with a handler would have it.
#[test]
fn a_foreign_loop_goes_on_when_its_poll_is_interrupted() {
    // Every other call: all of them would be no poll at all.
    let interrupted = "?poll,?ppoll:error=EINTR:when=1+2";
    if let Some(ended) = finish_with_fault("foreign_loop", &[], interrupted) {
        assert_foreign_loop_runs(ended);
    }
}

#[track_caller]
fn assert_foreign_loop_runs((status, mut lines, complaints): Ended) {
    assert!(status.success(), "{complaints:?}");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "the pipe has something",
            "the reactor moved a 1",
            "the reactor moved a 2",
            "the reactor moved a 3",
        ]
    );
}

#[test]
fn a_program_without_async_asks_a_reactor_beside_it() {
    let (status, lines, complaints) = Example::start("beside", &[]).finish();
    assert!(status.success(), "{complaints:?}");
    assert_eq!(lines, ["one: ONE", "two: TWO", "three: THREE"]);
}

#[test]
fn a_program_without_async_hears_why_the_reactor_beside_it_has_failed() {
    if let Some((status, _, complaints)) =
        finish_with_fault("beside", &[], "listen:error=EADDRINUSE")
    {
        assert!(!status.success());
        let reason = complaints.last().expect("a reason");
        assert!(reason.contains("in use"), "{reason}");
    }
}
