//! However the kernel cuts the stream, and wherever a read is given up and
//! begun again, the frames that arrive are the frames that were sent.

mod support;

use std::io::{IoSlice, Write};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::Config;
use readinto::{FrameReader, Handle, Prefix, Stream};
use support::{
    Transport, arrived, assert_same, framed, over_each_transport, pattern, peer_thread, poll_once,
    run, skipped, stream_and_peer, yield_now,
};

/// A stream of frames, and where it is cut.
#[derive(Clone, Debug)]
struct Sent {
    transport: Transport,
    prefix: Prefix,
    lens: Vec<usize>,
    /// Anywhere in the stream.
    cuts: Vec<Index>,
    /// In a frame's prefix or beside it: the frame, and the bytes behind its
    /// first one.
    cuts_in_prefix: Vec<(Index, usize)>,
}

impl Sent {
    fn strategy() -> impl Strategy<Value = Sent> {
        let len = prop_oneof![Just(0), 1..20_usize, 1..5_000_usize, 50_000..200_000_usize];
        (
            select(&Transport::ALL[..]),
            select(Prefix::ALL),
            vec(len, 1..8),
            vec(any::<Index>(), 0..24),
            vec((any::<Index>(), 0..10_usize), 0..16),
        )
            .prop_map(|(transport, prefix, lens, cuts, cuts_in_prefix)| Sent {
                transport,
                prefix,
                lens: lens
                    .into_iter()
                    .map(|len| len.min(prefix.max_len() as usize))
                    .collect(),
                cuts,
                cuts_in_prefix,
            })
    }

    fn payloads(&self) -> Vec<Vec<u8>> {
        let lens = self.lens.iter().enumerate();
        lens.map(|(seed, &len)| pattern(seed as u64, len)).collect()
    }

    /// The bytes as they go over the wire, each piece on its own.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let mut wire = Vec::new();
        let mut starts = Vec::new();
        for payload in self.payloads() {
            starts.push(wire.len());
            wire.extend(framed(self.prefix, &payload));
        }
        let mut cuts = vec![0, wire.len()];
        cuts.extend(self.cuts.iter().map(|cut| cut.index(wire.len())));
        let beside = self.cuts_in_prefix.iter();
        cuts.extend(beside.map(|(frame, by)| (frame.get(&starts) + by).min(wire.len())));
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2)
            .map(|cut| wire[cut[0]..cut[1]].to_vec())
            .collect()
    }
}

/// One try to read: how, and how often it is polled before it is dropped.
#[derive(Clone, Copy, Debug)]
struct Try {
    into_mine: bool,
    polls: usize,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let polls = prop_oneof![0..3_usize, Just(usize::MAX)];
    let one = (any::<bool>(), polls).prop_map(|(into_mine, polls)| Try { into_mine, polls });
    // The last one is patient, so that a frame that is all there gets read.
    vec(one, 0..12).prop_map(|mut tries| {
        tries.push(Try {
            into_mine: true,
            polls: 5,
        });
        tries
    })
}

proptest! {
    #![proptest_config(Config {
        cases: 48,
        max_shrink_iters: 48,
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn frames_cut_anywhere_arrive_as_they_were_sent(sent in Sent::strategy()) {
        let patient = [Try { into_mine: false, polls: usize::MAX }];
        arrives_as_sent(&sent, &patient);
    }

    #[test]
    fn reads_that_are_dropped_anywhere_lose_nothing(
        sent in Sent::strategy(),
        tries in tries(),
    ) {
        arrives_as_sent(&sent, &tries);
    }
}

