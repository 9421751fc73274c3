//! Whatever happens to a connection on its way, each end gets either all of its
//! frames or an error; never a wrong byte, never a clean end in the middle, never
//! a hang, and nothing is left behind.
//!
//! A client sends frames to an echo server through a proxy that splits, delays,
//! cuts, resets, half-closes, stalls and corrupts, by plans that proptest makes and
//! shrinks. Tasks run in an order that the plan's seed decides.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use readinto::{Address, FrameError, FrameReader, FrameWriter, Listener, Prefix, Reactor, Stream};
use support::pattern;
use support::proxy::{End, Passed, Piece, Plan, Proxy};
use support::turns::{drive, turn_until};

/// What one case does.
#[derive(Clone, Debug)]
struct Case {
    /// The lengths of the frames that the client sends.
    frames: Vec<usize>,
    there: Plan,
    back: Plan,
    seed: u64,
    /// With a memory budget, of two long frames: both ends are on one reactor, and
    /// each holds one.
    budget: bool,
}

impl Case {
    /// How long a peer may take: little where it will say nothing more, and much
    /// where it only may be slow, as this machine may.
    fn limit(&self) -> Duration {
        let falls_silent = [&self.there, &self.back].into_iter().any(|plan| {
            plan.end == End::Stall || plan.pieces.iter().any(|piece| piece.corrupt.is_some())
        });
        Duration::from_millis(if falls_silent { 250 } else { 10_000 })
    }
}

proptest! {
    #![proptest_config(Config {
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn all_of_it_or_an_error(case in case()) {
        check(&case);
    }
}

/// What no chance should miss.
#[test]
fn each_end_once_in_each_direction_and_at_each_place() {
    for end in [
        End::PassOn,
        End::HalfClose,
        End::Cut,
        End::Reset,
        End::Stall,
    ] {
        // Before the first byte, in a prefix, in a payload, between two frames.
        for at in [0, 2, 4, 50, 104, 105, 60_000] {
            let piece = |len| Piece {
                len,
                pause: Duration::ZERO,
                corrupt: None,
            };
            let plan = Plan {
                pieces: vec![piece(at)],
                end,
            };
            let free = Plan {
                pieces: vec![],
                end: End::PassOn,
            };
            for (there, back) in [(&plan, &free), (&free, &plan)] {
                check(&Case {
                    frames: vec![100, 100_000, 0, 3],
                    there: there.clone(),
                    back: back.clone(),
                    seed: 1,
                    budget: false,
                });
            }
        }
    }
}

fn check(case: &Case) {
    // The descriptors that are counted are the whole process's.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let descriptors = open_descriptors();
    let mut builder = Reactor::builder().shuffle(case.seed);
    if case.budget {
        builder = builder.memory_budget(512 * 1024);
    }
    let mut reactor = builder.build().unwrap();
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &"127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = Proxy::start(
        socket_address(&listener.local_address()),
        case.there.clone(),
        case.back.clone(),
    );
    let front: Address = proxy.address.into();

    let sent: Rc<Vec<Vec<u8>>> = Rc::new(frames(&case.frames));
    let (client, server) = drive(&mut reactor, async {
        let client = Stream::connect(&handle, &front).await.unwrap();
        (client, listener.accept().await.unwrap())
    });
    proxy.begin();
    let limit = case.limit();
    let serving = handle.spawn(serve(server, limit));
    let (read, write) = client.split();
    let writing = handle.spawn(ask(write, sent.clone(), limit));
    let reading = handle.spawn(collect(read, limit));
    turn_until(&mut reactor, || handle.tasks() == 0);
    let (served, served_end) = drive(&mut reactor, serving).unwrap();
    let (answers, end) = drive(&mut reactor, reading).unwrap();
    drive(&mut reactor, writing).unwrap();
    drop((listener, reactor, handle));
    let [there, back] = proxy.join();
    assert_eq!(open_descriptors(), descriptors, "descriptors are left");

    assert_received(&served, &served_end, &sent, &there, "the server");
    assert_received(&answers, &end, &served, &back, "the client");
    let untouched = [&case.there, &case.back]
        .iter()
        .all(|plan| plan.end == End::PassOn)
        && !there.corrupted
        && !back.corrupted;
    if untouched {
        assert_eq!(answers.len(), sent.len(), "frames are missing");
        assert!(end.is_ok(), "{end:?}");
    }
}

