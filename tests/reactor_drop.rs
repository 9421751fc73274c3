//! The end of a reactor: it takes its tasks and their sockets with it, and
//! what is left elsewhere fails with a clear error instead of waiting.

mod support;

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use readinto::{
    Address, FrameError, FrameReader, Handle, JoinError, Listener, Prefix, Reactor, Stream,
    StreamError,
};
use socket2::{Domain, Socket, Type};

use support::turns::{complete, drive, settle};
use support::{
    DEADLINE, Transport, connect_blocking, connected_pair, listen, listen_blocking, pattern, run,
    stream_and_peer,
};

/// Puts a stream into a task.
type Enter = fn(&Handle, Stream);

/// What a task may be doing with its stream when the reactor is dropped.
const STATES: [(&str, Enter); 6] = [
    ("reading", |handle, mut stream| {
        drop(handle.spawn(async move { stream.read_exact_into(&mut [0; 8]).await }));
    }),
    ("writing", |handle, mut stream| {
        drop(handle.spawn(async move { stream.write_all(&pattern(1, MUCH)).await }));
    }),
    ("reading and writing", |handle, stream| {
        let (read, mut write) = stream.split();
        let mut frames = FrameReader::new(read, Prefix::U32Be, 8);
        drop(handle.spawn(async move { frames.next().await.map(drop) }));
        drop(handle.spawn(async move { write.write_all(&pattern(1, MUCH)).await }));
    }),
    ("sleeping", |handle, stream| {
        let sleep = handle.sleep(Duration::from_secs(3600));
        drop(handle.spawn(async move {
            sleep.await;
            drop(stream);
        }));
    }),
    ("in a timeout", |handle, mut stream| {
        let timer = handle.clone();
        drop(handle.spawn(async move {
            let mut byte = [0];
            let read = stream.read_exact_into(&mut byte);
            timer.timeout(DEADLINE, read).await.map(drop)
        }));
    }),
    ("waiting for another task", |handle, stream| {
        let other = handle.spawn(pending::<()>());
        drop(handle.spawn(async move {
            let _ = other.await;
            drop(stream);
        }));
    }),
];

#[test]
fn dropping_the_reactor_closes_the_sockets_of_its_tasks_in_every_state() {
    for transport in Transport::ALL {
        for (state, enter) in STATES {
            for polled in [false, true] {
                eprintln!("{state} over {transport}, polled: {polled}");
                let mut reactor = Reactor::new().unwrap();
                let handle = reactor.handle();
                let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, transport));
                enter(&handle, stream);
                if polled {
                    settle(&mut reactor);
                }
                drop(reactor);
                assert_eq!(handle.tasks(), 0);
                // Fails if the end of the stream does not come.
                let sent = peer.read_to_end(&mut Vec::new()).unwrap();
                assert_eq!(sent > 0, polled && state.ends_with("writing"));
            }
        }
    }
}

