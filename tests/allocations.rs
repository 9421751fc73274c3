//! Once a connection is warm, the library allocates nothing per frame.
//!
//! Linking `allocation_counter` makes it this program's allocator. It counts
//! for each thread on its own; both ends of a connection are tasks of one
//! reactor on the test's thread, so that nothing else is counted.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use readinto::{FrameReader, FrameWriter, Handle, Prefix, Reactor, Stream};

use support::turns::{drive, turn_until};
use support::{Transport, connect_blocking, connected_pair, listen, pattern, yield_now};

#[test]
fn an_echo_through_the_readers_own_buffer_allocates_nothing() {
    for (transport, frames, len) in loads() {
        let mut echo = Echo::start(transport, len, async move |handle, stream| {
            let (read, write) = stream.split();
            let mut questions = FrameReader::new(read, Prefix::U32Be, len);
            let mut answers = FrameWriter::new(write, Prefix::U32Be);
            loop {
                let question = handle.timeout(HOUR, questions.next()).await.unwrap();
                let answer = answers.write(question.unwrap().expect("no end"));
                handle.timeout(HOUR, answer).await.unwrap().unwrap();
            }
        });
        echo.assert_allocates_nothing(frames);
    }
}

#[test]
fn an_echo_through_the_callers_buffer_allocates_nothing() {
    for (transport, frames, len) in loads() {
        let mut echo = Echo::start(transport, len, async move |handle, stream| {
            let (read, write) = stream.split();
            let mut questions = FrameReader::new(read, Prefix::U32Be, len);
            let mut answers = FrameWriter::new(write, Prefix::U32Be);
            let mut buffer = vec![0; len];
            loop {
                let len = handle.timeout(HOUR, questions.next_len()).await.unwrap();
                let payload = &mut buffer[..len.unwrap().expect("no end")];
                let rest = questions.read_payload_into(payload);
                handle.timeout(HOUR, rest).await.unwrap().unwrap();
                answers.write(&*payload).await.unwrap();
            }
        });
        echo.assert_allocates_nothing(frames);
    }
}

#[test]
fn an_echo_through_leases_allocates_nothing() {
    for (transport, frames, len) in loads() {
        let mut echo = Echo::start(transport, len, async move |handle, mut stream| {
            loop {
                let mut frame = handle.lease(Prefix::U32Be.size() + len).await.unwrap();
                stream.read_exact_into(&mut frame).await.unwrap();
                stream.write_all(&frame[..]).await.unwrap();
            }
        });
        echo.assert_allocates_nothing(frames);
    }
}

#[test]
fn the_two_verbs_allocate_nothing() {
    for (transport, frames, len) in loads() {
        let mut echo = Echo::start(transport, len, async move |_handle, mut stream| {
            let mut frame = vec![0; Prefix::U32Be.size() + len];
            loop {
                stream.read_exact_into(&mut frame).await.unwrap();
                let (prefix, payload) = frame.split_at(Prefix::U32Be.size());
                stream.write_all(&[prefix, payload]).await.unwrap();
            }
        });
        echo.assert_allocates_nothing(frames);
    }
}

/// Work that is not a frame's, but comes with each.
#[test]
fn yielding_and_sleeping_allocate_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let rounds = Rc::new(Cell::new(0));
    for _ in 0..100 {
        let (handle, count) = (reactor.handle(), rounds.clone());
        drop(reactor.handle().spawn(async move {
            loop {
                yield_now().await;
                handle.sleep(Duration::from_micros(10)).await;
                count.set(count.get() + 1);
            }
        }));
    }
    turn_until(&mut reactor, || rounds.get() > 1000);
    let counted = allocation_counter::measure(|| {
        let target = rounds.get() + 5000;
        turn_until(&mut reactor, || rounds.get() >= target);
    });
    assert_eq!(counted.count_total, 0);
}

