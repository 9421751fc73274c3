//! The benchmark: its figures add up, and a server that is wrong is told so.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::Value;
use support::{BINARY, Process, Server, run};

/// Runs `bench --json` to a good end.
fn bench(arguments: &[&str]) -> Value {
    let arguments = [&["bench", "--json"], arguments].concat();
    let finished = run(&arguments);
    finished.assert_code(0);
    serde_json::from_str(&finished.stdout.join("\n")).expect("standard output is JSON")
}

fn number(report: &Value, name: &str) -> f64 {
    report[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no number {name} in {report:#}"))
}

#[test]
fn its_own_server_echoes_frames_of_any_size() {
    for (size, bytes) in [
        ("0", 0),
        ("1", 1),
        ("15", 15),
        ("64KiB", 65_536),
        ("3MB", 3_000_000),
    ] {
        let report = bench(&["--frame-size", size, "--frames", "5"]);
        assert_eq!(report["frame_size_bytes"], bytes);
        assert_eq!(report["frames"], 5);
        assert_eq!(report["payload_bytes"], 5 * bytes);
        assert_eq!(report["own_server"], true);
        assert_eq!(report["verified"], true);
        assert_eq!(report["cpu_covers"], "both ends");
        assert_eq!(report["cpu_seconds_per_gigabyte"].is_null(), bytes == 0);
    }
}

#[test]
fn the_figures_add_up() {
    let report = bench(&[
        "--frame-size",
        "1MB",
        "--frames",
        "20",
        "--connections",
        "3",
    ]);
    assert_eq!(number(&report, "frames"), 60.0);
    assert_eq!(number(&report, "payload_bytes"), 60e6);
    let seconds = number(&report, "elapsed_seconds");
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
    let megabytes = number(&report, "throughput_megabytes_per_second");
    assert!(close(megabytes, 60.0 / seconds), "{report:#}");
    assert!(close(number(&report, "frames_per_second"), 60.0 / seconds));
    let cpu = number(&report, "cpu_seconds");
    assert!(close(
        number(&report, "cpu_seconds_per_gigabyte"),
        cpu / 0.06
    ));
    let round_trips = &report["round_trip_microseconds"];
    let percentiles: Vec<_> = ["p50", "p90", "p99", "p99_9", "max"]
        .iter()
        .map(|name| number(round_trips, name))
        .collect();
    assert!(
        percentiles.is_sorted() && percentiles[0] > 0.0,
        "{report:#}"
    );
    assert!(percentiles[4] <= seconds * 1e6 * 1.001, "{report:#}");
}

#[test]
fn a_pipeline_of_frames_larger_than_all_buffers_does_not_deadlock() {
    let report = bench(&["--frame-size", "4MB", "--frames", "32", "--pipeline", "8"]);
    assert_eq!(report["payload_bytes"], 128_000_000);
    assert_eq!(report["pipeline"], 8);
}

#[test]
fn ten_connections_each_send_their_frames() {
    let report = bench(&[
        "--connections",
        "10",
        "--frames",
        "50",
        "--frame-size",
        "10KB",
    ]);
    assert_eq!(report["frames"], 500);
    let deep = bench(&[
        "--connections",
        "10",
        "--frames",
        "200",
        "--frame-size",
        "100",
        "--pipeline",
        "64",
        "--no-verify",
        "--warmup",
        "0",
    ]);
    assert_eq!(deep["frames"], 2000);
    assert_eq!(deep["verified"], false);
}

#[test]
fn people_get_lines() {
    let finished = run(&["bench", "--frame-size", "1MB", "--frames", "3"]);
    let text = finished.assert_code(0).stdout.join("\n");
    for part in [
        "MB/s one way",
        "p99.9",
        "both ends",
        "per GB",
        "voluntary",
        "1.00 MB",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn a_server_elsewhere_is_used_with_every_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", directory.path().join("echo").display());
    for prefix in ["u16be", "u16le", "u32be", "u32le", "u64be", "u64le"] {
        let server = Server::start(&[
            "--prefix",
            prefix,
            "--listen",
            "127.0.0.1:0",
            "--listen",
            &unix,
        ]);
        for address in &server.addresses {
            let report = bench(&[
                "--connect",
                address,
                "--prefix",
                prefix,
                "--frame-size",
                "65535",
                "--frames",
                "20",
                "--connections",
                "2",
                "--pipeline",
                "3",
            ]);
            assert_eq!(report["address"], address.as_str());
            assert_eq!(report["own_server"], false);
            assert_eq!(report["cpu_covers"], "this end");
            assert_eq!(report["frames"], 40);
        }
        server.stop().assert_code(0);
    }
}

#[test]
fn a_server_that_answers_while_it_reads_is_no_deadlock() {
    let address = serve_one(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        std::io::copy(&mut reader, &mut stream).unwrap();
    });
    let report = bench(&[
        "--connect",
        &address,
        "--frame-size",
        "32MB",
        "--frames",
        "2",
    ]);
    assert_eq!(report["frames"], 2);
}

#[test]
fn a_wrong_byte_is_named_with_its_place() {
    let address = serve_one(|mut stream| {
        for index in 1..=3 {
            let mut frame = read_frame(&mut stream);
            if index == 3 {
                frame[4 + 1_500_000] ^= 0xff;
            }
            stream.write_all(&frame).unwrap();
        }
    });
    let error = failure(&[
        "--connect",
        &address,
        "--frame-size",
        "2MB",
        "--frames",
        "9",
    ]);
    for part in [&address, "connection 1", "frame 3 of 11", "byte 1500000"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn swapped_answers_are_noticed() {
    let address = serve_one(|mut stream| {
        let first = read_frame(&mut stream);
        let second = read_frame(&mut stream);
        stream.write_all(&[second, first].concat()).unwrap();
    });
    let error = failure(&[
        "--connect",
        &address,
        "--frame-size",
        "1",
        "--pipeline",
        "2",
    ]);
    assert!(error.contains("frame 1 of 22"), "{error}");
    assert!(error.contains("byte 0"), "{error}");
}

#[test]
fn a_wrong_length_is_named() {
    let address = serve_one(|mut stream| {
        read_frame(&mut stream);
        stream.write_all(&[0, 0, 0, 3, 1, 2, 3]).unwrap();
        // The benchmark has seen enough, and closes.
        let _ = stream.read(&mut [0]);
    });
    let error = failure(&["--connect", &address, "--frame-size", "10"]);
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("3 bytes instead of 10"), "{error}");
}

#[test]
fn a_server_that_closes_is_named_with_how_far_it_got() {
    let address = serve_one(|mut stream| {
        for _ in 0..4 {
            let frame = read_frame(&mut stream);
            stream.write_all(&frame).unwrap();
        }
    });
    let error = failure(&["--connect", &address, "--frame-size", "10", "--frames", "7"]);
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("frame 5 of 9"), "{error}");
}

#[test]
fn a_silent_server_is_given_up() {
    let address = serve_one(|mut stream| {
        // Until the benchmark hangs up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = failure(&[
        "--connect",
        &address,
        "--frame-size",
        "10",
        "--timeout",
        "200ms",
    ]);
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("no answer within 200ms"), "{error}");
    assert!(error.contains("--timeout"), "{error}");
}

#[test]
fn likely_reasons_of_having_no_answer_at_all_are_named() {
    let server = Server::start(&["--max-connections", "1", "--max-frame", "1KiB"]);
    let connect = ["--connect", server.address()];
    let full = ["--connections", "2", "--frame-size", "1", "--timeout", "1s"];
    let error = failure(&[&connect[..], &full].concat());
    assert!(error.contains("fewer connections"), "{error}");
    let error = failure(&[&connect[..], &["--frame-size", "1025"]].concat());
    assert!(error.contains("--max-frame"), "{error}");
    assert!(error.contains("--prefix"), "{error}");
}

#[test]
fn how_far_the_warm_up_is_can_be_seen() {
    let address = serve_one(|mut stream| {
        let frame = read_frame(&mut stream);
        stream.write_all(&frame).unwrap();
        // Until the benchmark is killed.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut command = Command::new(BINARY);
    command.args(["bench", "--json", "--connect", &address]);
    let mut bench = Process::spawn(command.args(["--frame-size", "10", "--warmup", "3"]));
    let line = bench.stderr_line("frames");
    assert!(line.contains("warm-up: 1 of 3 frames"), "{line}");
}

#[test]
fn nobody_there_is_an_error_that_names_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = failure(&["--connect", &address, "--frame-size", "10"]);
    assert!(error.contains(&address), "{error}");
    let error = failure(&["--connect", "unix:/nowhere/echo", "--frame-size", "10"]);
    assert!(error.contains("unix:/nowhere/echo"), "{error}");
}

#[test]
fn what_the_machine_can_not_hold_is_an_error() {
    for arguments in [
        &["--frame-size", "8EB", "--prefix", "u64le"][..],
        &["--frame-size", "4GB", "--connections", "1000000"],
    ] {
        let error = failure(arguments);
        assert!(error.contains("no memory"), "{error}");
        assert!(error.contains("--frame-size"), "{error}");
    }
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -n 64; exec "$0" "$@""#, BINARY, "bench"]);
    let finished = Process::spawn(limited.args(["--connections", "100", "--frame-size", "1"]));
    let finished = finished.finish();
    let error = finished.assert_code(1).error();
    assert!(
        error.contains("ulimit -n") && error.contains("64"),
        "{error}"
    );
}

/// Runs `bench` to a bad end, and returns its one line.
fn failure(arguments: &[&str]) -> String {
    let finished = run(&[&["bench"], arguments].concat());
    assert!(finished.stdout.is_empty(), "{finished:?}");
    finished.assert_code(1).error().to_owned()
}

/// A server for one connection, on a thread of its own, and where it is.
fn serve_one(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        stream.set_write_timeout(Some(support::DEADLINE)).unwrap();
        serve(stream);
    });
    address
}

/// A whole `u32be` frame, header and all.
fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).unwrap();
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).unwrap();
    frame
}
