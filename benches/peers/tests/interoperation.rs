//! The rows speak of the same frames, and notice when they don't.
//!
//! Every row in Rust, and those that need nothing but Python's standard library,
//! meet a client and a server that are written here with nothing but the Rust
//! standard library; then they meet readinto.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use serde_json::Value;
use support::{Peer, SOON, harness, peer, rows_to_test, skipped};

/// How the length before each frame is written.
#[derive(Clone, Copy)]
enum Prefix {
    U32Be,
    U64Le,
}

impl Prefix {
    const ALL: [Prefix; 2] = [Prefix::U32Be, Prefix::U64Le];

    fn name(self) -> &'static str {
        match self {
            Prefix::U32Be => "u32be",
            Prefix::U64Le => "u64le",
        }
    }

    fn encode(self, len: usize) -> Vec<u8> {
        match self {
            Prefix::U32Be => u32::try_from(len).unwrap().to_be_bytes().to_vec(),
            Prefix::U64Le => (len as u64).to_le_bytes().to_vec(),
        }
    }

    /// None at the end of the stream.
    fn read(self, stream: &mut TcpStream) -> Option<Vec<u8>> {
        let mut header = vec![0; self.encode(0).len()];
        if stream.read(&mut header[..1]).unwrap() == 0 {
            return None;
        }
        stream.read_exact(&mut header[1..]).unwrap();
        let len = match self {
            Prefix::U32Be => u32::from_be_bytes(header.try_into().unwrap()) as usize,
            Prefix::U64Le => u64::from_le_bytes(header.try_into().unwrap()) as usize,
        };
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).unwrap();
        Some(payload)
    }

    fn frame(self, payload: &[u8]) -> Vec<u8> {
        [&self.encode(payload.len()), payload].concat()
    }
}

/// Bytes that differ from frame to frame and from place to place.
fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|place| (place * 31 + place / 256 * 7 + number * 13) as u8)
        .collect()
}

#[test]
fn each_server_echoes_what_a_client_written_here_sends() {
    for row in rows_to_test() {
        for prefix in Prefix::ALL {
            let mut server = peer(&row, &["serve", "--listen", "127.0.0.1:0"], prefix.name());
            let Some(address) = server.address() else {
                continue;
            };
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.set_write_timeout(Some(SOON)).unwrap();

            for (number, len) in [1, 64, 65_537, 3, 1_000_003, 64].into_iter().enumerate() {
                let sent = payload(number, len);
                stream.write_all(&prefix.frame(&sent)).unwrap();
                let answer = prefix.read(&mut stream).expect("an answer");
                assert!(answer == sent, "{row}, {len} bytes: not what was sent");
            }
            // Several at once, more than a row reads ahead and a long one among them,
            // cut where no frame ends, and the end behind them.
            let burst: Vec<Vec<u8>> = (0..40)
                .map(|n| payload(n, if n == 30 { 100_003 } else { 1 + 37 * n }))
                .collect();
            let bytes: Vec<u8> = burst.iter().flat_map(|it| prefix.frame(it)).collect();
            let (head, tail) = bytes.split_at(bytes.len() / 2 + 1);
            stream.write_all(head).unwrap();
            stream.write_all(tail).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            for sent in &burst {
                let answer = prefix.read(&mut stream).expect("an answer");
                assert!(answer == *sent, "{row}: not what was sent in a burst");
            }
            assert!(prefix.read(&mut stream).is_none(), "{row}: more came back");
        }
    }
}

/// What the server written here does with the last frame that is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Echoed,
    OneBitFlipped,
    /// With the payload of the frame before.
    LeftOver,
    NotAnswered,
}

/// Echoes this many frames on one connection and tells how many there were.
fn serve_here(listener: TcpListener, prefix: Prefix, frames: usize, last: Last) -> usize {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    let mut served = 0;
    let mut before = Vec::new();
    while let Some(sent) = prefix.read(&mut stream) {
        let mut payload = sent.clone();
        served += 1;
        if served == frames {
            match last {
                Last::Echoed => {}
                Last::OneBitFlipped => payload[LEN / 2] ^= 4,
                Last::LeftOver => payload = before,
                Last::NotAnswered => return served,
            }
        }
        stream.write_all(&prefix.frame(&payload)).unwrap();
        before = sent;
    }
    served
}

/// Lets the row's client meet the server written here. Returns the client once
/// it has been told to go, and the server.
fn meet(row: &str, prefix: Prefix, last: Last) -> Option<(Peer, thread::JoinHandle<usize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let total = WARMUP + FRAMES;
    let (len, frames, warmup) = (LEN.to_string(), FRAMES.to_string(), WARMUP.to_string());
    let arguments = [
        "bulk",
        "--connect",
        &address,
        "--size",
        &len,
        "--frames",
        &frames,
        "--warmup",
        &warmup,
    ];
    let mut client = peer(row, &arguments, prefix.name());
    let server = thread::spawn(move || serve_here(listener, prefix, total, last));
    if client.line()? != "ready" {
        panic!("{row}: it is not ready");
    }
    client.tell("go");
    Some((client, server))
}

#[test]
fn each_client_gets_its_frames_back_from_a_server_written_here() {
    for row in rows_to_test() {
        for prefix in Prefix::ALL {
            let Some((mut client, server)) = meet(&row, prefix, Last::Echoed) else {
                continue;
            };
            let said: Value = serde_json::from_str(&client.line().unwrap()).unwrap();
            assert_eq!(said["frames"], FRAMES, "{row}");
            assert_eq!(said["bytes"], FRAMES * LEN, "{row}");
            assert!(said["seconds"].as_f64().unwrap() > 0.0, "{row}");
            client.tell("end");
            assert_eq!(client.exit_code(), Some(0), "{row}");
            assert_eq!(server.join().unwrap(), WARMUP + FRAMES, "{row}");
        }
    }
}

#[test]
fn each_client_notices_a_wrong_bit_an_old_answer_and_a_missing_one() {
    for row in rows_to_test() {
        for last in [Last::OneBitFlipped, Last::LeftOver, Last::NotAnswered] {
            let Some((mut client, server)) = meet(&row, Prefix::U32Be, last) else {
                continue;
            };
            assert_eq!(client.exit_code(), Some(1), "{row}");
            assert!(!client.complaint().is_empty(), "{row}: it gave no reason");
            server.join().unwrap();
        }
    }
}

#[test]
fn all_of_them_meet_readinto_on_both_sides() {
    let output = tempfile::tempdir().unwrap();
    let rows = rows_to_test();
    let run = Command::new(harness())
        .args(["--quick", "--only", "interoperation"])
        .args(["--peers", &rows.join(",")])
        .arg("--output")
        .arg(output.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let complained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}{complained}");

    let text = std::fs::read_to_string(output.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let encounters = report["interoperation"].as_array().unwrap();
    let notes = report["notes"].as_array().unwrap();
    for row in &rows {
        if let Some(note) = notes.iter().find(|note| note["row"] == **row) {
            skipped(&format!("{row}: {}", note["reason"]));
            continue;
        }
        let outcomes: Vec<_> = encounters
            .iter()
            .filter(|it| it["row"] == **row)
            .map(|it| &it["outcome"])
            .collect();
        assert_eq!(outcomes, ["agreed"; 4], "{row}");
    }
}

const LEN: usize = 200_001;
const FRAMES: usize = 3;
const WARMUP: usize = 2;
