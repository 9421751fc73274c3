//! Peers that vanish in every state, by a FIN and by a reset: the error says
//! which, and how far things had got; nobody else is harmed.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use readinto::{FrameError, FrameReader, FrameWriter, Listener, Prefix, Stream, StreamError};
use signal_hook::consts::SIGPIPE;
use socket2::{SockRef, Socket};
use support::{
    Transport, arrived, arrived_on, connect_blocking, drained, framed, listen, over_each_transport,
    reset, run, stream_and_peer, yield_now,
};

const PREFIX: Prefix = Prefix::U32Be;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

const ENDS: [End; 2] = [End::Fin, End::Reset];

/// Ends the connection from the side of `peer`, to which `stream` has sent one
/// byte that is still unread.
fn vanish(mut peer: Socket, transport: Transport, end: End) {
    match (end, transport) {
        (End::Fin, _) => {
            peer.read_exact(&mut [0]).unwrap();
            drop(peer);
        }
        (End::Reset, Transport::Tcp) => reset(peer),
        // A Unix socket that is closed with bytes unread resets.
        (End::Reset, Transport::Unix) => drop(peer),
    }
}

/// A peer that has sent `sent`, which has been read into a frame, and then
/// vanishes; what the reader says.
async fn next_after(
    handle: &readinto::Handle,
    transport: Transport,
    sent: &[u8],
    end: End,
) -> Result<Option<Vec<u8>>, FrameError> {
    let (mut stream, mut peer) = stream_and_peer(handle, transport).await;
    stream.write_all(b"x").await.unwrap();
    peer.write_all(sent).unwrap();
    arrived(&stream, sent.len()).await;
    let mut is_drained = drained(&stream);
    let mut reader = FrameReader::new(stream.split().0, PREFIX, 100);
    let reading = handle.spawn(async move {
        let first = reader.next().await.map(|next| next.map(<[u8]>::to_vec));
        // The answer is no accident: it stays.
        let again = reader.next().await.map(|next| next.map(<[u8]>::to_vec));
        if first.is_ok() {
            assert!(matches!(again, Ok(None)), "{first:?}, then {again:?}");
        } else {
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
        }
        first
    });
    while !is_drained() {
        yield_now().await;
    }
    drop(is_drained);
    vanish(peer, transport, end);
    reading.await.unwrap()
}

#[track_caller]
fn assert_reset<T: std::fmt::Debug>(result: Result<T, FrameError>) {
    match result {
        Err(FrameError::Io { source, .. }) => {
            assert_eq!(source.kind(), ErrorKind::ConnectionReset);
        }
        other => panic!("{other:?} instead of a reset"),
    }
}

#[test]
fn between_frames_a_fin_is_the_end_and_a_reset_is_an_error() {
    over_each_transport(async |handle, transport| {
        let next = next_after(&handle, transport, b"", End::Fin).await;
        assert!(matches!(next, Ok(None)), "{next:?}");
        assert_reset(next_after(&handle, transport, b"", End::Reset).await);
    });
}

#[test]
fn in_the_middle_of_a_frame_a_fin_and_a_reset_are_different_errors() {
    // What was sent of a frame; how much of what is then missing.
    let frame = framed(PREFIX, b"0123456789");
    let cases = [(1, (1, 4)), (3, (3, 4)), (4, (0, 10)), (4 + 9, (9, 10))];
    over_each_transport(async |handle, transport| {
        for (sent, expected) in cases {
            let next = next_after(&handle, transport, &frame[..sent], End::Fin).await;
            match next {
                Err(FrameError::Truncated { got, wanted, .. }) => {
                    assert_eq!((got, wanted), expected, "after {sent} bytes");
                }
                other => panic!("{other:?} instead of Truncated"),
            }
            assert_reset(next_after(&handle, transport, &frame[..sent], End::Reset).await);
        }
    });
}

#[test]
fn a_payload_on_its_way_into_the_callers_buffer_is_cut_with_the_same_errors() {
    let frame = framed(PREFIX, b"0123456789");
    over_each_transport(async |handle, transport| {
        for end in ENDS {
            let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
            stream.write_all(b"x").await.unwrap();
            peer.write_all(&frame[..4 + 3]).unwrap();
            let mut is_drained = drained(&stream);
            let mut reader = FrameReader::new(stream.split().0, PREFIX, 100);
            let mut mine = vec![0; reader.next_len().await.unwrap().unwrap()];
            let reading = handle.spawn(async move { reader.read_payload_into(&mut mine).await });
            while !is_drained() {
                yield_now().await;
            }
            drop(is_drained);
            vanish(peer, transport, end);
            match (end, reading.await.unwrap()) {
                (End::Fin, Err(FrameError::Truncated { got, wanted, .. })) => {
                    assert_eq!((got, wanted), (3, 10));
                }
                (End::Reset, result) => assert_reset(result),
                (_, other) => panic!("{other:?} instead of Truncated"),
            }
        }
    });
}

