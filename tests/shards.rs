//! Several reactors on several threads: all of them serve one address, one word
//! drains them all, and each one's end is told.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use readinto::{Address, BoundListener, FrameReader, FrameWriter, Listener, Prefix, Reactor};
use readinto::{Shard, ShardError, Shards, Stream};
use socket2::Socket;
use support::{DEADLINE, Transport, connect_blocking, framed};
use tempfile::TempDir;

const THREADS: usize = 2;

/// Serves until the drain, and returns how many connections there were.
async fn serve(shard: Shard, listener: BoundListener) -> usize {
    let listener = listener.attach(&shard.handle).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let accepting = shard
        .handle
        .spawn(accept(shard.clone(), listener, count.clone()));
    shard.drain.begun().await;
    accepting.abort();
    shard.drain.finished().await;
    count.load(Ordering::Relaxed)
}

async fn accept(shard: Shard, listener: Listener, count: Arc<AtomicUsize>) {
    loop {
        let stream = listener.accept().await.unwrap();
        count.fetch_add(1, Ordering::Relaxed);
        drop(shard.handle.spawn(echo(shard.clone(), stream)));
    }
}

async fn echo(shard: Shard, stream: Stream) {
    let _guard = shard.drain.enter();
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, 1 << 20).drain(&shard.drain);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(payload) = frames.next().await.unwrap() {
        answers.write(payload).await.unwrap();
    }
}

/// Their ends, within the deadline.
fn joined<T: Send + 'static>(shards: Shards<T>) -> Vec<Result<T, ShardError>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(shards.join()));
    receiver.recv_timeout(DEADLINE).expect("all of them end")
}

/// An address of each kind, where port 0 is to be found out.
fn listeners(transport: Transport) -> (Vec<BoundListener>, Option<TempDir>) {
    let (address, folder) = match transport {
        Transport::Tcp => ("127.0.0.1:0".parse().unwrap(), None),
        Transport::Unix => {
            let folder = TempDir::new().unwrap();
            (Address::Unix(folder.path().join("socket")), Some(folder))
        }
    };
    (BoundListener::bind_many(&address, THREADS).unwrap(), folder)
}

fn ask(peer: &mut Socket, question: &[u8]) {
    let question = framed(Prefix::U32Be, question);
    peer.write_all(&question).unwrap();
    let mut answer = vec![0; question.len()];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(answer, question);
}

#[test]
fn all_threads_serve_one_address_and_one_word_drains_them() {
    for transport in Transport::ALL {
        let (listeners, _folder) = listeners(transport);
        let address = listeners[0].local_address();
        assert!(listeners.iter().all(|one| one.local_address() == address));
        let shards = Shards::start(Reactor::builder(), listeners, serve).unwrap();
        let mut peers: Vec<_> = (0..64).map(|_| connect_blocking(&address)).collect();
        for peer in &mut peers {
            ask(peer, b"whoever you are");
        }
        let mut in_flight = peers.pop().unwrap();
        let question = framed(Prefix::U32Be, b"in flight");
        in_flight.write_all(&question[..6]).unwrap();

        shards.drain();
        for mut peer in peers {
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it was idle");
        }
        in_flight.write_all(&question[6..]).unwrap();
        let mut answer = Vec::new();
        in_flight.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, question);

        let counts: Vec<_> = joined(shards).into_iter().map(Result::unwrap).collect();
        assert_eq!(counts.iter().sum::<usize>(), 64, "{counts:?}");
        if transport == Transport::Tcp {
            // By a hash of 64 different ports: that one thread gets none of them
            // happens once in 2⁶³ times.
            assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        }
    }
}

/// The kernel lets a second group of the same user join the first one's port.
#[test]
fn an_address_where_others_listen_is_an_error() {
    for transport in Transport::ALL {
        let (listeners, _folder) = listeners(transport);
        let address = listeners[0].local_address();
        for count in [1, THREADS] {
            let error = BoundListener::bind_many(&address, count).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        assert!(BoundListener::bind_many(&address, 0).unwrap().is_empty());
    }
}

/// Nobody is lost between the binding and the first turn of a reactor.
#[test]
fn connections_wait_for_a_listener_that_is_not_attached_yet() {
    for transport in Transport::ALL {
        let (listeners, _folder) = listeners(transport);
        let address = listeners[0].local_address();
        let mut peers: Vec<_> = (0..16).map(|_| connect_blocking(&address)).collect();
        let shards = Shards::start(Reactor::builder(), listeners, serve).unwrap();
        for peer in &mut peers {
            ask(peer, b"patience");
        }
        shards.drain();
        drop(peers);
        assert_eq!(
            joined(shards)
                .into_iter()
                .map(Result::unwrap)
                .sum::<usize>(),
            16
        );
    }
}

/// Each future gets the seed of its place, on a thread of its own.
#[test]
fn outputs_come_in_the_order_of_the_seeds() {
    let here = thread::current().id();
    let main = move |shard: Shard, seed: usize| {
        let id = thread::current().id();
        async move {
            assert_eq!(shard.index, seed);
            assert_eq!(thread::current().id(), id);
            assert_ne!(id, here);
            10 * seed
        }
    };
    let shards = Shards::start(Reactor::builder(), 0..5, main).unwrap();
    let outputs: Vec<_> = joined(shards).into_iter().map(Result::unwrap).collect();
    assert_eq!(outputs, [0, 10, 20, 30, 40]);
}

/// What can't be built is an error.
#[test]
fn a_reactor_that_can_not_be_built_is_an_error() {
    let too_little = Reactor::builder().memory_budget(1);
    let error = Shards::start(too_little, 0..THREADS, |_, _| async {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Those before it, and those behind it, still have their say.
#[test]
fn a_panic_in_a_future_is_told_in_its_place() {
    let shards = Shards::start(Reactor::builder(), 0..3, |shard, seed| async move {
        assert_ne!(seed, 1, "as was asked for");
        shard.drain.begun().await;
        seed
    })
    .unwrap();
    shards.drain();
    let [first, second, third] = <[_; 3]>::try_from(joined(shards)).unwrap();
    assert_eq!((first.unwrap(), third.unwrap()), (0, 2));
    let error = second.unwrap_err();
    assert!(error.to_string().contains("as was asked for"), "{error}");
    let ShardError::Panicked(panic) = error else {
        panic!("{error:?}");
    };
    let payload = panic.into_payload().downcast::<String>().unwrap();
    assert!(payload.contains("as was asked for"), "{payload}");
}

/// The word comes before the future is first polled, while it sleeps, and again.
#[test]
fn the_word_to_drain_is_never_lost() {
    for round in 0..200 {
        let shards = Shards::start(Reactor::builder(), 0..THREADS, |shard, _| async move {
            shard.drain.begun().await;
        })
        .unwrap();
        if round % 2 == 0 {
            thread::yield_now();
        }
        shards.drain();
        shards.drain();
        assert!(joined(shards).into_iter().all(|ended| ended.is_ok()));
    }
}