/// What was received is what was sent, from the first frame on; and it ends as it
/// must where so many bytes were passed.
fn assert_received(
    received: &[Vec<u8>],
    end: &Result<(), FrameError>,
    sent: &[Vec<u8>],
    passed: &Passed,
    who: &str,
) {
    if passed.corrupted {
        // What a wrong length makes of the bytes can't be told from what was
        // meant. It has ended, with or without an error, and that is all.
        return;
    }
    assert!(received.len() <= sent.len(), "{who} has more than was sent");
    for (index, (got, expected)) in received.iter().zip(sent).enumerate() {
        assert!(got == expected, "{who}: frame {index} is not what was sent");
    }
    if end.is_ok() && !passed.refused {
        let bytes: usize = received.iter().map(|frame| 4 + frame.len()).sum();
        assert_eq!(bytes, passed.bytes, "{who} saw a clean end elsewhere");
    }
    if let Err(FrameError::Truncated { got, wanted, .. }) = end {
        assert!(
            (1..=*wanted).contains(got) || *got == 0,
            "{who}: {got} of {wanted}"
        );
        assert!(got < wanted, "{who}: {got} of {wanted}");
    }
}

/// Echoes frames and keeps them.
async fn serve(stream: Stream, limit: Duration) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let (read, write) = stream.split();
    let mut frames = limited(read, limit);
    let mut answers = FrameWriter::new(write, Prefix::U32Be).stall_timeout(limit);
    let mut kept = Vec::new();
    loop {
        match frames.next().await {
            Ok(Some(payload)) => {
                kept.push(payload.to_vec());
                let mut answered = answers.feed(payload).await;
                if answered.is_ok() && !frames.is_next_ready() {
                    answered = answers.flush().await;
                }
                // The client has gone, or takes nothing; it may still send.
                if answered.is_err() {
                    return (kept, answered);
                }
            }
            Ok(None) => return (kept, Ok(())),
            Err(error) => return (kept, Err(error)),
        }
    }
}

/// Sends all frames, then ends its side.
async fn ask(half: readinto::WriteHalf, frames: Rc<Vec<Vec<u8>>>, limit: Duration) {
    let mut questions = FrameWriter::new(half, Prefix::U32Be).stall_timeout(limit);
    for frame in frames.iter() {
        if questions.write(frame).await.is_err() {
            return;
        }
    }
    let _ = questions.into_inner().shutdown_write();
}

async fn collect(
    half: readinto::ReadHalf,
    limit: Duration,
) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut frames = limited(half, limit);
    let mut answers = Vec::new();
    loop {
        match frames.next().await {
            Ok(Some(answer)) => answers.push(answer.to_vec()),
            Ok(None) => return (answers, Ok(())),
            Err(error) => return (answers, Err(error)),
        }
    }
}

fn limited(half: readinto::ReadHalf, limit: Duration) -> FrameReader {
    FrameReader::new(half, Prefix::U32Be, MAX)
        .idle_timeout(limit)
        .frame_timeout(limit)
}

fn frames(lengths: &[usize]) -> Vec<Vec<u8>> {
    let numbered = lengths.iter().enumerate();
    numbered
        .map(|(index, &len)| pattern(index as u64, len))
        .collect()
}

fn socket_address(address: &Address) -> SocketAddr {
    address.to_string().parse().expect("it is TCP")
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn case() -> impl Strategy<Value = Case> {
    let len = prop_oneof![0..200_usize, 0..20_000_usize, Just(0), 100_000..MAX];
    (
        prop::collection::vec(len, 0..8),
        plan(),
        plan(),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(frames, there, back, seed, budget)| Case {
            frames,
            there,
            back,
            seed,
            budget,
        })
}

fn plan() -> impl Strategy<Value = Plan> {
    let end = prop_oneof![
        4 => Just(End::PassOn),
        2 => Just(End::HalfClose),
        2 => Just(End::Cut),
        2 => Just(End::Reset),
        1 => Just(End::Stall),
    ];
    (prop::collection::vec(piece(), 0..12), end).prop_map(|(pieces, end)| Plan { pieces, end })
}

fn piece() -> impl Strategy<Value = Piece> {
    let len = prop_oneof![1..10_usize, 1..2_000_usize, 1..100_000_usize];
    let pause = prop_oneof![4 => Just(0), 1 => 0..3_u64];
    let corrupt = prop_oneof![20 => Just(None), 1 => (0..8_usize).prop_map(Some)];
    (len, pause, corrupt).prop_map(|(len, pause, corrupt)| Piece {
        len,
        pause: Duration::from_millis(pause),
        corrupt,
    })
}

/// The longest frame.
const MAX: usize = 150_000;