#[test]
fn the_stream_counts_what_had_come_before_a_reset() {
    over_each_transport(async |handle, transport| {
        for sent in [&b""[..], b"012"] {
            let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
            stream.write_all(b"x").await.unwrap();
            peer.write_all(sent).unwrap();
            arrived(&stream, sent.len()).await;
            let mut is_drained = drained(&stream);
            let reading = handle.spawn(async move { stream.read_exact_into(&mut [0; 10]).await });
            while !is_drained() {
                yield_now().await;
            }
            drop(is_drained);
            vanish(peer, transport, End::Reset);
            let error = reading.await.unwrap().unwrap_err();
            match &error {
                StreamError::Io {
                    moved,
                    wanted,
                    source,
                    ..
                } => {
                    assert_eq!((*moved, *wanted), (sent.len(), 10));
                    assert_eq!(source.kind(), ErrorKind::ConnectionReset);
                }
                other => panic!("{other:?} instead of a reset"),
            }
            // The kernel's own error, unless there is more to say than that.
            let error = io::Error::from(error);
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            match error.raw_os_error() {
                Some(number) => assert_eq!((number, sent.len()), (Errno::ECONNRESET as i32, 0)),
                None => assert!(error.to_string().contains("3 of 10"), "{error}"),
            }
        }
    });
}

#[test]
fn a_peer_that_vanishes_while_we_write_ends_the_write() {
    const LEN: usize = 64 << 20;
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        let writing = handle.spawn(async move {
            let payload = vec![0; LEN];
            let result = writer.write(&payload).await;
            (result, writer.write(b"next").await)
        });
        arrived_on(SockRef::from(&peer), 1).await;
        match transport {
            Transport::Tcp => reset(peer),
            Transport::Unix => drop(peer),
        }
        let (first, second) = writing.await.unwrap();
        match first {
            Err(FrameError::Io { source, .. }) => assert!(is_gone(source.kind()), "{source}"),
            other => panic!("{other:?} instead of an error"),
        }
        match second {
            Err(FrameError::Poisoned { moved, wanted, .. }) => {
                assert_eq!(wanted, PREFIX.size() + LEN);
                assert!(0 < moved && moved < wanted, "{moved}");
            }
            other => panic!("{other:?} instead of Poisoned"),
        }
    });
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

#[test]
fn a_peer_that_has_closed_makes_writes_fail_before_long_and_hides_no_last_words() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        peer.write_all(b"bye").unwrap();
        drop(peer);
        arrived(&stream, 3).await;
        // TCP learns that nobody listens from the answer to a first write.
        let error = loop {
            match stream.write_all(b"hello?").await {
                Ok(()) => yield_now().await,
                Err(error) => break error,
            }
        };
        match error {
            StreamError::Io { moved, source, .. } => {
                assert_eq!(moved, 0);
                assert_eq!(source.kind(), ErrorKind::BrokenPipe);
            }
            other => panic!("{other:?} instead of a broken pipe"),
        }
        let mut buf = [0; 3];
        stream.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"bye");
        let end = stream.read_exact_into(&mut buf).await;
        assert!(matches!(end, Err(StreamError::Eof { filled: 0, .. })));
    });
}

/// The kernel tells of a reset once, to whoever asks first.
#[test]
fn a_reset_that_the_writer_has_seen_is_no_clean_end_for_the_reader() {
    run(async |handle| {
        let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let (read, mut write) = stream.split();
        let mut reader = FrameReader::new(read, PREFIX, 100);
        reset(peer);
        let error = loop {
            match write.write_all(b"hello?").await {
                Ok(()) => yield_now().await,
                Err(error) => break error,
            }
        };
        let StreamError::Io { source, .. } = error else {
            panic!("{error:?} instead of a reset");
        };
        assert_eq!(source.kind(), ErrorKind::ConnectionReset);
        assert_reset(reader.next().await);
        assert_reset(reader.next_len().await);
    });
}

#[test]
fn a_reset_that_the_reader_has_seen_fails_the_writer_too() {
    run(async |handle| {
        let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let (mut read, mut write) = stream.split();
        reset(peer);
        let read = read.read_exact_into(&mut [0]).await;
        assert!(matches!(read, Err(StreamError::Io { .. })), "{read:?}");
        match write.write_all(b"hello?").await {
            Err(StreamError::Io { source, .. }) => assert!(is_gone(source.kind()), "{source}"),
            other => panic!("{other:?} instead of an error"),
        }
    });
}

