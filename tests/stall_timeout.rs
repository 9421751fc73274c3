//! A peer that takes nothing of what it is sent is given up; one that takes little is not.

mod support;

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use readinto::{FrameError, FrameWriter, Prefix, TimeLimit};
use support::{Transport, framed, over_each_transport, pattern, peer_thread, run, stream_and_peer};

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_the_stream_is_poisoned() {
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).stall_timeout(SHORT);
        let error = frames.write(&pattern(1, MAX)).await.unwrap_err();
        let FrameError::TimedOut { limit, moved, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(limit, TimeLimit::Stall);
        assert!((1..MAX).contains(&moved), "{moved}");
        let after = frames.write(b"more").await.unwrap_err();
        assert!(
            matches!(after, FrameError::Poisoned { moved: sent, .. } if sent == moved),
            "{after}"
        );
        drop(peer);
    });
}

/// Frames that were gathered, to a peer that takes nothing.
#[test]
fn a_flush_that_stalls_can_be_called_again() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Unix).await;
        let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).stall_timeout(SHORT);
        let frame = pattern(1, 8000);
        let mut sent = 0;
        let error = loop {
            match frames.feed(&frame).await {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FrameError::TimedOut { .. }), "{error}");
        let start = Instant::now();
        assert!(frames.flush().await.is_err());
        assert!(start.elapsed() > SHORT / 2, "not a whole wait again");
        let reading = peer_thread(move || {
            let mut answer = vec![0; sent * (4 + 8000)];
            peer.read_exact(&mut answer).unwrap();
            answer
        });
        frames.flush().await.unwrap();
        let whole = framed(Prefix::U32Be, &frame).repeat(sent);
        assert!(reading.join().await == whole, "not what was fed");
    });
}

/// A slow reader that goes on reading is not stalled, also while what it has read is too
/// little for the kernel to report the socket writable.
#[test]
fn a_peer_that_takes_little_at_a_time_is_not_given_up() {
    const LIMIT: Duration = Duration::from_secs(1);
    const ALL: usize = 16_000_000;
    over_each_transport(async |handle, transport| {
        // Sent by calls of its own, and gathered.
        for len in [ALL, 8000] {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).stall_timeout(LIMIT);
            let reading = peer_thread(move || {
                let mut some = vec![0; 10_000];
                for _ in 0..100 {
                    peer.read_exact(&mut some).unwrap();
                    thread::sleep(LIMIT / 50);
                }
                while peer.read(&mut some).unwrap() > 0 {}
            });
            let start = Instant::now();
            let payload = pattern(1, len);
            for _ in 0..ALL / len {
                frames.feed(&payload).await.unwrap();
            }
            frames.flush().await.unwrap();
            assert!(start.elapsed() > LIMIT, "not put to the test");
            drop(frames);
            reading.join().await;
        }
    });
}

const MAX: usize = 64_000_000;
const SHORT: Duration = Duration::from_millis(200);
