//! Small frames are read ahead and sent together, and nobody can tell: nothing
//! is lost, nothing is reordered, nothing leaves before its time.

mod support;

use std::io::{Read, Write};
use std::pin::pin;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use readinto::{FrameError, FrameReader, FrameWriter, Prefix, StreamError};
use socket2::Socket;
use support::{
    Transport, arrived_on, assert_same, connected_pair, framed, header, over_each_transport,
    pattern, peer_thread, poll_once, run, stream_and_peer, unread, yield_now,
};

const PREFIX: Prefix = Prefix::U32Be;

/// Enough for any test here.
const MAX: usize = 1 << 20;

#[test]
fn what_is_fed_leaves_when_it_is_flushed() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        let mut expected = Vec::new();
        for number in 0..50 {
            let payload = pattern(number, number as usize);
            writer.feed(&payload).await.unwrap();
            expected.extend(framed(PREFIX, &payload));
        }
        yield_now().await;
        assert_eq!(unread(&(&peer).into(), 1), 0, "it left unasked");

        writer.flush().await.unwrap();
        assert_arrives(&mut peer, &expected);
        writer.flush().await.unwrap();
        assert_eq!(unread(&(&peer).into(), 1), 0, "it left twice");
    });
}

#[test]
fn what_is_fed_is_sent_by_itself_once_it_fills_a_call() {
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        let payload = pattern(1, 1000);
        for _ in 0..100 {
            writer.feed(&payload).await.unwrap();
        }
        assert!(unread(&(&peer).into(), 200_000) > 50_000);
    });
}

#[test]
fn frames_written_fed_and_flushed_in_any_mixture_keep_their_order() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        let lens = [0, 10, 9_000, 1, 300_000, 8_000, 8_188, 8_189, 16_384, 5];
        let frames = lens.iter().enumerate();
        let expected: Vec<_> = frames
            .map(|(number, &len)| framed(PREFIX, &pattern(number as u64, len)))
            .collect();
        let expected = expected.concat();
        let reading = {
            let expected = expected.clone();
            peer_thread(move || assert_arrives(&mut peer, &expected))
        };
        for (number, &len) in lens.iter().enumerate() {
            let payload = pattern(number as u64, len);
            match number % 4 {
                0 => writer.write(&payload).await.unwrap(),
                _ => {
                    let (first, second) = payload.split_at(len / 3);
                    writer.feed(&[first, second]).await.unwrap();
                }
            }
        }
        writer.flush().await.unwrap();
        reading.join().await;
    });
}

#[test]
fn a_flush_that_was_given_up_goes_on_where_it_was() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        let payload = pattern(2, 8_000);
        let mut expected = Vec::new();
        // Until the kernel takes no more.
        loop {
            yield_now().await;
            writer.feed(&payload).await.unwrap();
            expected.extend(framed(PREFIX, &payload));
            if poll_once(&mut pin!(writer.flush())).await.is_pending() {
                break;
            }
        }
        // There is room for another, which does not wait.
        writer.feed(&payload).await.unwrap();
        expected.extend(framed(PREFIX, &payload));

        let reading = peer_thread(move || assert_arrives(&mut peer, &expected));
        writer.flush().await.unwrap();
        reading.join().await;
    });
}

#[test]
fn what_was_not_flushed_is_discarded_with_the_writer() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        writer.feed(b"never").await.unwrap();
        let mut half = writer.into_inner();
        half.write_all(b"instead").await.unwrap();
        assert_arrives(&mut peer, b"instead");
    });
}

#[test]
fn a_frame_that_the_prefix_cannot_hold_is_not_fed() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut writer = FrameWriter::new(stream.split().1, Prefix::U16Be);
        writer.feed(b"before").await.unwrap();
        let error = writer.feed(&vec![0; 65_536]).await.unwrap_err();
        assert!(
            matches!(error, FrameError::PrefixOverflow { len: 65_536, .. }),
            "{error}"
        );
        writer.flush().await.unwrap();
        assert_arrives(&mut peer, &framed(Prefix::U16Be, b"before"));
    });
}

