//! The skeleton of a daemon: one reactor for each core, limits on what a peer may do,
//! an orderly end at SIGTERM, and a line of what is going on at SIGUSR1.
//! `cargo run --example daemon -- 127.0.0.1:7000`. Besides readinto it takes env_logger,
//! futures-util and signal-hook.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use readinto::{BoundListener, DrainGuard, FrameError, FrameReader, FrameWriter, Listener};
use readinto::{Prefix, Reactor, Shard, Shards, Stats, Stream};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

const MAX_FRAME: usize = 16 << 20;
/// Of each thread, as is the memory.
const MAX_CONNECTIONS: usize = 5000;
const MEMORY_BUDGET: usize = 64 << 20;
const DRAIN: Duration = Duration::from_secs(10);
/// How long a peer may take to see that we have ended our side.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    // Stalls and panics of tasks, and want of descriptors.
    let level = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(level).init();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let cores = thread::available_parallelism()?.get();
    let listeners = BoundListener::bind_many(&address.parse()?, cores)?;
    let address = listeners[0].local_address();
    // Before the threads start, so that a signal in the meantime is not lost.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let builder = Reactor::builder()
        .memory_budget(MEMORY_BUDGET)
        .watch_stalls(Duration::from_millis(10));
    let stop = signals.handle();
    let shards = Shards::start(builder, listeners, move |shard, listener| {
        let stop = stop.clone();
        async move {
            let served = serve(shard, listener).await;
            // If one thread fails, the others end too.
            stop.close();
            served
        }
    })?;
    println!("listening on {address}, {cores} threads");

    for signal in signals.forever() {
        match signal {
            SIGUSR1 => println!("{:?}", stats(&shards)),
            _ => break,
        }
    }
    shards.drain();
    let mut cut = 0;
    for ended in shards.join() {
        cut += ended??;
    }
    println!("stopped; connections cut: {cut}");
    Ok(())
}

/// What all threads have done so far.
fn stats<T: Send + 'static>(shards: &Shards<T>) -> Stats {
    let (sender, receiver) = mpsc::channel();
    for remote in shards.remotes() {
        let sender = sender.clone();
        // A thread that has no room for the question, or has ended, is left out.
        let _ = remote.spawn(move |handle| async move {
            let _ = sender.send(handle.stats());
        });
    }
    drop(sender);
    receiver
        .iter()
        .fold(Stats::default(), |all, stats| all.plus(&stats))
}

/// Serves the connections of one thread, and returns how many had to be cut.
async fn serve(shard: Shard, listener: BoundListener) -> io::Result<usize> {
    let listener = listener.attach(&shard.handle)?;
    match select(pin!(accept(&shard, listener)), pin!(shard.drain.begun())).await {
        Either::Left((error, _)) => return Err(error),
        Either::Right(((), _accepting)) => {} // which is dropped, with the listener
    }
    let drained = shard.handle.timeout(DRAIN, shard.drain.finished()).await;
    Ok(drained.map_or_else(|_| shard.drain.unsettled(), |()| 0))
}

/// Accepts until the listener fails, and returns why it did.
async fn accept(shard: &Shard, listener: Listener) -> io::Error {
    loop {
        shard.drain.fewer_than(MAX_CONNECTIONS).await;
        match listener.accept().await {
            Ok(stream) => {
                // Counted from now on, not from when its task is first polled.
                let guard = shard.drain.enter();
                shard.handle.spawn(connection(shard.clone(), stream, guard));
            }
            Err(error) => return error,
        }
    }
}

async fn connection(shard: Shard, stream: Stream, guard: DrainGuard) {
    let peer = stream.peer_address();
    if let Err(error) = answer(&shard, stream, &guard).await {
        eprintln!("{peer}: {error}");
    }
}

/// Answers each frame with itself: the place for what a daemon is for.
async fn answer(shard: &Shard, stream: Stream, guard: &DrainGuard) -> io::Result<()> {
    let minute = Duration::from_secs(60);
    let (read, write) = stream.split();
    let mut questions = FrameReader::new(read, Prefix::U32Be, MAX_FRAME)
        .idle_timeout(10 * minute)
        .frame_timeout(minute)
        .shortage_timeout(minute / 6)
        .drain(&shard.drain);
    let mut answers = FrameWriter::new(write, Prefix::U32Be)
        .stall_timeout(minute)
        .shortage_timeout(minute / 6);
    let answered = answer_all(&mut questions, &mut answers).await;
    let refused = matches!(
        answered,
        Err(FrameError::TooLarge { .. } | FrameError::OverBudget { .. })
    );
    if refused || questions.is_drained() {
        // The peer may be sending still, and not have read the last answers yet.
        guard.settle();
        let lingered = questions.linger(answers, LINGER).await;
        answered?;
        return lingered;
    }
    Ok(answered?)
}

async fn answer_all(
    questions: &mut FrameReader,
    answers: &mut FrameWriter,
) -> Result<(), FrameError> {
    while let Some(question) = questions.next().await? {
        answers.feed(question).await?;
        if !questions.is_next_ready() {
            answers.flush().await?;
        }
    }
    Ok(())
}
