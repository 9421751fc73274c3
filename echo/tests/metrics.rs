//! The server says what it does over HTTP, as Prometheus asks for it.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use support::{DEADLINE, Server};
use tempfile::TempDir;

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: text/plain\r\n\r\n";

/// A server with metrics, and where they are.
fn start(arguments: &[&str]) -> (Server, String) {
    let arguments = [&["--metrics", "127.0.0.1:0"], arguments].concat();
    let server = Server::start(&arguments);
    let line = server.process.stdout_line();
    let address = line.strip_prefix("metrics on ");
    let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (server, address)
}

/// Sends a request, and reads to the end of the connection.
fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The samples of an answer, and the types of their families; checks its form.
fn samples(answer: &str) -> (BTreeMap<&str, f64>, BTreeMap<&str, &str>) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
    let length = format!("Content-Length: {}", body.len());
    assert!(lines.any(|line| line == length), "{head}");

    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "twice: {name}");
        } else {
            let (name, value) = line.split_once(' ').unwrap();
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(name, value).is_none(), "twice: {name}");
        }
    }
    for name in samples.keys() {
        let family = match name.strip_prefix("readinto_turn_seconds") {
            Some(_) => "readinto_turn_seconds",
            None => name,
        };
        assert!(types.contains_key(family), "{name} in {body}");
    }
    (samples, types)
}

#[test]
fn what_all_threads_have_done_can_be_scraped() {
    let (server, address) = start(&["--threads", "2"]);
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for round in 1..=2 {
        for client in &mut clients {
            client.echo(b"hello");
        }
        let answer = exchange(&address, REQUEST);
        let (samples, types) = samples(&answer);
        for (name, value) in [
            ("readinto_accepted_total", 10),
            // Counters count from the start, not from the last look.
            ("readinto_frames_in_total", 10 * round),
            ("readinto_bytes_out_total", 90 * round),
            // Each of two threads has a listener; that of the metrics is not theirs.
            ("readinto_sockets", 12),
        ] {
            assert_eq!(samples[name], f64::from(value), "{name} in {answer}");
        }
        let turns = samples["readinto_turn_seconds_count"];
        assert!(turns > 0.0, "{answer}");
        let all = samples["readinto_turn_seconds_bucket{le=\"+Inf\"}"];
        assert_eq!(all, turns, "{answer}");
        assert_eq!(types["readinto_turn_seconds"], "histogram");
        assert_eq!(types["readinto_frames_in_total"], "counter");
        assert_eq!(types["readinto_sockets"], "gauge");
    }
    drop(clients);
    server.process.signal(Signal::SIGTERM);
    server.process.finish().assert_code(0);
    TcpStream::connect(address).expect_err("it ends with the server");
}

#[test]
fn other_requests_are_answered_with_what_is_wrong() {
    let (server, address) = start(&[]);
    let long = [b"GET /metrics HTTP/1.1\r\nA: ", &[b'a'; 10_000][..]].concat();
    for (request, status) in [
        (&b"GET /metrics?format=text HTTP/1.0\r\n\r\n"[..], "200"),
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (
            b"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
            "405",
        ),
        (b"\0\xff\r\n\r\n", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
        (b"\r\n\r\n", "400"),
        (&long, "431"),
    ] {
        let answer = exchange(&address, request);
        let start = format!("HTTP/1.1 {status} ");
        let request = request.escape_ascii();
        assert!(answer.starts_with(&start), "{request}: {answer}");
    }
    server.stop().assert_code(0);
}

#[test]
fn who_asks_by_halves_keeps_nobody_waiting() {
    let (server, address) = start(&[]);
    // Fewer than it has places for.
    let mut silent: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    for (index, stream) in silent.iter_mut().enumerate() {
        stream.write_all(&REQUEST[..index]).unwrap();
    }
    samples(&exchange(&address, REQUEST));
    server.connect().echo(b"hello");
    // One goes on in pieces, and has its answer.
    let mut late = silent.pop().unwrap();
    for byte in &REQUEST[9..] {
        late.write_all(&[*byte]).unwrap();
    }
    late.shutdown(Shutdown::Write).unwrap();
    late.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    samples(&answer);
    // The others don't hold up the end.
    server.stop().assert_code(0);
}

#[test]
fn who_may_not_connect_may_not_ask_either() {
    let (server, address) = start(&["--allow", "192.0.2.0/24"]);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = Vec::new();
    // Sending may fail already, and the reset may come as an end.
    let _ = stream.write_all(REQUEST);
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    server.stop().assert_code(0);
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_server() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("metrics");
    let server = Server::start(&["--metrics", &format!("unix:{}", path.display())]);
    assert!(server.process.stdout_line().starts_with("metrics on unix:"));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    samples(&answer);
    drop(stream);
    server.stop().assert_code(0);
    assert!(!path.exists());
}

#[test]
fn a_busy_address_is_said_before_anything_is_served() {
    let (server, address) = start(&[]);
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--metrics", &address];
    let finished = support::run(&arguments);
    finished.assert_code(1);
    assert!(finished.error().contains(&address), "{finished:?}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
    server.stop().assert_code(0);
}
