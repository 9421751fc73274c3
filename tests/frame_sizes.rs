//! Frames of every size up to the limit arrive whole; beyond it they are
//! refused, before they cost anything.

mod support;

use std::fs;
use std::io::Write;

use futures_util::future::join;
use readinto::{FrameError, FrameReader, FrameWriter, Prefix, Stream};
use socket2::SockRef;
use support::{
    Transport, arrived, arrived_on, assert_same, connected_pair, drained, drop_once, framed,
    header, over_each_transport, pattern, run, stream_and_peer, unread,
};

fn reader(stream: Stream, prefix: Prefix, max: usize) -> FrameReader {
    FrameReader::new(stream.split().0, prefix, max)
}

fn writer(stream: Stream, prefix: Prefix) -> FrameWriter {
    FrameWriter::new(stream.split().1, prefix)
}

#[test]
fn frames_from_nothing_to_the_limit_arrive_whole() {
    const LIMIT: usize = 1000;
    over_each_transport(async |handle, transport| {
        for &prefix in Prefix::ALL {
            let (here, there) = connected_pair(&handle, transport).await;
            let mut writer = writer(here, prefix);
            let mut reader = reader(there, prefix, LIMIT);
            for len in [0, 1, LIMIT - 1, LIMIT] {
                let payload = pattern(len as u64, len);
                writer.write(&payload).await.unwrap();
                assert_eq!(reader.next().await.unwrap(), Some(&payload[..]), "{prefix}");

                writer.write(&payload).await.unwrap();
                assert_eq!(reader.next_len().await.unwrap(), Some(len), "{prefix}");
                let mut mine = vec![0; len];
                reader.read_payload_into(&mut mine).await.unwrap();
                assert_eq!(mine, payload, "{prefix}");
            }
        }
    });
}

#[test]
fn what_the_writer_sends_is_the_length_and_the_payload() {
    over_each_transport(async |handle, transport| {
        for &prefix in Prefix::ALL {
            let (here, mut there) = connected_pair(&handle, transport).await;
            let mut writer = writer(here, prefix);
            let largest = prefix.max_len().min(70_000) as usize;
            for len in [0, 1, 258, largest] {
                let payload = pattern(len as u64, len);
                writer.write(&payload).await.unwrap();
                let mut wire = vec![0; prefix.size() + len];
                there.read_exact_into(&mut wire).await.unwrap();
                assert_same(&wire, &framed(prefix, &payload));
            }
        }
    });
}

#[test]
fn a_frame_above_the_limit_is_refused_at_every_call_and_its_payload_not_handed_over() {
    const LIMIT: usize = 1000;
    over_each_transport(async |handle, transport| {
        for &prefix in Prefix::ALL {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            peer.write_all(&framed(prefix, &pattern(0, LIMIT + 1)))
                .unwrap();
            arrived(&stream, prefix.size() + LIMIT + 1).await;
            let mut reader = reader(stream, prefix, LIMIT);

            for _ in 0..3 {
                assert_too_large(reader.next_len().await.unwrap_err(), 1001, LIMIT);
                assert_too_large(reader.next().await.unwrap_err(), 1001, LIMIT);
                let into = reader.read_payload_into(&mut [0; LIMIT + 1]).await;
                assert!(matches!(into, Err(FrameError::WrongBuffer { .. })));
            }
            assert_eq!(reader.buffered(), prefix.size(), "{prefix}");
        }
    });
}

#[test]
fn the_longest_length_that_a_prefix_can_announce_is_refused_like_any_other() {
    run(async |handle| {
        for &prefix in Prefix::ALL {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
            peer.write_all(&header(prefix, prefix.max_len())).unwrap();
            let mut reader = reader(stream, prefix, 65_534);
            let error = reader.next().await.unwrap_err();
            assert_too_large(error, prefix.max_len(), 65_534);
        }
    });
}

#[track_caller]
fn assert_too_large(error: FrameError, expected_len: u64, expected_max: usize) {
    match error {
        FrameError::TooLarge { len, max, .. } => {
            assert_eq!((len, max), (expected_len, expected_max))
        }
        other => panic!("{other:?} instead of TooLarge"),
    }
}

#[test]
fn frames_of_100_mb_arrive_whole() {
    const LEN: usize = 100_000_000;
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let mut reader = reader(there, Prefix::U32Be, LEN);
        let sent = handle.spawn(async move {
            let payload = pattern(100, LEN);
            let mut writer = writer(here, Prefix::U32Be);
            writer.write(&payload).await.unwrap();
            writer.write(&payload).await.unwrap();
            payload
        });
        let first = reader.next().await.unwrap().expect("a frame").to_vec();
        let mut second = vec![0; reader.next_len().await.unwrap().expect("a frame")];
        reader.read_payload_into(&mut second).await.unwrap();
        let sent = sent.await.unwrap();
        assert_same(&first, &sent);
        assert_same(&second, &sent);
        assert_eq!(reader.next().await.unwrap(), None);
    });
}

