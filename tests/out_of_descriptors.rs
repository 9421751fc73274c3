//! Out of descriptors, a listener waits without work, others are served, and it
//! goes on as soon as there is room.
//!
//! The limit is the process's, so this file has one test.

mod support;

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use readinto::{FrameReader, FrameWriter, Listener, Prefix, Reactor, Stream};
use socket2::Socket;
use support::turns::{drive, turn_until};
use support::{Transport, connect_blocking, framed, listen};

#[test]
fn accept_waits_without_work_and_others_are_served_meanwhile() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (listener, _folder) = listen(&handle, Transport::Tcp);
    let address = listener.local_address();
    let mut first = connect_blocking(&address);
    let served = drive(&mut reactor, listener.accept()).unwrap();
    drop(handle.spawn(echo(served)));

    let waiting: Vec<Socket> = (0..3).map(|_| connect_blocking(&address)).collect();
    let used_up = use_up_descriptors();
    let accepted = Rc::new(RefCell::new(Vec::new()));
    drop(handle.spawn(accept_all(listener, accepted.clone())));

    // A loop that asked again at once would make some 100 000 turns.
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < Duration::from_millis(600) {
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
        turns += 1;
    }
    assert!(turns < 30, "{turns} turns");
    assert!(accepted.borrow().is_empty());

    let question = framed(Prefix::U32Be, b"still there?");
    first.write_all(&question).unwrap();
    let mut answer = vec![0; question.len()];
    first.set_nonblocking(true).unwrap();
    let mut filled = 0;
    turn_until(&mut reactor, || {
        filled += first.read(&mut answer[filled..]).unwrap_or(0);
        filled == answer.len()
    });
    assert_eq!(answer, question);

    drop(used_up);
    turn_until(&mut reactor, || accepted.borrow().len() == waiting.len());
}

async fn accept_all(listener: Listener, accepted: Rc<RefCell<Vec<Stream>>>) {
    loop {
        let stream = listener.accept().await.expect("the listener is fine");
        accepted.borrow_mut().push(stream);
    }
}

async fn echo(stream: Stream) {
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, 1000);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Ok(Some(payload)) = frames.next().await {
        answers.write(payload).await.unwrap();
    }
}

/// Opens files until there is no descriptor left.
fn use_up_descriptors() -> Vec<File> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 100, most).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}
