//! An operation that stopped half-way makes its direction unusable, with the
//! numbers, and nothing else.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::pin::pin;
use std::task::Poll;

use readinto::{FrameError, FrameReader, FrameWriter, Handle, Prefix, Stream, StreamError};
use socket2::{SockRef, Socket};
use support::{
    Transport, arrived, arrived_on, drained, drop_once, framed, over_each_transport, pattern,
    peer_thread, poll_once, reset, run, stream_and_peer, unread, yield_now,
};

/// More than all buffers between two sockets can hold.
const TOO_MUCH: usize = 64 << 20;

#[track_caller]
fn assert_poisoned(result: Result<(), StreamError>, expected_moved: usize, expected_wanted: usize) {
    match result {
        Err(StreamError::Poisoned { moved, wanted, .. }) => {
            assert_eq!((moved, wanted), (expected_moved, expected_wanted));
        }
        other => panic!("{other:?} instead of Poisoned"),
    }
}

/// A stream on which a read of 10 bytes was dropped when it had 3.
async fn with_a_dropped_read(handle: &Handle, transport: Transport) -> (Stream, Socket) {
    let (mut stream, mut peer) = stream_and_peer(handle, transport).await;
    peer.write_all(b"012").unwrap();
    arrived(&stream, 3).await;
    let drained = drained(&stream);
    drop_once(stream.read_exact_into(&mut [0; 10]), drained).await;
    (stream, peer)
}

#[test]
fn a_dropped_read_poisons_the_stream() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = with_a_dropped_read(&handle, transport).await;
        peer.write_all(b"3456789, and more").unwrap();
        arrived(&stream, 17).await;
        assert_poisoned(stream.read_exact_into(&mut [0; 7]).await, 3, 10);
        assert_poisoned(stream.read_exact_into(&mut [0; 1]).await, 3, 10);
        assert_eq!(
            unread(&stream.socket(), 100),
            17,
            "nothing is read any more"
        );
    });
}

#[test]
fn a_poisoned_read_leaves_writing_alone() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = with_a_dropped_read(&handle, transport).await;
        assert_poisoned(stream.read_exact_into(&mut [0; 7]).await, 3, 10);
        stream.write_all(b"sorry").await.unwrap();
        let mut buf = [0; 5];
        peer.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"sorry");

        // The poison stays with its half.
        let (mut read, mut write) = stream.split();
        assert_poisoned(read.read_exact_into(&mut [0; 7]).await, 3, 10);
        write.write_all(b"again").await.unwrap();
        peer.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"again");
    });
}

#[test]
fn a_read_dropped_before_its_first_byte_has_no_effect() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut buf = [0; 10];
        drop(stream.read_exact_into(&mut buf));
        for _ in 0..3 {
            let mut turns = 0..3;
            drop_once(stream.read_exact_into(&mut buf), || turns.next().is_none()).await;
        }
        peer.write_all(b"0123456789").unwrap();
        arrived(&stream, 10).await;
        drop(stream.read_exact_into(&mut buf));
        stream.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"0123456789");
    });
}

#[test]
fn a_dropped_write_poisons_the_stream_and_says_how_much_left() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let payload = pattern(0, TOO_MUCH);
        let peer_view = peer.try_clone().unwrap();
        drop_once(stream.write_all(&payload), || {
            unread(&SockRef::from(&peer_view), 1) == 1
        })
        .await;

        let Err(StreamError::Poisoned { moved, wanted, .. }) = stream.write_all(b"next").await
        else {
            panic!("not poisoned");
        };
        assert_eq!(wanted, TOO_MUCH);
        assert!(0 < moved && moved < TOO_MUCH, "{moved}");
        assert_poisoned(stream.write_all(&payload).await, moved, wanted);

        // The other direction goes on.
        peer.write_all(b"read me").unwrap();
        let mut buf = [0; 7];
        stream.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"read me");

        // And the peer has exactly what is said.
        let received = peer_thread(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        drop(stream);
        let received = received.join().await;
        assert_eq!(received.len(), moved);
        assert!(received == payload[..moved], "the bytes are another's");
    });
}

