//! A stream that reads ahead moves the same bytes as one that does not, holds a
//! block only while something is in it, and makes do without.
//!
//! That a burst costs one call is in `system_calls.rs`.

mod support;

use std::io::Write;
use std::net::Shutdown;

use readinto::{Handle, Reactor, StreamError};
use support::turns::drive;
use support::{
    Transport, arrived, assert_same, drop_once, over_each_transport, pattern, peer_thread, run,
    stream_and_peer,
};

/// The length of a block.
const BLOCK: usize = 16 * 1024;

#[test]
fn reads_of_all_lengths_get_what_was_sent() {
    over_each_transport(async |handle: Handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut stream = stream.read_ahead();
        let sent = pattern(1, 3_000_000);
        let expected = sent.clone();
        let sending = peer_thread(move || {
            peer.write_all(&sent).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            peer
        });
        let mut random = fastrand::Rng::with_seed(2);
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let len = match random.u8(..4) {
                0 => random.usize(..40),
                1 => random.usize(..BLOCK),
                2 => random.usize(BLOCK - 1..=BLOCK + 1),
                _ => random.usize(..100_000),
            };
            let start = received.len();
            received.resize((start + len).min(expected.len()), 0);
            stream
                .read_exact_into(&mut received[start..])
                .await
                .unwrap();
            assert!(stream.buffered() < BLOCK);
        }
        assert_same(&received, &expected);
        assert_eq!(stream.buffered(), 0);
        let end = stream.read_exact_into(&mut [0; 4]).await.unwrap_err();
        assert!(
            matches!(
                end,
                StreamError::Eof {
                    filled: 0,
                    wanted: 4,
                    ..
                }
            ),
            "{end}"
        );
        sending.join().await;
    });
}

#[test]
fn what_is_buffered_is_what_arrived_and_was_not_asked_for() {
    over_each_transport(async |handle: Handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut stream = stream.read_ahead();
        peer.write_all(&pattern(1, 100)).unwrap();
        arrived(&stream, 100).await;
        assert_eq!(stream.buffered(), 0, "nobody has asked yet");
        let mut read = [0; 90];
        stream.read_exact_into(&mut read[..28]).await.unwrap();
        assert_eq!(stream.buffered(), 72);
        stream.read_exact_into(&mut read[28..]).await.unwrap();
        assert_eq!(stream.buffered(), 10);
        assert_same(&read, &pattern(1, 100)[..90]);

        // Across what is there, and into the middle of what is not.
        peer.write_all(&[7; 5]).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let error = stream.read_exact_into(&mut [0; 20]).await.unwrap_err();
        assert!(
            matches!(
                error,
                StreamError::Eof {
                    filled: 15,
                    wanted: 20,
                    ..
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_dropped_read_loses_nothing_unless_it_had_begun() {
    over_each_transport(async |handle: Handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut stream = stream.read_ahead();
        drop_once(stream.read_exact_into(&mut [0; 28]), || true).await;
        peer.write_all(&[1; 28 + 10]).unwrap();
        arrived(&stream, 38).await;
        stream.read_exact_into(&mut [0; 28]).await.unwrap();
        assert_eq!(stream.buffered(), 10);

        drop_once(stream.read_exact_into(&mut [0; 28]), || true).await;
        let error = stream.read_exact_into(&mut [0; 1]).await.unwrap_err();
        assert!(
            matches!(
                error,
                StreamError::Poisoned {
                    moved: 10,
                    wanted: 28,
                    ..
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_long_read_takes_no_more_than_it_was_asked_for() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut stream = stream.read_ahead();
        peer.write_all(&pattern(1, 2 * BLOCK)).unwrap();
        arrived(&stream, 2 * BLOCK).await;
        // Two blocks, if it read ahead.
        stream.read_exact_into(&mut [0; BLOCK + 10]).await.unwrap();
        assert_eq!(stream.buffered(), 0);
        stream.read_exact_into(&mut [0; 1]).await.unwrap();
        assert_eq!(stream.buffered(), BLOCK - 11);
    });
}

#[test]
fn a_block_goes_back_when_it_is_empty_and_reads_do_without_when_there_is_none() {
    // As much as there has to be: two blocks.
    let mut reactor = Reactor::builder().memory_budget(8 * BLOCK).build().unwrap();
    let handle = reactor.handle();
    drive(&mut reactor, async {
        let mut streams = Vec::new();
        for _ in 0..3 {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
            peer.write_all(&pattern(1, 20)).unwrap();
            arrived(&stream, 20).await;
            streams.push((stream.read_ahead(), peer));
        }
        let mut half = [0; 10];
        let mut buffered = Vec::new();
        for (stream, _) in &mut streams {
            stream.read_exact_into(&mut half).await.unwrap();
            assert_eq!(half, pattern(1, 20)[..10]);
            buffered.push(stream.buffered());
        }
        assert_eq!(buffered, [10, 10, 0]);

        streams[0].0.read_exact_into(&mut half).await.unwrap();
        assert_eq!(half, pattern(1, 20)[10..]);
        // It waits for more, and holds nothing meanwhile.
        drop_once(streams[0].0.read_exact_into(&mut half), || true).await;
        streams[2].0.read_exact_into(&mut [0; 4]).await.unwrap();
        assert_eq!(streams[2].0.buffered(), 6);
    });
}
