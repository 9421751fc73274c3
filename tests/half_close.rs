//! Each direction ends on its own, and an end never hides what came before it.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use readinto::{FrameReader, FrameWriter, Prefix, Stream, StreamError};
use support::{
    assert_same, connected_pair, framed, over_each_transport, pattern, peer_thread,
    stream_and_peer, yield_now,
};

#[track_caller]
fn assert_end(result: Result<(), StreamError>, expected_filled: usize, expected_wanted: usize) {
    match result {
        Err(StreamError::Eof { filled, wanted, .. }) => {
            assert_eq!((filled, wanted), (expected_filled, expected_wanted));
        }
        other => panic!("{other:?} instead of Eof"),
    }
}

#[test]
fn whoever_has_ended_its_writing_can_still_read() {
    over_each_transport(async |handle, transport| {
        let (connected, accepted) = connected_pair(&handle, transport).await;
        talk_after_shutdown(connected, accepted).await;
        let (connected, accepted) = connected_pair(&handle, transport).await;
        talk_after_shutdown(accepted, connected).await;
    });
}

/// `first` ends its side, and `second` goes on talking.
async fn talk_after_shutdown(mut first: Stream, mut second: Stream) {
    let mut buf = [0; 4];
    first.write_all(b"ping").await.unwrap();
    first.shutdown_write().unwrap();
    second.read_exact_into(&mut buf).await.unwrap();
    assert_eq!(&buf, b"ping");
    // The end stays the end, however often one asks.
    for _ in 0..3 {
        assert_end(second.read_exact_into(&mut buf).await, 0, 4);
    }

    for answer in [b"pong", b"more"] {
        second.write_all(answer).await.unwrap();
        first.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, answer);
    }
    second.shutdown_write().unwrap();
    assert_end(first.read_exact_into(&mut buf).await, 0, 4);
}

#[test]
fn writing_after_shutdown_write_is_a_broken_pipe() {
    over_each_transport(async |handle, transport| {
        let (mut here, mut there) = connected_pair(&handle, transport).await;
        here.shutdown_write().unwrap();
        match here.write_all(b"too late").await {
            Err(StreamError::Io {
                moved,
                wanted,
                source,
                ..
            }) => {
                assert_eq!((moved, wanted), (0, 8));
                assert_eq!(source.kind(), ErrorKind::BrokenPipe);
            }
            other => panic!("{other:?} instead of a broken pipe"),
        }
        // That says nothing of the other direction.
        there.write_all(b"heard").await.unwrap();
        let mut buf = [0; 5];
        here.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"heard");
        drop(there);
        assert_end(here.read_exact_into(&mut buf).await, 0, 5);
    });
}

#[test]
fn dropping_the_write_half_does_not_end_the_writing() {
    over_each_transport(async |handle, transport| {
        let (here, mut there) = connected_pair(&handle, transport).await;
        let (mut read, write) = here.split();
        drop(write);
        there.write_all(b"still").await.unwrap();
        let mut buf = [0; 5];
        read.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"still");
        drop(read);
        assert_end(there.read_exact_into(&mut buf).await, 0, 5);
    });
}

/// The kernel may report data and end as one event. Whoever clears readiness
/// after the data must not forget the end.
#[test]
fn data_and_end_in_one_burst_are_both_seen() {
    const ROUNDS: usize = 300;
    over_each_transport(async |handle, transport| {
        for round in 0..ROUNDS {
            let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
            // Sometimes the reader waits before the burst comes, sometimes
            // the burst is there first.
            let late = round % 2 == 0;
            let payload = pattern(round as u64, 1 + round % 100);
            let sent = payload.clone();
            if late {
                peer.write_all(&sent).unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
                for _ in 0..round % 5 {
                    yield_now().await;
                }
                assert_burst(&mut stream, &payload).await;
            } else {
                let reading = handle.spawn(async move {
                    assert_burst(&mut stream, &payload).await;
                    stream
                });
                yield_now().await;
                peer.write_all(&sent).unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
                stream = reading.await.unwrap();
            }
            // The rest still works.
            stream.write_all(b"bye").await.unwrap();
            let mut buf = [0; 3];
            peer.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"bye");
        }
    });
}

/// A read that is longer than the data has a short read first, and then the
/// end.
async fn assert_burst(stream: &mut Stream, payload: &[u8]) {
    let mut buf = vec![0; payload.len() + 1];
    assert_end(
        stream.read_exact_into(&mut buf).await,
        payload.len(),
        payload.len() + 1,
    );
    assert_same(&buf[..payload.len()], payload);
}

#[test]
fn a_frame_and_the_end_in_one_burst_are_both_seen() {
    over_each_transport(async |handle, transport| {
        for round in 0..300 {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            let mut reader = FrameReader::new(stream.split().0, Prefix::U32Be, 100);
            let payload = pattern(round, 50);
            let frame = framed(Prefix::U32Be, &payload);
            let reading = handle.spawn(async move {
                assert_eq!(reader.next().await.unwrap(), Some(&payload[..]));
                assert_eq!(reader.next().await.unwrap(), None);
                assert_eq!(reader.next_len().await.unwrap(), None, "and so it stays");
            });
            yield_now().await;
            peer.write_all(&frame).unwrap();
            drop(peer);
            reading.await.unwrap();
        }
    });
}

#[test]
fn all_that_was_written_before_the_shutdown_arrives() {
    const LEN: usize = 8_000_000;
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let received = peer_thread(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            peer.write_all(b"got it").unwrap();
            received
        });
        let payload = pattern(8, LEN);
        stream.write_all(&payload).await.unwrap();
        stream.shutdown_write().unwrap();
        let mut buf = [0; 6];
        stream.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"got it");
        assert_same(&received.join().await, &payload);
    });
}

#[test]
fn frames_can_be_written_after_the_peer_has_ended_its_side() {
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let (read, write) = here.split();
        let mut asking = FrameWriter::new(write, Prefix::U32Be);
        asking.write(b"the only question").await.unwrap();
        asking.into_inner().shutdown_write().unwrap();

        let (there_read, there_write) = there.split();
        let mut questions = FrameReader::new(there_read, Prefix::U32Be, 100);
        let mut answers = FrameWriter::new(there_write, Prefix::U32Be);
        while let Some(question) = questions.next().await.unwrap() {
            answers.write(question).await.unwrap();
        }
        answers.write(b"no more").await.unwrap();
        drop((questions, answers));

        let mut reader = FrameReader::new(read, Prefix::U32Be, 100);
        let answer = reader.next().await.unwrap();
        assert_eq!(answer, Some(&b"the only question"[..]));
        assert_eq!(reader.next().await.unwrap(), Some(&b"no more"[..]));
        assert_eq!(reader.next().await.unwrap(), None);
    });
}