#[test]
fn a_write_dropped_before_its_first_byte_has_no_effect() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        drop(stream.write_all(b"never polled"));

        // With the kernel's buffers full, not a byte of a write leaves. They
        // may get room late, so it can take more than one try.
        let mut filler = stream.socket().try_clone().unwrap();
        let mut sent = 0;
        loop {
            sent += fill(&mut filler);
            let mut write = pin!(stream.write_all(b"x"));
            match poll_once(&mut write).await {
                Poll::Ready(result) => {
                    result.unwrap();
                    sent += 1;
                }
                Poll::Pending => break,
            }
        }
        drop(filler);

        let received = peer_thread(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        stream.write_all(b"the end").await.unwrap();
        drop(stream);
        let received = received.join().await;
        assert_eq!(received.len(), sent + 7);
        assert!(received.ends_with(b"the end"));
    });
}

/// Sends until the kernel takes no more; returns how many bytes it took.
fn fill(socket: &mut Socket) -> usize {
    let bytes = vec![b'x'; 1 << 20];
    let mut sent = 0;
    let mut len = bytes.len();
    while len > 0 {
        match socket.write(&bytes[..len]) {
            Ok(count) => sent += count,
            // A shorter piece may still fit.
            Err(error) if error.kind() == ErrorKind::WouldBlock => len /= 2,
            Err(error) => panic!("cannot fill: {error}"),
        }
    }
    sent
}

#[test]
fn a_read_that_ends_in_the_middle_poisons_as_well() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        peer.write_all(b"012").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        match stream.read_exact_into(&mut [0; 10]).await {
            Err(StreamError::Eof { filled, wanted, .. }) => assert_eq!((filled, wanted), (3, 10)),
            other => panic!("{other:?} instead of Eof"),
        }
        assert_poisoned(stream.read_exact_into(&mut [0; 1]).await, 3, 10);
    });
}

#[test]
fn a_clean_end_does_not_poison() {
    over_each_transport(async |handle, transport| {
        let (mut stream, peer) = stream_and_peer(&handle, transport).await;
        drop(peer);
        for _ in 0..3 {
            match stream.read_exact_into(&mut [0; 10]).await {
                Err(StreamError::Eof { filled, wanted, .. }) => {
                    assert_eq!((filled, wanted), (0, 10))
                }
                other => panic!("{other:?} instead of Eof"),
            }
        }
    });
}

#[test]
fn a_read_that_a_reset_cuts_poisons_as_well() {
    run(async |handle| {
        let (mut stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        peer.write_all(b"012").unwrap();
        arrived(&stream, 3).await;
        let mut drained = drained(&stream);
        let reading = handle.spawn(async move {
            let result = stream.read_exact_into(&mut [0; 10]).await;
            (stream, result)
        });
        while !drained() {
            yield_now().await;
        }
        reset(peer);
        let (mut stream, result) = reading.await.unwrap();
        match result {
            Err(StreamError::Io {
                moved,
                wanted,
                source,
                ..
            }) => {
                assert_eq!((moved, wanted), (3, 10));
                assert_eq!(source.kind(), ErrorKind::ConnectionReset);
            }
            other => panic!("{other:?} instead of a reset"),
        }
        assert_poisoned(stream.read_exact_into(&mut [0; 1]).await, 3, 10);
    });
}

#[test]
fn a_write_that_the_peer_cuts_poisons_as_well() {
    over_each_transport(async |handle, transport| {
        let (mut stream, peer) = stream_and_peer(&handle, transport).await;
        let writing = handle.spawn(async move {
            let payload = vec![7; TOO_MUCH];
            let result = stream.write_all(&payload).await;
            (stream, result)
        });
        arrived_on(SockRef::from(&peer), 1).await;
        // Bytes that lie unread make a close a reset, on both kinds.
        drop(peer);
        let (mut stream, result) = writing.await.unwrap();
        let Err(StreamError::Io {
            moved,
            wanted,
            source,
            ..
        }) = result
        else {
            panic!("{result:?} instead of an error");
        };
        assert!(
            matches!(
                source.kind(),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ),
            "{source}"
        );
        assert!(0 < moved && moved < TOO_MUCH, "{moved}");
        assert_eq!(wanted, TOO_MUCH);
        assert_poisoned(stream.write_all(b"x").await, moved, TOO_MUCH);
    });
}

#[test]
fn operations_without_bytes_complete_at_once() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let parts: [&[u8]; 2] = [b"", b""];
        // Nor do they need a peer that listens.
        for open in [true, false] {
            if !open {
                stream.shutdown_write().unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
            }
            let read = poll_once(&mut stream.read_exact_into(&mut [])).await;
            assert!(matches!(read, Poll::Ready(Ok(()))));
            let write = poll_once(&mut stream.write_all(b"")).await;
            assert!(matches!(write, Poll::Ready(Ok(()))));
            let write = poll_once(&mut stream.write_all(&parts)).await;
            assert!(matches!(write, Poll::Ready(Ok(()))));
        }
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "nothing was sent");
    });
}

