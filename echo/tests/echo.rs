//! Frames come back as they were sent, with every prefix.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

use support::{Server, payload};

/// The length as the standard library writes it.
type Encoder = fn(u16) -> Vec<u8>;

#[test]
fn every_prefix_is_spoken_as_it_is_named() {
    let encoders: [(&str, Encoder); 6] = [
        ("u16be", |length| length.to_be_bytes().into()),
        ("u16le", |length| length.to_le_bytes().into()),
        ("u32be", |length| u32::from(length).to_be_bytes().into()),
        ("u32le", |length| u32::from(length).to_le_bytes().into()),
        ("u64be", |length| u64::from(length).to_be_bytes().into()),
        ("u64le", |length| u64::from(length).to_le_bytes().into()),
    ];
    for (name, encode) in encoders {
        let server = Server::start(&["--prefix", name]);
        let mut client = server.connect();
        for length in [0, 1, 258, 40_000, u16::MAX] {
            let frame = [encode(length), payload(length.into())].concat();
            client.send_raw(&frame);
            let mut answer = vec![0; frame.len()];
            client.0.read_exact(&mut answer).expect("an answer");
            assert!(answer == frame, "{name}, {length} bytes");
        }
    }
}

#[test]
fn a_frame_larger_than_all_buffers_comes_back_whole() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.echo(&payload(64_000_000));
    client.echo(&[]);
    client.echo(&payload(1));
}

#[test]
fn pipelined_frames_are_answered_in_order_and_after_a_half_close() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut writer = client.0.try_clone().unwrap();
    let sizes = [0, 1, 70_000, 5, 3_000_000, 0, 12, 8_000_000];
    let writing = thread::spawn(move || {
        for size in sizes {
            writer.write_all(&support::frame(&payload(size))).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for size in sizes {
        assert!(client.receive() == payload(size), "{size} bytes");
    }
    client.assert_ended();
    writing.join().unwrap();
}

#[test]
fn a_frame_in_single_bytes_is_one_frame() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.0.set_nodelay(true).unwrap();
    for byte in support::frame(b"bit by bit") {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.receive(), b"bit by bit");
}