/// What is allocated for a connection: what its halves share and what the reactor
/// knows of it, then the future of its task, its waker and its outcome. All of it
/// is freed at its end.
#[test]
fn an_accepted_connection_costs_two_allocations_and_its_task_three() {
    const CONNECTIONS: usize = 100;
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    for transport in Transport::ALL {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        // The tables have grown by the second time.
        let counted = [0, 1].map(|_| {
            let peers: Vec<_> = (0..CONNECTIONS)
                .map(|_| connect_blocking(&address))
                .collect();
            let mut streams = Vec::with_capacity(CONNECTIONS);
            let accepted = allocation_counter::measure(|| {
                drive(&mut reactor, async {
                    for _ in 0..CONNECTIONS {
                        streams.push(listener.accept().await.unwrap());
                    }
                });
            });
            let mut tasks = Vec::with_capacity(CONNECTIONS);
            let served = allocation_counter::measure(|| {
                for mut stream in streams {
                    tasks.push(handle.spawn(async move {
                        let end = stream.read_exact_into(&mut [0]).await;
                        assert!(end.is_err());
                    }));
                }
            });
            drop(peers);
            turn_until(&mut reactor, || tasks.iter().all(|task| task.is_finished()));
            (accepted.count_total, served.count_total)
        });
        let each = CONNECTIONS as u64;
        // One more is the waker of `drive`.
        assert_eq!(counted[1], (2 * each + 1, 3 * each), "over {transport}");
    }
}

/// The counter counts: otherwise all of the above would hold of anything.
#[test]
fn an_allocation_of_a_task_is_seen() {
    let mut reactor = Reactor::new().unwrap();
    let counted = allocation_counter::measure(|| {
        let task = reactor
            .handle()
            .spawn(async { drop(Box::new([0_u8; 4711])) });
        turn_until(&mut reactor, || task.is_finished());
    });
    assert!(counted.bytes_total >= 4711);
}

/// A server that echoes frames, and a client that sends them.
struct Echo {
    reactor: Reactor,
    answered: Rc<Cell<usize>>,
    name: String,
}

impl Echo {
    fn start(
        transport: Transport,
        len: usize,
        server: impl AsyncFnOnce(Handle, Stream) + 'static,
    ) -> Echo {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let (here, there) = drive(&mut reactor, connected_pair(&handle, transport));
        let answered = Rc::new(Cell::new(0));
        let (client, count) = (handle.clone(), answered.clone());
        drop(handle.spawn(async move {
            let (read, write) = here.split();
            let mut answers = FrameReader::new(read, Prefix::U32Be, len);
            let mut questions = FrameWriter::new(write, Prefix::U32Be);
            let question = pattern(6, len);
            loop {
                questions.write(&question).await.unwrap();
                let answer = client.timeout(HOUR, answers.next()).await.unwrap();
                assert!(answer.unwrap() == Some(&question));
                count.set(count.get() + 1);
            }
        }));
        let inner = handle.clone();
        drop(handle.spawn(async move { server(inner, there).await }));
        Echo {
            reactor,
            answered,
            name: format!("frames of {len} bytes over {transport}"),
        }
    }

    /// A busy machine may stop us for so long that memory which has lain idle is
    /// freed, and is needed again: once, not for each frame.
    fn assert_allocates_nothing(&mut self, frames: usize) {
        let counts = [(); 3].map(|()| {
            self.run(WARM_UP);
            allocation_counter::measure(|| self.run(frames)).count_total
        });
        assert!(counts.contains(&0), "{frames} {}: {counts:?}", self.name);
    }

    fn run(&mut self, frames: usize) {
        let target = self.answered.get() + frames;
        turn_until(&mut self.reactor, || self.answered.get() >= target);
    }
}

/// How many frames of how many bytes, and over what.
fn loads() -> impl Iterator<Item = (Transport, usize, usize)> {
    let sizes = [(1000, 64), (1000, 64 * 1024), (200, 1 << 20)];
    let over = move |transport| sizes.map(|(frames, len)| (transport, frames, len));
    Transport::ALL.into_iter().flat_map(over)
}

/// Frames after which every buffer has been as large as it gets.
const WARM_UP: usize = 20;

/// A timeout that is armed and disarmed for each operation.
const HOUR: Duration = Duration::from_secs(3600);