#[test]
fn a_reader_of_frames_given_up_in_the_middle_leaves_a_poisoned_half() {
    // The bytes that came, and what is then missing in which whole.
    let frame = framed(Prefix::U32Be, b"0123456789");
    let cases = [(2, (2, 4)), (4, (4, 14)), (4 + 3, (7, 14))];
    over_each_transport(async |handle, transport| {
        for (sent, (moved, wanted)) in cases {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            peer.write_all(&frame[..sent]).unwrap();
            arrived(&stream, sent).await;
            let drained = drained(&stream);
            let mut reader = FrameReader::new(stream.split().0, Prefix::U32Be, 100);
            drop_once(reader.next(), drained).await;
            assert!(reader.is_mid_frame());
            let mut half = reader.into_inner();
            assert_poisoned(half.read_exact_into(&mut [0; 1]).await, moved, wanted);

            // A new reader on it gets the same answer.
            let mut reader = FrameReader::new(half, Prefix::U32Be, 100);
            match reader.next().await {
                Err(FrameError::Poisoned {
                    moved: got,
                    wanted: whole,
                    ..
                }) => {
                    assert_eq!((got, whole), (moved, wanted));
                }
                other => panic!("{other:?} instead of Poisoned"),
            }
        }
    });
}

#[test]
fn a_reader_of_frames_given_up_between_two_leaves_a_sound_half() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut reader = FrameReader::new(stream.split().0, Prefix::U32Be, 100);
        peer.write_all(&framed(Prefix::U32Be, b"frame")).unwrap();
        peer.write_all(b"plain bytes").unwrap();
        assert_eq!(reader.next().await.unwrap(), Some(&b"frame"[..]));
        let mut half = reader.into_inner();
        let mut buf = [0; 11];
        half.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"plain bytes");
    });
}

#[test]
fn a_half_behind_a_frame_that_was_too_large_is_poisoned() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut reader = FrameReader::new(stream.split().0, Prefix::U32Be, 4);
        peer.write_all(&framed(Prefix::U32Be, b"five5")).unwrap();
        assert!(matches!(
            reader.next().await,
            Err(FrameError::TooLarge { len: 5, max: 4, .. })
        ));
        let mut half = reader.into_inner();
        let read = half.read_exact_into(&mut [0; 1]).await;
        assert!(matches!(read, Err(StreamError::Poisoned { moved: 4, .. })));
    });
}

#[test]
fn a_half_behind_the_longest_claim_there_is_is_poisoned() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut reader = FrameReader::new(stream.split().0, Prefix::U64Be, usize::MAX);
        peer.write_all(&u64::MAX.to_be_bytes()).unwrap();
        assert_eq!(reader.next_len().await.unwrap(), Some(usize::MAX));
        let mut half = reader.into_inner();
        assert_poisoned(half.read_exact_into(&mut [0; 1]).await, 8, usize::MAX);
    });
}

#[test]
fn a_frame_dropped_while_it_is_written_poisons_the_writer() {
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, Prefix::U32Be);
        drop(writer.write(b"never polled"));
        let payload = vec![0; TOO_MUCH];
        drop_once(writer.write(&payload), || {
            unread(&SockRef::from(&peer), 1) == 1
        })
        .await;
        let Err(FrameError::Poisoned { moved, wanted, .. }) = writer.write(b"next").await else {
            panic!("not poisoned");
        };
        assert_eq!(wanted, 4 + TOO_MUCH);
        let mut half = writer.into_inner();
        assert_poisoned(half.write_all(b"x").await, moved, wanted);
    });
}

#[test]
fn the_texts_say_how_many_bytes_of_how_many() {
    run(async |handle| {
        let (mut stream, _peer) = with_a_dropped_read(&handle, Transport::Tcp).await;
        let error = stream.read_exact_into(&mut [0; 1]).await.unwrap_err();
        assert!(error.to_string().contains("3 of 10 bytes"), "{error}");
        let error = FrameError::from(error);
        assert!(error.to_string().contains("3 of 10 bytes"), "{error}");
        let error = io::Error::from(error);
        assert!(error.to_string().contains("3 of 10 bytes"), "{error}");
    });
}