#[test]
fn a_payload_that_the_prefix_cannot_hold_is_refused_before_a_byte_leaves() {
    // Listed many times, one slice is as long as any payload.
    let part = vec![0; 1 << 24];
    let parts = vec![&part[..]; 1 << 8];
    run(async |handle| {
        for (prefix, longest) in [
            (Prefix::U16Be, 0xffff),
            (Prefix::U16Le, 0xffff),
            (Prefix::U32Be, 0xffff_ffff),
            (Prefix::U32Le, 0xffff_ffff),
        ] {
            let (here, mut there) = connected_pair(&handle, Transport::Tcp).await;
            let mut writer = writer(here, prefix);
            let too_much: &[&[u8]] = match longest {
                0xffff => &[&part[..0x1_0000]],
                _ => &parts,
            };
            let error = writer.write(too_much).await.unwrap_err();
            let FrameError::PrefixOverflow {
                len, prefix: named, ..
            } = error
            else {
                panic!("{error:?} instead of PrefixOverflow");
            };
            assert_eq!((len, named), (longest + 1, prefix));

            writer.write(b"still usable").await.unwrap();
            let mut wire = vec![0; prefix.size() + 12];
            there.read_exact_into(&mut wire).await.unwrap();
            assert_eq!(wire, framed(prefix, b"still usable"));
        }
    });
}

/// Three ways to read one frame.
#[derive(Clone, Copy, Debug)]
enum Way {
    Next,
    IntoMine,
    LenThenNext,
}

#[test]
fn the_ways_to_read_mix_in_any_order() {
    const WAYS: [Way; 3] = [Way::Next, Way::IntoMine, Way::LenThenNext];
    const LENS: [usize; 4] = [70_000, 0, 3, 1_000];
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let mut writer = writer(here, Prefix::U32Le);
        let mut reader = reader(there, Prefix::U32Le, 70_000);
        for order in 0..WAYS.len().pow(LENS.len() as u32) {
            for (place, len) in LENS.into_iter().enumerate() {
                writer.write(&pattern(len as u64, len)).await.unwrap();
                let way = WAYS[order / WAYS.len().pow(place as u32) % WAYS.len()];
                let got = read_one(&mut reader, way).await;
                assert_same(&got, &pattern(len as u64, len));
            }
        }
    });
}

async fn read_one(reader: &mut FrameReader, way: Way) -> Vec<u8> {
    if matches!(way, Way::Next) {
        return reader.next().await.unwrap().expect("a frame").to_vec();
    }
    let len = reader.next_len().await.unwrap().expect("a frame");
    assert_eq!(reader.next_len().await.unwrap(), Some(len), "asked again");
    if matches!(way, Way::LenThenNext) {
        return reader.next().await.unwrap().expect("a frame").to_vec();
    }
    let mut mine = vec![0; len];
    reader.read_payload_into(&mut mine).await.unwrap();
    mine
}

#[test]
fn a_buffer_of_another_length_is_refused_and_nothing_is_lost() {
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let mut writer = writer(here, Prefix::U32Be);
        let mut reader = reader(there, Prefix::U32Be, 100);
        writer.write(b"five5").await.unwrap();

        // Before `next_len`, no payload is due.
        assert_wrong_buffer(reader.read_payload_into(&mut [0; 5]).await, 5, 0);
        reader.read_payload_into(&mut []).await.unwrap();

        assert_eq!(reader.next_len().await.unwrap(), Some(5));
        assert_wrong_buffer(reader.read_payload_into(&mut [0; 4]).await, 4, 5);
        assert_wrong_buffer(reader.read_payload_into(&mut [0; 6]).await, 6, 5);
        assert_wrong_buffer(reader.read_payload_into(&mut []).await, 0, 5);
        let mut mine = [0; 5];
        reader.read_payload_into(&mut mine).await.unwrap();
        assert_eq!(&mine, b"five5");

        // Nor is one after it was read.
        assert_wrong_buffer(reader.read_payload_into(&mut mine).await, 5, 0);
        writer.write(b"next").await.unwrap();
        assert_eq!(reader.next().await.unwrap(), Some(&b"next"[..]));
    });
}

#[track_caller]
fn assert_wrong_buffer(result: Result<(), FrameError>, buffer_len: usize, payload_len: usize) {
    match result {
        Err(FrameError::WrongBuffer {
            buffer, payload, ..
        }) => {
            assert_eq!((buffer, payload), (buffer_len, payload_len));
        }
        other => panic!("{other:?} instead of WrongBuffer"),
    }
}