#[test]
fn the_next_frame_is_ready_once_it_is_there_as_a_whole() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut reader = FrameReader::new(stream.split().0, PREFIX, 1000);
        assert!(!reader.is_next_ready());

        // Two frames and a part of a third, up to each of its bytes.
        for part in 1..framed(PREFIX, b"third").len() {
            let third = framed(PREFIX, b"third");
            let burst = [
                framed(PREFIX, b"first"),
                framed(PREFIX, b""),
                third[..part].into(),
            ];
            let burst = burst.concat();
            peer.write_all(&burst).unwrap();
            arrived_on(reader.get_ref().socket(), burst.len()).await;

            assert_eq!(reader.next().await.unwrap(), Some(&b"first"[..]));
            assert!(reader.is_next_ready(), "the empty one");
            assert_eq!(reader.buffered(), burst.len() - 9);
            assert_eq!(reader.next_len().await.unwrap(), Some(0));
            assert!(reader.is_next_ready(), "its prefix has been read");
            assert_eq!(reader.next().await.unwrap(), Some(&b""[..]));
            assert!(!reader.is_next_ready(), "{part} bytes of it");
            assert_eq!(reader.buffered(), part);
            assert!(reader.is_mid_frame());
            if part >= PREFIX.size() {
                assert_eq!(reader.next_len().await.unwrap(), Some(5));
                assert!(
                    !reader.is_next_ready(),
                    "its prefix, and {part} bytes in all"
                );
            }

            peer.write_all(&third[part..]).unwrap();
            assert_eq!(reader.next().await.unwrap(), Some(&b"third"[..]));
            assert!(!reader.is_next_ready());
            assert_eq!(reader.buffered(), 0);
            assert!(!reader.is_mid_frame());
        }
    });
}

#[test]
fn a_payload_whose_length_is_known_is_not_taken_for_frames() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut reader = FrameReader::new(stream.split().0, PREFIX, MAX);
        let inner = [framed(PREFIX, b"a frame"), framed(PREFIX, b"in a frame")].concat();
        let burst = [framed(PREFIX, b"first"), framed(PREFIX, &inner)].concat();
        peer.write_all(&burst).unwrap();
        arrived_on(reader.get_ref().socket(), burst.len()).await;
        assert_eq!(reader.next().await.unwrap(), Some(&b"first"[..]));
        assert_eq!(reader.next_len().await.unwrap(), Some(inner.len()));
        assert_eq!(reader.next().await.unwrap(), Some(&inner[..]));
    });
}

#[test]
fn a_frame_above_the_limit_is_never_ready() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut reader = FrameReader::new(stream.split().0, PREFIX, 5);
        let burst = [framed(PREFIX, b"first"), framed(PREFIX, b"second")].concat();
        peer.write_all(&burst).unwrap();
        arrived_on(reader.get_ref().socket(), burst.len()).await;
        assert_eq!(reader.next().await.unwrap(), Some(&b"first"[..]));
        // Or the answer to the first would not be flushed before the error.
        assert!(!reader.is_next_ready());
        let error = reader.next().await.unwrap_err();
        assert!(
            matches!(error, FrameError::TooLarge { len: 6, max: 5, .. }),
            "{error}"
        );
    });
}

#[test]
fn what_was_read_ahead_goes_with_the_half() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut reader = FrameReader::new(stream.split().0, PREFIX, MAX);
        let burst = [framed(PREFIX, b"a frame"), b"and raw bytes".to_vec()].concat();
        peer.write_all(&burst).unwrap();
        arrived_on(reader.get_ref().socket(), burst.len()).await;
        assert_eq!(reader.next().await.unwrap(), Some(&b"a frame"[..]));

        let mut half = reader.into_inner();
        let mut raw = [0; 7];
        half.read_exact_into(&mut raw).await.unwrap();
        assert_eq!(&raw, b"and raw");
        // The rest of what was read ahead, and what is still to come.
        peer.write_all(&framed(PREFIX, b"!")).unwrap();
        let mut raw = [0; 6];
        half.read_exact_into(&mut raw).await.unwrap();
        assert_eq!(&raw, b" bytes");
        let mut reader = FrameReader::new(half, PREFIX, MAX);
        assert_eq!(reader.next().await.unwrap(), Some(&b"!"[..]));
    });
}

