//! The load generator counts what really came back, and notices what should not
//! have.
//!
//! The server is written here with nothing but the Rust standard library. Since
//! an answer is what was asked, byte for byte, it needs to know of no frames.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;
use support::{Peer, SOON, harness};

/// What a server does at the given byte of each connection.
#[derive(Clone, Copy)]
enum Flaw {
    None,
    FlippedBit {
        at: u64,
    },
    End {
        at: u64,
    },
    OneByteMore {
        at: u64,
    },
    /// Behind the stamp, each answer is the frame before.
    LeftOver,
    /// Nothing from `from` on is answered before all up to `until` is here.
    HoldsBack {
        from: u64,
        until: u64,
    },
}

/// A server that sends back all it gets, and counts it.
struct Server {
    address: String,
    received: Arc<AtomicU64>,
}

impl Server {
    fn start(flaw: Flaw) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || echo(stream.unwrap(), flaw, &counter));
            }
        });
        Server { address, received }
    }
}

fn echo(mut stream: TcpStream, flaw: Flaw, counter: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut block = vec![0; 64 * 1024];
    let mut before = 0;
    let mut held = Vec::new();
    let mut seen = Vec::new();
    loop {
        let len = match stream.read(&mut block) {
            Ok(0) => return,
            Ok(len) => len,
            // What has found a flaw goes away with answers unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{error}"),
        };
        counter.fetch_add(len as u64, Ordering::Relaxed);
        let place = |at: u64| at.checked_sub(before).filter(|&at| at < len as u64);
        let mut answer = [std::mem::take(&mut held), block[..len].to_vec()].concat();
        match flaw {
            Flaw::FlippedBit { at } if place(at).is_some() => {
                answer[place(at).unwrap() as usize] ^= 4;
            }
            Flaw::OneByteMore { at } if place(at).is_some() => answer.push(0),
            Flaw::End { at } if place(at).is_some() => return,
            Flaw::LeftOver => {
                seen.extend_from_slice(&answer);
                let frame = FRAME as usize;
                for (byte, place) in answer.iter_mut().zip(before as usize..) {
                    if place >= frame && place % frame >= STAMPED {
                        *byte = seen[place - frame];
                    }
                }
            }
            Flaw::HoldsBack { from, until }
                if (from + 1..until).contains(&(before + len as u64)) =>
            {
                held = std::mem::take(&mut answer);
            }
            _ => {}
        }
        if stream.write_all(&answer).is_err() {
            return;
        }
        before += len as u64;
    }
}

fn generate(server: &Server, arguments: &[&str]) -> Peer {
    let mut command = Command::new(harness());
    command
        .arg("generate")
        .args(arguments)
        .args(["--connect", &server.address]);
    Peer::start("the load generator", &mut command)
}

/// Runs it to its end; returns its figures.
fn figures(server: &Server, arguments: &[&str]) -> Value {
    let mut generator = generate(server, arguments);
    let line = generator.line().expect("it runs everywhere");
    assert_eq!(line, "ready", "{arguments:?}");
    generator.tell("go");
    let figures = generator.line().expect("it runs everywhere");
    generator.tell("end");
    assert_eq!(generator.exit_code(), Some(0), "{arguments:?}");
    assert_eq!(generator.complaint(), "", "{arguments:?}");
    serde_json::from_str(&figures).unwrap()
}

#[test]
fn every_frame_of_a_crowd_is_sent_once_and_counted_once() {
    for (arguments, warm_up, frames) in [
        (
            &["fanin", "--connections", "150", "--frames", "1000"][..],
            150,
            1000,
        ),
        (
            &[
                "pipeline",
                "--connections",
                "3",
                "--in-flight",
                "64",
                "--frames",
                "777",
            ],
            3,
            777,
        ),
        // Fewer frames than there could be under way.
        (&["pipeline", "--in-flight", "64", "--frames", "5"], 1, 5),
        (&["idle", "--connections", "70", "--frames", "70"], 0, 70),
    ] {
        let server = Server::start(Flaw::None);
        let figures = figures(&server, arguments);
        assert_eq!(figures["frames"], frames, "{arguments:?}");
        assert!(figures["seconds"].as_f64().unwrap() > 0.0);
        let received = server.received.load(Ordering::Relaxed);
        assert_eq!(received, (warm_up + frames) * FRAME, "{arguments:?}");
    }
}

#[test]
fn frames_larger_than_any_buffer_come_back_too() {
    let server = Server::start(Flaw::None);
    for arguments in [
        &["rtt", "--size", "5000000", "--frames", "3"][..],
        &[
            "fanin",
            "--connections",
            "4",
            "--size",
            "5000000",
            "--frames",
            "8",
        ],
        &[
            "pipeline",
            "--in-flight",
            "4",
            "--size",
            "70000",
            "--frames",
            "50",
        ],
        // A frame without payload.
        &[
            "fanin",
            "--connections",
            "4",
            "--size",
            "0",
            "--frames",
            "8",
        ],
    ] {
        let frames: u64 = arguments.last().unwrap().parse().unwrap();
        let figures = figures(&server, arguments);
        assert_eq!(figures["frames"], frames, "{arguments:?}");
    }
}

