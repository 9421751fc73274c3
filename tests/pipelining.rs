//! Many frames may be under way at once and keep their order; a list of slices
//! is sent as if it were joined.

mod support;

use std::io::Read;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use readinto::{Buffers, FrameReader, FrameWriter, Prefix};
use support::{
    Transport, assert_same, connected_pair, framed, over_each_transport, pattern, peer_thread, run,
    stream_and_peer,
};

#[test]
fn frames_sent_before_any_is_read_arrive_in_order() {
    const FRAMES: usize = 400;
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let mut writer = FrameWriter::new(here.split().1, Prefix::U32Be);
        let mut reader = FrameReader::new(there.split().0, Prefix::U32Be, 100);
        // Few enough bytes to fit into the kernel's buffers: each write ends
        // before the first read begins.
        for number in 0..FRAMES {
            let payload = pattern(number as u64, number % 30);
            writer.write(&payload).await.unwrap();
        }
        drop(writer);
        for number in 0..FRAMES {
            let payload = pattern(number as u64, number % 30);
            assert_eq!(reader.next().await.unwrap(), Some(&payload[..]));
        }
        assert_eq!(reader.next().await.unwrap(), None);
    });
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    const QUESTIONS: usize = 500;
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let server = handle.spawn(async move {
            let (read, write) = there.split();
            let mut reader = FrameReader::new(read, Prefix::U16Le, 60_000);
            let mut writer = FrameWriter::new(write, Prefix::U16Le);
            let mut answered = 0;
            while let Some(question) = reader.next().await.unwrap() {
                writer.write(&[b"re: ", question]).await.unwrap();
                answered += 1;
            }
            answered
        });

        let (read, write) = here.split();
        let question = |number: usize| pattern(number as u64, number * 97);
        let asking = handle.spawn(async move {
            let mut writer = FrameWriter::new(write, Prefix::U16Le);
            for number in 0..QUESTIONS {
                writer.write(&question(number)).await.unwrap();
            }
            writer.into_inner().shutdown_write().unwrap();
        });
        let mut reader = FrameReader::new(read, Prefix::U16Le, 60_000);
        for number in 0..QUESTIONS {
            let answer = reader.next().await.unwrap().expect("an answer");
            assert_same(answer, &[b"re: ", &question(number)[..]].concat());
        }
        assert_eq!(reader.next().await.unwrap(), None);
        asking.await.unwrap();
        assert_eq!(server.await.unwrap(), QUESTIONS);
    });
}

#[test]
fn a_burst_in_one_segment_is_many_frames() {
    over_each_transport(async |handle, transport| {
        let (mut here, there) = connected_pair(&handle, transport).await;
        let mut burst = Vec::new();
        for number in 0..1_000_u64 {
            burst.extend(framed(Prefix::U64Be, &pattern(number, 16)));
        }
        here.write_all(&burst).await.unwrap();
        let mut reader = FrameReader::new(there.split().0, Prefix::U64Be, 16);
        for number in 0..1_000 {
            let payload = pattern(number, 16);
            assert_eq!(reader.next().await.unwrap(), Some(&payload[..]));
        }
    });
}

#[test]
fn a_list_with_empty_parts_anywhere_is_sent_as_if_joined() {
    let some = pattern(1, 10);
    let one: &[&[u8]] = &[&some];
    let empty = [&b""[..]; 40];
    let empty = &empty[..];
    let lists: [&[&[u8]]; 8] = [
        &[],
        &[b""],
        &[b"", b"", b""],
        &[b"", &some],
        &[&some, b""],
        &[b"", &some, b"", b"", &some, b""],
        &[&empty[..16], one].concat(),
        &[empty, one, empty, one, empty].concat(),
    ];
    over_each_transport(async |handle, transport| {
        let (mut here, mut there) = connected_pair(&handle, transport).await;
        for list in lists {
            here.write_all(list).await.unwrap();
        }
        here.shutdown_write().unwrap();
        let expected = lists.map(<[&[u8]]>::concat).concat();
        let mut got = vec![0; expected.len()];
        there.read_exact_into(&mut got).await.unwrap();
        assert_eq!(got, expected);
        assert!(there.read_exact_into(&mut [0]).await.is_err(), "the end");
    });
}

#[test]
fn buffers_know_their_length() {
    let parts: [&[u8]; 3] = [b"one", b"", b"three"];
    assert_eq!(Buffers::from(&parts).len(), 8);
    assert_eq!(Buffers::from(&parts[..]).len(), 8);
    assert_eq!(Buffers::from(b"one").len(), 3);
    assert_eq!(Buffers::from(&parts.concat()).len(), 8);
    assert!(Buffers::from(&parts[1..2]).is_empty());
    assert!(!Buffers::from(&parts).is_empty());
}

/// The lengths of a list's parts: often none, often more than one system call
/// takes, now and then one above what a call is ever given.
fn part_lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![
        3 => Just(0),
        6 => 1..100_usize,
        3 => 1_000..100_000_usize,
        1 => 1_048_576..1_500_000_usize,
    ];
    vec(len, 0..50)
}

proptest! {
    #![proptest_config(Config {
        cases: 24,
        max_shrink_iters: 48,
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn any_list_is_sent_as_if_joined(first in part_lens(), second in part_lens()) {
        for transport in Transport::ALL {
            sent_as_if_joined(transport, &first, &second);
        }
    }
}

/// Sends one list as it is, then another as the payload of a frame.
fn sent_as_if_joined(transport: Transport, first: &[usize], second: &[usize]) {
    let parts = |lens: &[usize]| -> Vec<Vec<u8>> {
        let lens = lens.iter().enumerate();
        lens.map(|(seed, &len)| pattern(seed as u64, len)).collect()
    };
    let (first, second) = (parts(first), parts(second));
    let mut expected = first.concat();
    expected.extend(framed(Prefix::U32Be, &second.concat()));

    run(async |handle| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let received = peer_thread(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let slices: Vec<&[u8]> = first.iter().map(Vec::as_slice).collect();
        stream.write_all(&slices[..]).await.unwrap();
        let slices: Vec<&[u8]> = second.iter().map(Vec::as_slice).collect();
        let mut writer = FrameWriter::new(stream.split().1, Prefix::U32Be);
        writer.write(&slices[..]).await.unwrap();
        drop(writer);
        assert_same(&received.join().await, &expected);
    });
}