#[test]
fn a_half_taken_out_of_the_middle_of_a_frame_is_poisoned_whatever_was_read_ahead() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut reader = FrameReader::new(stream.split().0, PREFIX, MAX);
        let burst = [framed(PREFIX, b"first"), framed(PREFIX, b"second")].concat();
        peer.write_all(&burst).unwrap();
        arrived_on(reader.get_ref().socket(), burst.len()).await;
        reader.next().await.unwrap();
        assert_eq!(reader.next_len().await.unwrap(), Some(6));
        let mut half = reader.into_inner();
        let error = half.read_exact_into(&mut [0]).await.unwrap_err();
        assert!(
            matches!(
                error,
                StreamError::Poisoned {
                    moved: 10,
                    wanted: 10,
                    ..
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_stream_that_ends_behind_a_burst_ends_there() {
    over_each_transport(async |handle, transport| {
        for cut in [0, 1, 3] {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            let mut reader = FrameReader::new(stream.split().0, PREFIX, MAX);
            let last = header(PREFIX, 100);
            let burst = [framed(PREFIX, b"first"), last[..cut].to_vec()].concat();
            peer.write_all(&burst).unwrap();
            drop(peer);
            assert_eq!(reader.next().await.unwrap(), Some(&b"first"[..]));
            match (cut, reader.next().await) {
                (0, Ok(None)) => {}
                (_, Err(FrameError::Truncated { got, wanted: 4, .. })) if got == cut => {}
                (_, end) => panic!("{end:?} after {cut} bytes"),
            }
        }
    });
}

fn frame_lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![
        4 => 0_usize..200,
        2 => 16_370_usize..16_400,
        1 => 0_usize..80_000,
    ];
    vec(len, 1..30)
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    /// Whatever the lengths, and wherever the stream is cut on its way, the
    /// frames that arrive are the frames that were sent, echoed in bursts.
    #[test]
    fn any_frames_survive_any_cuts(
        lens in frame_lens(),
        cuts in vec(1_usize..40_000, 1..20),
        ways in vec(any::<bool>(), 1..30),
    ) {
        for transport in Transport::ALL {
            echoed_in_bursts(transport, &lens, &cuts, &ways);
        }
    }
}

fn echoed_in_bursts(transport: Transport, lens: &[usize], cuts: &[usize], ways: &[bool]) {
    run(async |handle| {
        let (here, there) = connected_pair(&handle, transport).await;
        let frames: Vec<_> = (0..)
            .zip(lens)
            .map(|(seed, &len)| pattern(seed, len))
            .collect();
        let ways: Vec<_> = ways.iter().copied().cycle().take(lens.len()).collect();
        let server = handle.spawn(async move {
            let (read, write) = there.split();
            let mut questions = FrameReader::new(read, PREFIX, MAX);
            let mut answers = FrameWriter::new(write, PREFIX);
            let mut mine = vec![0; MAX];
            for in_place in ways {
                let answered = match in_place {
                    true => answers.feed(questions.next().await.unwrap().expect("a frame")),
                    false => {
                        let len = questions.next_len().await.unwrap().expect("a frame");
                        questions.read_payload_into(&mut mine[..len]).await.unwrap();
                        answers.feed(&mine[..len])
                    }
                };
                answered.await.unwrap();
                if !questions.is_next_ready() {
                    answers.flush().await.unwrap();
                }
            }
            answers.flush().await.unwrap();
        });

        let (read, mut write) = here.split();
        let bytes: Vec<_> = frames.iter().map(|frame| framed(PREFIX, frame)).collect();
        let bytes = bytes.concat();
        let cuts: Vec<_> = cuts.to_vec();
        let asking = handle.spawn(async move {
            let mut rest = &bytes[..];
            for cut in cuts.into_iter().cycle() {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                write.write_all(piece).await.unwrap();
                rest = behind;
                if rest.is_empty() {
                    return write;
                }
                yield_now().await;
            }
            write
        });
        let mut answers = FrameReader::new(read, PREFIX, MAX);
        for frame in &frames {
            assert_same(answers.next().await.unwrap().expect("an answer"), frame);
        }
        drop(asking.await.unwrap());
        server.await.unwrap();
    });
}

#[track_caller]
fn assert_arrives(peer: &mut Socket, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    peer.read_exact(&mut got).unwrap();
    assert_same(&got, expected);
}