fn arrives_as_sent(sent: &Sent, tries: &[Try]) {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, sent.transport).await;
        // A piece leaves when the reader has nothing left to read, or it
        // would meet its predecessor in the kernel and be one with it.
        let (wanted, asked) = mpsc::channel();
        let pieces = sent.pieces();
        let peer = peer_thread(move || {
            for piece in pieces {
                let Ok(()) = asked.recv() else { break };
                peer.write_all(&piece).unwrap();
                // Asked for while this one was on its way.
                while asked.try_recv().is_ok() {}
            }
        });
        let ask = || {
            // After the last piece, nobody listens any more.
            let _ = wanted.send(());
        };

        let mut reader = FrameReader::new(stream.split().0, sent.prefix, 200_000);
        let mut tries = tries.iter().copied().cycle();
        for payload in sent.payloads() {
            let got = read_frame(&mut reader, &mut tries, ask).await;
            assert_same(&got.expect("a frame"), &payload);
        }
        assert!(!reader.is_mid_frame());
        peer.join().await;
        assert_eq!(reader.next().await.unwrap(), None);
    });
}

/// Reads one frame, by as many tries as it takes.
async fn read_frame(
    reader: &mut FrameReader,
    tries: &mut impl Iterator<Item = Try>,
    ask: impl Fn() + Copy,
) -> Option<Vec<u8>> {
    let mut mine: Option<Vec<u8>> = None;
    loop {
        let Try { into_mine, polls } = tries.next().expect("they go round");
        if let Some(mine) = &mut mine {
            let whole = poll_up_to(polls, reader.read_payload_into(mine), ask).await;
            if let Some(whole) = whole {
                whole.unwrap();
                return Some(std::mem::take(mine));
            }
        } else if into_mine {
            if let Some(len) = poll_up_to(polls, reader.next_len(), ask).await {
                mine = Some(vec![0; len.unwrap()?]);
            }
        } else if let Some(frame) = poll_up_to(polls, reader.next(), ask).await {
            return frame.unwrap().map(<[u8]>::to_vec);
        }
    }
}

/// Polls `future` up to `polls` times, then drops it.
async fn poll_up_to<F: Future>(polls: usize, future: F, ask: impl Fn()) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_once(&mut future).await {
            return Some(output);
        }
        ask();
        yield_now().await;
    }
    None
}

/// A read never goes past a mark that urgent data left in the stream, so it
/// may be short although more has arrived, for which no event will come.
#[test]
fn bytes_behind_urgent_data_do_not_wait_for_more() {
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let frame = framed(Prefix::U32Be, b"0123456789");
        assert_eq!(peer.send(&frame[..2]).unwrap(), 2);
        match peer.send_out_of_band(b"!") {
            Ok(sent) => assert_eq!(sent, 1),
            Err(error) => {
                skipped(&format!("no urgent data over {transport}: {error}"));
                return;
            }
        }
        assert_eq!(peer.send(&frame[2..]).unwrap(), 12);
        arrives_without_more(&handle, stream, b"0123456789").await;
    });
}

/// The same goes for bytes that bring a descriptor along, which nobody here
/// asks for.
#[test]
fn bytes_behind_a_passed_descriptor_do_not_wait_for_more() {
    run(async |handle| {
        let (stream, peer) = stream_and_peer(&handle, Transport::Unix).await;
        let frame = framed(Prefix::U32Be, b"0123456789");
        let descriptors = [peer.as_raw_fd()];
        let sent = sendmsg::<()>(
            peer.as_raw_fd(),
            &[IoSlice::new(&frame[..2])],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::empty(),
            None,
        );
        assert_eq!(sent.unwrap(), 2);
        assert_eq!(peer.send(&frame[2..]).unwrap(), 12);
        arrives_without_more(&handle, stream, b"0123456789").await;
    });
}

/// Reads a frame of which all that will ever come has been sent.
async fn arrives_without_more(handle: &Handle, stream: Stream, payload: &[u8]) {
    // The reactor hears of it before the first read.
    arrived(&stream, 2).await;
    yield_now().await;
    let mut reader = FrameReader::new(stream.split().0, Prefix::U32Be, payload.len());
    let next = handle.timeout(Duration::from_secs(5), reader.next()).await;
    let next = next.expect("all of it has arrived").unwrap();
    assert_eq!(next, Some(payload));
}