#[test]
fn a_payload_begun_in_the_callers_buffer_is_finished_there() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let frame = framed(Prefix::U32Be, b"0123456789");
        peer.write_all(&frame[..4 + 3]).unwrap();
        arrived(&stream, 4 + 3).await;

        let drained = drained(&stream);
        let mut reader = reader(stream, Prefix::U32Be, 100);
        assert_eq!(reader.next_len().await.unwrap(), Some(10));
        let mut mine = [0; 10];
        drop_once(reader.read_payload_into(&mut mine), drained).await;

        peer.write_all(&frame[4 + 3..]).unwrap();
        for _ in 0..2 {
            match reader.next().await {
                Err(FrameError::BegunElsewhere { filled, wanted, .. }) => {
                    assert_eq!((filled, wanted), (3, 10));
                }
                other => panic!("{other:?} instead of BegunElsewhere"),
            }
        }
        reader.read_payload_into(&mut mine).await.unwrap();
        assert_eq!(&mine, b"0123456789");
    });
}

#[test]
fn a_payload_asked_for_in_the_callers_buffer_and_not_begun_is_anybodys() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let frame = framed(Prefix::U32Be, b"0123456789");
        peer.write_all(&frame[..4]).unwrap();
        let mut reader = reader(stream, Prefix::U32Be, 100);
        assert_eq!(reader.next_len().await.unwrap(), Some(10));
        let mut mine = [0; 10];
        drop_once(reader.read_payload_into(&mut mine), || true).await;

        peer.write_all(&frame[4..]).unwrap();
        assert_eq!(reader.next().await.unwrap(), Some(&b"0123456789"[..]));
    });
}

#[test]
fn a_length_that_a_peer_only_claims_costs_almost_nothing() {
    const PEERS: usize = 300;
    const CLAIM: usize = 200 << 20;
    run(async |handle| {
        let before = address_space();
        let mut readers = Vec::new();
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Unix).await;
            peer.write_all(&header(Prefix::U32Be, CLAIM as u64))
                .unwrap();
            peer.write_all(b"abc").unwrap();
            arrived(&stream, 4 + 3).await;
            let drained = drained(&stream);
            let mut reader = reader(stream, Prefix::U32Be, CLAIM);
            drop_once(reader.next(), drained).await;
            readers.push(reader);
            peers.push(peer);
        }
        // What was asked for counts, touched or not. Other tests of this file
        // run beside and may hold a few hundred MB; the claims are 60 GB.
        let after = address_space();
        assert!(
            after.saturating_sub(before) < 3 << 30,
            "{before} bytes have become {after}"
        );
    });
}

#[test]
fn memory_that_lies_idle_goes_to_who_has_sent_a_part_of_a_frame_and_not_to_a_claim() {
    const LEN: usize = 8 << 20;
    run(async |handle| {
        let idle = || handle.stats().memory_idle as usize;
        let payload = pattern(5, LEN);
        let (here, there) = connected_pair(&handle, Transport::Tcp).await;
        let (mut first, mut peer) = (
            reader(there, Prefix::U32Be, LEN),
            writer(here, Prefix::U32Be),
        );
        let (sent, frame) = join(peer.write(&payload), first.next()).await;
        sent.unwrap();
        assert_same(frame.unwrap().unwrap(), &payload);
        drop(first);
        assert!(idle() >= LEN);

        let frame = framed(Prefix::U32Be, &payload);
        let (mut peer, there) = connected_pair(&handle, Transport::Tcp).await;
        let arriving = there.socket().try_clone().unwrap();
        let is_drained = || unread(&SockRef::from(&arriving), 1) == 0;
        let mut second = reader(there, Prefix::U32Be, LEN);
        let (claim, rest) = frame.split_at(4 + 3);
        let (part, rest) = rest.split_at(LEN / 32);
        peer.write_all(claim).await.unwrap();
        arrived_on(SockRef::from(&arriving), claim.len()).await;
        drop_once(second.next(), is_drained).await;
        assert!(idle() >= LEN);
        peer.write_all(part).await.unwrap();
        arrived_on(SockRef::from(&arriving), part.len()).await;
        drop_once(second.next(), is_drained).await;
        assert!(idle() < LEN);
        let (sent, frame) = join(peer.write_all(rest), second.next()).await;
        sent.unwrap();
        assert_same(frame.unwrap().unwrap(), &payload);
    });
}

#[test]
fn a_claim_beyond_all_memory_is_only_a_claim() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let claim = isize::MAX as u64;
        peer.write_all(&header(Prefix::U64Le, claim)).unwrap();
        peer.write_all(b"abc").unwrap();
        arrived(&stream, 8 + 3).await;
        let drained = drained(&stream);
        let mut reader = reader(stream, Prefix::U64Le, usize::MAX);
        drop_once(reader.next(), drained).await;
        drop(peer);
        match reader.next().await {
            Err(FrameError::Truncated { got, wanted, .. }) => {
                assert_eq!((got, wanted as u64), (3, claim));
            }
            other => panic!("{other:?} instead of Truncated"),
        }
    });
}

/// The address space of this process, in bytes.
fn address_space() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux's /proc");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = size.expect("a size").trim_end_matches("kB").trim();
    kib.parse::<usize>().expect("a number") * 1024
}
