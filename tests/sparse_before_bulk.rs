//! Who moves little does not wait for those that move much, and neither kind starves
//! the other.

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use readinto::Reactor;
use socket2::Socket;

use support::small_echo::{Counter, SmallEcho, wake_itself};
use support::turns::{drive, turn_now, turn_until};
use support::{Transport, connect_blocking, listen, stream_and_peer};

#[test]
fn a_small_echo_is_answered_in_a_turn_of_a_share_while_a_hundred_peers_send_in_bulk() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let mut senders = Vec::new();
    for _ in 0..100 {
        senders.push(sender(&mut reactor));
    }
    let send = || {
        for (peer, _) in &senders {
            fill(peer);
        }
    };
    let mut echo = SmallEcho::new(&mut reactor, Transport::Unix);
    send();
    turn_now(&mut reactor);
    // Nothing was known of them, and the last of them did not keep anybody waiting.
    let moved = handle.stats().bytes_in as usize;
    assert!(moved <= 99 * SPARSE + LIMIT, "{moved} in the first turn");
    let mut longer = 0;
    for _ in 0..300 {
        send();
        let before = handle.stats().bytes_in as usize;
        assert_eq!(echo.turns_to_answer(&mut reactor), 1);
        let moved = handle.stats().bytes_in as usize - before;
        assert!(moved >= SHARE, "{moved} in a turn");
        longer += usize::from(moved > SHARE + LIMIT);
    }
    // Some may be, where something took the processor away from the echo: they may take as
    // long as that.
    assert!(longer < 30, "{longer}");
    let pieces = senders.iter().map(|(_, taken)| taken.total.get());
    let (least, most) = (pieces.clone().min().unwrap(), pieces.max().unwrap());
    assert!(least > most / 2, "{least} to {most}");
    send();
    let turn = turn_now(&mut reactor);
    assert!(turn.more && turn.tasks < 100, "{turn:?}");
}

#[test]
fn newcomers_are_accepted_while_a_hundred_peers_send_in_bulk() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let senders: Vec<_> = (0..100).map(|_| sender(&mut reactor)).collect();
    let (listener, _folder) = listen(&handle, Transport::Unix);
    let address = listener.local_address();
    let accepted = Counter::default();
    let count = accepted.clone();
    drop(handle.spawn(async move {
        while listener.accept().await.is_ok() {
            count.add();
        }
    }));
    let _always_ready = handle.spawn(wake_itself());
    let newcomers: Vec<_> = (0..50).map(|_| connect_blocking(&address)).collect();
    let turns = turn_until(&mut reactor, || {
        senders.iter().for_each(|(peer, _)| fill(peer));
        accepted.total.get() == newcomers.len()
    });
    // An accept costs as much as 4 KiB.
    assert!(turns <= 1 + newcomers.len() / (SPARSE / 4096), "{turns}");
}

#[test]
fn those_that_send_in_bulk_have_as_long_as_one_that_computes() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let senders: Vec<_> = (0..100).map(|_| sender(&mut reactor)).collect();
    let fill_all = || senders.iter().for_each(|(peer, _)| fill(peer));
    fill_all();
    turn_now(&mut reactor);
    fill_all();
    drop(handle.spawn(async { thread::sleep(LONG) }));
    let before = handle.stats().bytes_in as usize;
    turn_now(&mut reactor);
    let moved = handle.stats().bytes_in as usize - before;
    assert!(moved > 2 * SHARE, "{moved} in {LONG:?}");
}

#[test]
fn those_that_send_in_bulk_have_as_much_of_a_turn_as_all_that_send_little() {
    let mut reactor = Reactor::new().unwrap();
    let little: Vec<_> = (0..60).map(|_| sender(&mut reactor)).collect();
    let bulk: Vec<_> = (0..60).map(|_| sender(&mut reactor)).collect();
    for _ in 0..20 {
        for (peer, _) in &little {
            (&*peer).write_all(&[7; 2 * PIECE]).unwrap();
        }
        bulk.iter().for_each(|(peer, _)| fill(peer));
        turn_now(&mut reactor);
        let [little, bulk] = [&little, &bulk].map(|senders| {
            let taken = senders.iter().map(|(_, taken)| taken.new_since_last_time());
            taken.sum::<usize>() * PIECE
        });
        assert_eq!(little, 60 * 2 * PIECE);
        assert!(bulk >= little, "{bulk}, and {little}");
    }
}

/// A peer, and how many pieces of what it sends have been taken.
fn sender(reactor: &mut Reactor) -> (Socket, Counter) {
    let handle = reactor.handle();
    let (mut stream, peer) = drive(reactor, stream_and_peer(&handle, Transport::Unix));
    peer.set_nonblocking(true).unwrap();
    let taken = Counter::default();
    let pieces = taken.clone();
    let taking = async move {
        let mut piece = vec![0; PIECE];
        while stream.read_exact_into(&mut piece).await.is_ok() {
            pieces.add();
        }
    };
    // Every other one is woken by a waker that is not its task's own.
    match handle.tasks() % 2 {
        0 => drop(handle.spawn(taking)),
        _ => drop(handle.spawn(FuturesUnordered::from_iter([taking]).into_future())),
    }
    (peer, taken)
}

/// Sends as much as the kernel takes.
fn fill(mut peer: &Socket) {
    while peer.write(&[7; PIECE]).is_ok() {}
}

/// What a task may move in one poll.
const LIMIT: usize = 256 * 1024;

/// What it may move in one poll that others wait for.
const SPARSE: usize = LIMIT / 4;

/// What all that are known to move much may move in one turn, and one poll more.
const SHARE: usize = 4 * LIMIT;

const PIECE: usize = 16 * 1024;

/// Far longer than it takes to move what is asked for.
const LONG: Duration = Duration::from_millis(100);