#[test]
fn both_halves_learn_of_a_reset_while_they_wait() {
    run(async |handle| {
        let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let (mut read, mut write) = stream.split();
        let reading = handle.spawn(async move { read.read_exact_into(&mut [0]).await });
        let writing = handle.spawn(async move {
            let payload = vec![0; 64 << 20];
            write.write_all(&payload).await
        });
        arrived_on(SockRef::from(&peer), 1).await;
        reset(peer);
        let (read, written) = (reading.await.unwrap(), writing.await.unwrap());
        assert!(matches!(read, Err(StreamError::Io { .. })), "{read:?}");
        assert!(
            matches!(written, Err(StreamError::Io { .. })),
            "{written:?}"
        );
    });
}

#[test]
fn no_write_to_a_vanished_peer_raises_sigpipe() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, raised.clone()).unwrap();
    over_each_transport(async |handle, transport| {
        let (mut stream, peer) = stream_and_peer(&handle, transport).await;
        drop(peer);
        while stream.write_all(b"hello?").await.is_ok() {
            yield_now().await;
        }
        let parts: [&[u8]; 2] = [b"header", b"payload"];
        assert!(stream.write_all(&parts).await.is_err());
        assert!(!raised.load(Ordering::Relaxed), "SIGPIPE was raised");

        // A plain send would have: the test can fail.
        assert!(stream.socket().send(b"hello?").is_err());
        assert!(raised.swap(false, Ordering::Relaxed), "no SIGPIPE to avoid");
    });
}

#[test]
fn peers_that_vanish_in_any_state_harm_no_other_connection() {
    let frame = framed(PREFIX, &[7; 100]);
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        let tasks = handle.clone();
        let server = handle.spawn(async move { serve(&tasks, &listener).await });

        let (mut reader, mut writer) = {
            let stream = Stream::connect(&handle, &address).await.unwrap();
            let (read, write) = stream.split();
            (
                FrameReader::new(read, PREFIX, 100),
                FrameWriter::new(write, PREFIX),
            )
        };
        for sent in [0, 1, 4, 50, frame.len(), frame.len() + 2] {
            for end in ENDS {
                let mut peer = connect_blocking(&address);
                let stream = [&frame[..], &frame[..]].concat();
                peer.write_all(&stream[..sent]).unwrap();
                // Vanish at once, while the server is anywhere.
                match (end, transport) {
                    (End::Reset, Transport::Tcp) => reset(peer),
                    _ => drop(peer),
                }
                writer.write(b"still there?").await.unwrap();
                let answer = reader.next().await.unwrap();
                assert_eq!(answer, Some(&b"still there?"[..]));
            }
        }
        drop((reader, writer));
        server.abort();
        // Every connection has ended, and its task with it.
        while handle.tasks() > 0 {
            yield_now().await;
        }
    });
}

/// Echoes frames to everybody; an error ends its own connection only.
async fn serve(handle: &readinto::Handle, listener: &Listener) {
    loop {
        let stream = listener.accept().await.unwrap();
        drop(handle.spawn(async move {
            let (read, write) = stream.split();
            let mut reader = FrameReader::new(read, PREFIX, 100);
            let mut writer = FrameWriter::new(write, PREFIX);
            while let Ok(Some(payload)) = reader.next().await {
                if writer.write(payload).await.is_err() {
                    break;
                }
            }
        }));
    }
}

#[test]
fn the_address_of_a_peer_is_known_after_it_has_gone() {
    run(async |handle| {
        let (mut stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let address = peer.local_addr().unwrap().as_socket().unwrap();
        reset(peer);
        assert!(stream.read_exact_into(&mut [0]).await.is_err());
        assert!(stream.socket().peer_addr().is_err(), "the kernel forgets");
        assert_eq!(stream.peer_address(), address.into());
        let (read, write) = stream.split();
        assert_eq!(read.peer_address(), address.into());
        assert_eq!(write.peer_address(), address.into());
    });
}

#[test]
fn a_connection_that_dies_in_the_backlog_does_not_end_the_accepting() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let dead = connect_blocking(&listener.local_address());
        match transport {
            Transport::Tcp => reset(dead),
            Transport::Unix => drop(dead),
        }
        let mut alive = connect_blocking(&listener.local_address());
        alive.write_all(b"alive").unwrap();
        let mut buf = [0; 5];
        loop {
            let mut stream = listener.accept().await.unwrap();
            if stream.read_exact_into(&mut buf).await.is_ok() {
                break;
            }
        }
        assert_eq!(&buf, b"alive");
    });
}
