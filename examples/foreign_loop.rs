//! A reactor within somebody else's event loop: that waits by poll(2), for the reactor
//! and for its own things alike, and runs a turn when there is something to do.
//! `cargo run --example foreign_loop`.

use std::error::Error;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use readinto::{Handle, Listener, Reactor, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let conversation = reactor.handle().spawn(converse(reactor.handle()));

    // What else the loop waits for: a pipe that a thread writes to.
    let (mut pipe, mut writer) = std::io::pipe()?;
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        writer.write_all(b"the pipe has something\n")
    });

    let mut pipe_is_open = true;
    // A task may be ready already.
    let mut turn = reactor.turn(Some(Duration::ZERO))?;
    while pipe_is_open || !conversation.is_finished() {
        // With work at hand it does not wait, otherwise until the next deadline.
        let timeout = match (turn.more, turn.next_deadline) {
            (true, _) => PollTimeout::ZERO,
            (false, None) => PollTimeout::NONE,
            (false, Some(deadline)) => milliseconds_until(deadline),
        };
        let mut descriptors = vec![PollFd::new(reactor.as_fd(), PollFlags::POLLIN)];
        if pipe_is_open {
            descriptors.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut descriptors, timeout) {
            Err(Errno::EINTR) => {} // a signal was handled; nothing is ready
            polled => drop(polled?),
        }
        let pipe_is_ready = descriptors
            .get(1)
            .is_some_and(|pipe| pipe.any() == Some(true));
        if pipe_is_ready {
            pipe_is_open = read_pipe(&mut pipe)?;
        }
        turn = reactor.turn(Some(Duration::ZERO))?;
    }
    thread.join().expect("it does not panic")?;
    reactor.block_on(conversation)??
}

/// Rounded up, or the loop would spin in the last millisecond.
fn milliseconds_until(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

/// Prints what there is, and returns whether more may come.
fn read_pipe(pipe: &mut PipeReader) -> std::io::Result<bool> {
    let mut some = [0; 1024];
    let count = pipe.read(&mut some)?;
    print!("{}", String::from_utf8_lossy(&some[..count]));
    Ok(count > 0)
}

/// Two tasks of the reactor talk to each other, with pauses.
async fn converse(handle: Handle) -> Result<(), Box<dyn Error>> {
    let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
    let mut here = Stream::connect(&handle, &listener.local_address()).await?;
    let mut there = listener.accept().await?;
    for number in 1..=3_u8 {
        handle.sleep(Duration::from_millis(10)).await;
        here.write_all(&[number]).await?;
        let mut received = [0];
        there.read_exact_into(&mut received).await?;
        println!("the reactor moved a {}", received[0]);
    }
    Ok(())
}