#[test]
fn round_trips_are_counted_and_their_percentiles_are_in_order() {
    let server = Server::start(Flaw::None);
    for arguments in [
        &["rtt", "--frames", "300"][..],
        &["mixed", "--frames", "300", "--bulk-size", "3000000"],
    ] {
        let figures = figures(&server, arguments);
        assert_eq!(figures["frames"], 300, "{arguments:?}");
        let latency = ["p50", "p90", "p99", "p999", "max"]
            .map(|name| figures["latency_ns"][name].as_u64().unwrap());
        assert!(latency[0] > 0 && latency.is_sorted(), "{figures}");
        let bulk = figures["bulk_bytes"].as_u64();
        assert_eq!(bulk.is_some(), arguments[0] == "mixed", "{figures}");
        assert_ne!(bulk, Some(0), "{figures}");
    }
}

#[test]
fn beside_large_frames_the_small_ones_do_not_wait_for_each_other() {
    // Behind the frames before the clock, 32 must be under way to get one answer.
    let server = Server::start(Flaw::HoldsBack {
        from: WARM_UP * FRAME,
        until: (WARM_UP + 32) * FRAME,
    });
    let figures = figures(&server, &["mixed", "--frames", "40", "--bulk-size", "9000"]);
    assert_eq!(figures["frames"], 40, "{figures}");
}

#[test]
fn a_server_that_falls_far_behind_the_clock_is_given_up() {
    let server = Server::start(Flaw::HoldsBack {
        from: WARM_UP * FRAME,
        until: u64::MAX,
    });
    let arguments = ["mixed", "--seconds", "15", "--bulk-size", "9000"];
    let mut generator = generate(&server, &arguments);
    assert_eq!(generator.line().as_deref(), Some("ready"));
    generator.tell("go");
    assert_eq!(generator.exit_code(), Some(1));
    let complaint = generator.complaint();
    assert!(
        complaint.contains("4096 frames are under way"),
        "{complaint}"
    );
}

#[test]
fn a_time_is_kept() {
    let server = Server::start(Flaw::None);
    for workload in ["rtt", "fanin", "pipeline", "mixed"] {
        let arguments = [workload, "--seconds", "0.05", "--bulk-size", "3000000"];
        let figures = figures(&server, &arguments);
        assert!(figures["seconds"].as_f64().unwrap() >= 0.05, "{figures}");
        assert!(figures["frames"].as_u64().unwrap() > 0, "{figures}");
    }
}

#[test]
fn whatever_is_wrong_with_an_answer_ends_it() {
    for workload in ["rtt", "fanin", "pipeline", "mixed", "idle"] {
        for (flaw, reason) in [
            (Flaw::FlippedBit { at: 1 }, "wrong bytes"),
            (Flaw::FlippedBit { at: FRAME - 1 }, "wrong bytes"),
            (Flaw::OneByteMore { at: 0 }, "nobody asked for"),
            (Flaw::End { at: 10 }, "the server has ended a connection"),
        ] {
            let server = Server::start(flaw);
            let arguments = [workload, "--frames", "100", "--bulk-size", "3000000"];
            let mut generator = generate(&server, &arguments);
            assert_eq!(generator.exit_code(), Some(1), "{workload}, {reason}");
            let complaint = generator.complaint();
            assert!(complaint.contains(reason), "{workload}: {complaint}");
        }
    }
}

#[test]
fn a_wrong_byte_is_noticed_while_it_measures() {
    for workload in ["rtt", "fanin", "pipeline", "mixed"] {
        // Behind all frames that are exchanged before the clock.
        let server = Server::start(Flaw::FlippedBit { at: 250 * FRAME });
        let arguments = [workload, "--frames", "1000", "--bulk-size", "9000"];
        let mut generator = generate(&server, &arguments);
        assert_eq!(generator.line().as_deref(), Some("ready"), "{workload}");
        generator.tell("go");
        assert_eq!(generator.exit_code(), Some(1), "{workload}");
        let complaint = generator.complaint();
        assert!(complaint.contains("wrong bytes"), "{workload}: {complaint}");
    }
}

#[test]
fn what_is_left_of_the_frame_before_is_no_answer() {
    for workload in ["rtt", "fanin", "pipeline", "mixed"] {
        let server = Server::start(Flaw::LeftOver);
        let arguments = [workload, "--frames", "100", "--bulk-size", "9000"];
        let mut generator = generate(&server, &arguments);
        assert_eq!(generator.exit_code(), Some(1), "{workload}");
        let complaint = generator.complaint();
        assert!(complaint.contains("wrong bytes"), "{workload}: {complaint}");
    }
}

/// Small frames before the clock, in mixed.
const WARM_UP: u64 = 200;

/// Bytes of a small frame, prefix and payload.
const FRAME: u64 = 4 + 64;

/// Bytes at its beginning that tell it from others: prefix and numbers.
const STAMPED: usize = 4 + 8;
