//! Across a network, a long read waits for much at once, and never for bytes
//! that don't come.
//!
//! Where `ip` can't make a network of namespaces, this is skipped.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use readinto::{FrameReader, Prefix, Reactor, Stream, StreamError};
use socket2::SockRef;
use support::network::{Network, RIGHT};
use support::turns::{drive, turn_now, turn_until};
use support::{DEADLINE, assert_same, framed, pattern, poll_once, run, yield_now};

/// At so many missing bytes, the mark becomes another.
const BOUNDARIES: [usize; 6] = [8 << 16, 8 << 17, 8 << 18, 8 << 19, 8 << 20, 16 << 20];

/// Whatever a read lacks when its peer falls silent, it gets the rest as soon as
/// that comes, be it a single byte; and so does the short read behind it.
#[test]
fn no_tail_is_waited_for_in_vain() {
    let around = |at: usize| [at - 1, at, at + 1];
    let mut cases = Vec::new();
    for len in BOUNDARIES.into_iter().flat_map(around) {
        let tails = BOUNDARIES.into_iter().flat_map(around);
        let tails = tails.chain([1, 2, 1000, 65_535, 65_536, 200_000]);
        cases.extend(tails.filter(|&tail| tail <= len).map(|tail| (len, tail)));
    }
    let bytes = pattern(SEED, 1 + (16 << 20));
    let (sent, all) = (cases.clone(), bytes.clone());
    let peer = move |mut peer: TcpStream| {
        for (len, tail) in sent {
            peer.write_all(&all[..len - tail]).unwrap();
            until_it_waits();
            peer.write_all(&all[len - tail..len]).unwrap();
            until_it_waits();
            peer.write_all(b"short").unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
    };
    across("tails", peer, |there| {
        run(async |handle| {
            let mut stream = Stream::connect(&handle, &there.into()).await.unwrap();
            for (len, tail) in cases {
                let mut message = vec![0; len];
                let mut short = [0; 5];
                let reading = async {
                    stream.read_exact_into(&mut message).await?;
                    stream.read_exact_into(&mut short).await
                };
                let read = handle.timeout(Duration::from_secs(5), reading).await;
                read.unwrap_or_else(|_| panic!("{tail} bytes of {len} are waited for"))
                    .unwrap();
                assert_same(&message, &bytes[..len]);
                assert_eq!(&short, b"short");
                stream.write_all(b"!").await.unwrap();
            }
        });
    });
}

/// A reader of frames that has waited for much waits for little again, also if
/// all of that much was there when it was woken.
#[test]
fn a_short_frame_behind_a_long_one_is_not_waited_for_in_vain() {
    const LONG: usize = 8_000_000;
    // The least for which there is a mark.
    const REST: usize = BOUNDARIES[0];
    let peer = |mut peer: TcpStream| {
        let long = framed(Prefix::U32Be, &pattern(SEED, LONG));
        let (first, rest) = long.split_at(long.len() - REST);
        for part in [first, rest, &framed(Prefix::U32Be, b"short")] {
            peer.write_all(part).unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
    };
    across("frames", peer, |there| {
        run(async |handle| {
            let stream = Stream::connect(&handle, &there.into()).await.unwrap();
            let (read, mut write) = stream.split();
            let mut frames = FrameReader::new(read, Prefix::U32Be, LONG);
            assert_eq!(frames.next_len().await.unwrap(), Some(LONG));
            let mut long = vec![0; LONG];
            while frames.buffered() < 4 + LONG - REST {
                let reading = frames.read_payload_into(&mut long);
                assert!(poll_once(&mut pin!(reading)).await.is_pending());
                yield_now().await;
            }
            write.write_all(b"!").await.unwrap();
            // Nobody reads while the rest arrives.
            thread::sleep(Duration::from_millis(50));
            frames.read_payload_into(&mut long).await.unwrap();
            assert_same(&long, &pattern(SEED, LONG));
            let short = async {
                let short = frames.next();
                let mut short = pin!(short);
                assert!(poll_once(&mut short).await.is_pending());
                write.write_all(b"!").await.unwrap();
                short.await.unwrap() == Some(b"short")
            };
            let short = handle.timeout(Duration::from_secs(5), short).await;
            assert!(short.expect("5 bytes are waited for in vain"));
            write.write_all(b"!").await.unwrap();
        });
    });
}

#[test]
fn an_end_and_a_reset_are_seen_however_much_is_waited_for() {
    const CAME: usize = 1_000_000;
    let begin = |mut peer: &TcpStream| {
        peer.write_all(&pattern(SEED, CAME)).unwrap();
        until_it_waits();
    };
    let wanted = 40_000_000;
    let read = |there: SocketAddr| {
        run(async |handle| {
            let mut stream = Stream::connect(&handle, &there.into()).await.unwrap();
            stream.read_exact_into(&mut vec![0; wanted]).await
        })
    };
    let end = move |peer: TcpStream| {
        begin(&peer);
        peer.shutdown(Shutdown::Write).unwrap();
        let _ = (&peer).read(&mut [0]);
    };
    across("end", end, |there| match read(there) {
        Err(StreamError::Eof { filled, .. }) => assert_eq!(filled, CAME),
        other => panic!("{other:?}"),
    });
    let reset = move |peer: TcpStream| {
        begin(&peer);
        SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    across("reset", reset, |there| match read(there) {
        Err(StreamError::Io { moved, .. }) => assert_eq!(moved, CAME),
        other => panic!("{other:?}"),
    });
}

/// 4 MiB that come in 256 pieces wake their reader as often, or nearly so,
/// without a mark.
#[test]
fn many_segments_make_few_wake_ups() {
    const LEN: usize = 4 << 20;
    const PIECES: usize = 256;
    let peer = |mut peer: TcpStream| {
        peer.set_nodelay(true).unwrap();
        for piece in pattern(SEED, LEN).chunks(LEN / PIECES) {
            peer.write_all(piece).unwrap();
            thread::sleep(Duration::from_micros(200));
        }
        let _ = peer.read(&mut [0]);
    };
    across("wakes", peer, |there| {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let address = there.into();
        let connecting = Stream::connect(&handle, &address);
        let mut stream = drive(&mut reactor, connecting).unwrap();
        turn_now(&mut reactor);
        let task = handle.spawn(async move {
            let mut message = vec![0; LEN];
            stream.read_exact_into(&mut message).await.unwrap();
            message
        });
        let turns = turn_until(&mut reactor, || task.is_finished());
        assert_same(&drive(&mut reactor, task).unwrap(), &pattern(SEED, LEN));
        assert!(turns < PIECES / 2, "{turns} turns for {PIECES} pieces");
    });
}

/// Runs `peer` with an accepted connection on one side of a network, `test` on
/// the other.
fn across(
    name: &str,
    peer: impl FnOnce(TcpStream) + Send + 'static,
    test: impl FnOnce(SocketAddr),
) {
    let Some(network) = Network::set_up(name) else {
        return;
    };
    let right = network.right.clone();
    let (sender, receiver) = mpsc::channel();
    let peer = thread::spawn(move || {
        right.enter();
        let listener = TcpListener::bind((RIGHT, 0)).unwrap();
        sender.send(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        peer(stream);
    });
    network.left.enter();
    test(receiver.recv().unwrap());
    peer.join().unwrap();
}

const SEED: u64 = 1;

/// Long enough, nearly always, for the reader to have taken all and to sleep.
fn until_it_waits() {
    thread::sleep(Duration::from_millis(2));
}