#[test]
fn dropping_the_reactor_ends_listening_and_closes_what_waits_to_be_accepted() {
    for polled in [false, true] {
        let mut reactor = Reactor::new().unwrap();
        let (listener, _folder) = listen(&reactor.handle(), Transport::Tcp);
        let address = listener.local_address();
        let accepted = reactor.handle().spawn(async move {
            let first = listener.accept().await.unwrap();
            let second = listener.accept().await.unwrap();
            (first, second)
        });
        let mut early = connect_blocking(&address);
        if polled {
            settle(&mut reactor);
        }
        drop(reactor);

        let ended = early.read(&mut [0]).map_err(|error| error.kind());
        assert!(
            matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{ended:?}"
        );
        let error = run(async |handle| Stream::connect(&handle, &address).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(accepted.is_finished());
    }
}

#[test]
fn dropping_the_reactor_gives_up_connecting() {
    // A backlog that is full makes the kernel leave further calls unanswered.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();

    let mut reactor = Reactor::new().unwrap();
    for _ in 0..4 {
        let handle = reactor.handle();
        let address = Address::from(address);
        drop(reactor.handle().spawn(async move {
            let _stream = Stream::connect(&handle, &address).await;
            pending::<()>().await;
        }));
    }
    settle(&mut reactor);
    assert!(connecting_to(address.port()) > 0);
    drop(reactor);
    assert_eq!(connecting_to(address.port()), 0);
}

#[test]
fn whoever_waits_elsewhere_for_a_task_hears_that_it_was_aborted() {
    run(async |handle| {
        let mut reactor = Reactor::new().unwrap();
        let never_polled = reactor.handle().spawn(pending::<()>());
        let polled = reactor.handle().spawn(pending::<()>());
        settle(&mut reactor);
        let waiting = handle.spawn(polled);
        drop(reactor);
        assert!(matches!(never_polled.await, Err(JoinError::Aborted)));
        assert!(matches!(waiting.await.unwrap(), Err(JoinError::Aborted)));
    });
}

#[test]
fn what_a_dying_task_spawns_is_dropped_unpolled_and_counts_as_aborted() {
    struct SpawnsWhenDropped(Handle, Rc<RefCell<Vec<JoinError>>>);
    impl Drop for SpawnsWhenDropped {
        fn drop(&mut self) {
            let task = self.0.spawn(async { unreachable!("polled after the end") });
            assert!(task.is_finished());
            let outcome: Result<(), JoinError> = complete(task);
            self.1.borrow_mut().push(outcome.unwrap_err());
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let errors = Rc::default();
    for _ in 0..3 {
        let spawns = SpawnsWhenDropped(reactor.handle(), Rc::clone(&errors));
        drop(reactor.handle().spawn(async move {
            let _spawns = spawns;
            pending::<()>().await;
        }));
    }
    settle(&mut reactor);
    let handle = reactor.handle();
    drop(reactor);
    assert_eq!(handle.tasks(), 0);
    let errors = errors.borrow();
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().all(|e| matches!(e, JoinError::Aborted)));
}

#[test]
fn a_task_that_panics_while_its_reactor_dies_spares_the_others() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let resource = Rc::new(());
    let mut tasks = Vec::new();
    for number in 0..9 {
        let held = resource.clone();
        tasks.push(reactor.handle().spawn(async move {
            let _held = held;
            let _bomb = (number % 3 == 1).then(|| Bomb);
            pending::<()>().await;
        }));
    }
    settle(&mut reactor);
    drop(reactor);
    assert_eq!(Rc::strong_count(&resource), 1);
    for (number, task) in (0..).zip(tasks) {
        let error = complete(task).unwrap_err();
        let panicked = matches!(error, JoinError::Panicked(_));
        assert_eq!(panicked, number % 3 == 1, "{error}");
    }
}

#[test]
fn closures_that_the_reactor_never_took_are_dropped_with_it() {
    let reactor = Reactor::new().unwrap();
    let remote = reactor.handle().remote();
    let (resource, handle) = (Arc::new(()), reactor.handle());
    for _ in 0..10 {
        let held = resource.clone();
        remote.spawn(async move |_handle| drop(held)).unwrap();
    }
    drop(reactor);
    assert_eq!(Arc::strong_count(&resource), 1);
    assert!(remote.spawn(async |_handle| ()).is_err());
    assert_eq!(handle.tasks(), 0);
}

#[test]
fn a_task_spawned_on_a_reactor_that_is_gone_is_aborted_at_once() {
    let handle = gone();
    let polled = Rc::new(Cell::new(false));
    let inside = polled.clone();
    let task = handle.spawn(async move { inside.set(true) });
    assert!(task.is_finished());
    task.abort();
    assert!(matches!(complete(task), Err(JoinError::Aborted)));
    assert!(!polled.get());
    assert_eq!(Rc::strong_count(&polled), 1);
}

#[test]
fn nothing_can_be_opened_on_a_reactor_that_is_gone() {
    let handle = gone();
    let error = Listener::bind(&handle, &"127.0.0.1:0".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);

    for transport in Transport::ALL {
        let (listener, address, _folder) = listen_blocking(transport);
        let error = complete(Stream::connect(&handle, &address)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let text = error.to_string();
        assert!(text.contains("the reactor"), "{text}");
        assert!(text.contains(&address.to_string()), "{text}");
        drop(listener);
    }
}

#[test]
fn connecting_to_a_busy_unix_listener_does_not_wait_for_a_reactor_that_is_gone() {
    let (listener, address, _folder) = listen_blocking(Transport::Unix);
    listener.listen(0).unwrap();
    let _fills_the_backlog = connect_blocking(&address);
    let error = complete(Stream::connect(&gone(), &address)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[test]
fn whoever_waits_elsewhere_for_a_socket_hears_that_its_reactor_is_gone() {
    run(async |handle| {
        let mut reactor = Reactor::new().unwrap();
        let theirs = reactor.handle();
        let (listener, _folder) = listen(&theirs, Transport::Tcp);
        let (here, there) = drive(&mut reactor, connected_pair(&theirs, Transport::Tcp));
        let (mut read, mut write) = here.split();
        let accepting = handle.spawn(async move { listener.accept().await.map(drop) });
        let reading = handle.spawn(async move { read.read_exact_into(&mut [0]).await });
        let writing = handle.spawn(async move { write.write_all(&pattern(1, MUCH)).await });
        handle.sleep(Duration::from_millis(1)).await;
        let accepted = !accepting.is_finished() && !reading.is_finished();
        assert!(accepted && !writing.is_finished(), "nothing to wait for");

        drop(reactor);
        let error = accepting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert!(error.to_string().contains("the reactor"), "{error}");
        for error in [reading.await, writing.await].map(|end| end.unwrap().unwrap_err()) {
            let text = error.to_string();
            assert!(text.contains("the reactor"), "{text}");
            let StreamError::Io { source, .. } = error else {
                panic!("{text}");
            };
            assert_eq!(source.kind(), ErrorKind::NotConnected);
        }
        drop(there);
    });
}

/// Nobody is left to count the time, and waiting for it would be for ever.
#[test]
fn a_deadline_of_a_reactor_that_is_gone_has_passed() {
    let hour = Duration::from_secs(3600);
    let late = complete(gone().timeout(hour, pending::<()>()));
    assert_eq!(late.unwrap_err().after, hour);

    run(async |handle| {
        let mut reactor = Reactor::new().unwrap();
        let sleeping = handle.spawn(reactor.handle().sleep(hour));
        let for_ever = handle.spawn(reactor.handle().sleep(Duration::MAX));
        settle(&mut reactor);
        handle.sleep(Duration::from_millis(1)).await;
        assert!(!sleeping.is_finished());
        drop(reactor);
        sleeping.await.unwrap();
        for_ever.await.unwrap();
    });
}

#[test]
fn bytes_that_have_arrived_can_be_read_after_the_reactor_is_gone() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Unix));
    let bytes = pattern(5, 1000);
    peer.write_all(&bytes).unwrap();
    let (mut read, write) = stream.split();
    drop(reactor);

    // More operations than one poll of a task may make: nobody is left for
    // whom to make room.
    for byte in &bytes {
        let mut got = [0];
        complete(read.read_exact_into(&mut got)).unwrap();
        assert_eq!(got[0], *byte);
    }
    let error = complete(read.read_exact_into(&mut [0])).unwrap_err();
    assert!(matches!(error, StreamError::Io { moved: 0, .. }), "{error}");

    let mut frames = FrameReader::new(read, Prefix::U32Be, 8);
    let error = complete(frames.next()).unwrap_err();
    assert!(matches!(error, FrameError::Io { .. }), "{error}");
    drop((frames, write));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

/// The handle of a reactor that has been dropped.
fn gone() -> Handle {
    Reactor::new().unwrap().handle()
}

/// How many sockets of this host are waiting to be connected to `port`.
fn connecting_to(port: u16) -> usize {
    const SYN_SENT: &str = "02";
    let remote = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/self/net/tcp").expect("Linux's table of sockets");
    table
        .lines()
        .filter(|line| {
            let mut columns = line.split_whitespace().skip(2);
            columns.next().is_some_and(|peer| peer.ends_with(&remote))
                && columns.next() == Some(SYN_SENT)
        })
        .count()
}

/// More than all buffers between two sockets hold.
const MUCH: usize = 64 << 20;
