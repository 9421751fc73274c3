//! readinto, with its default options or polling busily.

use std::io;
use std::time::{Duration, Instant};

use readinto::{
    Address, FrameReader, FrameWriter, Handle, Lease, Listener, Prefix as TheirPrefix, Reactor,
    Stream,
};

use super::client::{self, Job, Wire};
use super::framing::{MAX_FRAME, Prefix};

/// How the reactor waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Asleep,
    BusyPolling,
}

impl Waiting {
    fn reactor(self) -> io::Result<Reactor> {
        match self {
            Waiting::Asleep => Reactor::new(),
            Waiting::BusyPolling => Reactor::builder().busy_poll(BUSY_POLL).build(),
        }
    }
}

/// Longer than a round trip in which one side has to be woken.
const BUSY_POLL: Duration = Duration::from_micros(100);

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix, waiting: Waiting) -> io::Result<()> {
    let mut reactor = waiting.reactor()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &address(listen)?)?;
    println!("listening on {}", listener.local_address());
    reactor.block_on(async {
        loop {
            drop(handle.spawn(echo(listener.accept().await?, theirs(prefix))));
        }
    })?
}

async fn echo(stream: Stream, prefix: TheirPrefix) {
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, prefix, MAX_FRAME as usize);
    let mut answers = FrameWriter::new(write, prefix);
    let echoed: io::Result<()> = async {
        while let Some(payload) = frames.next().await? {
            answers.feed(payload).await?;
            if !frames.is_next_ready() {
                answers.flush().await?;
            }
        }
        Ok(())
    }
    .await;
    if let Err(error) = echoed {
        eprintln!("a connection ended: {error}");
    }
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job, waiting: Waiting) -> io::Result<()> {
    let mut reactor = waiting.reactor()?;
    let handle = reactor.handle();
    reactor.block_on(async {
        let stream = Stream::connect(&handle, &address(connect)?).await?;
        let (read, write) = stream.split();
        let mut wire = Frames {
            reader: FrameReader::new(read, theirs(prefix), MAX_FRAME as usize),
            writer: FrameWriter::new(write, theirs(prefix)),
            frames: job.payloads.clone(),
            answer: handle.lease(job.size()).await?,
        };
        job.ship(&mut wire).await
    })?
}

struct Frames {
    reader: FrameReader,
    writer: FrameWriter,
    frames: [Vec<u8>; 2],
    answer: Lease,
}

impl Wire for Frames {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        self.writer.write(&self.frames[turn]).await?;
        if self.reader.next_len().await?.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // An error if the answer has another length.
        Ok(self.reader.read_payload_into(&mut self.answer).await?)
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}

/// The verb `seed`.
pub(super) fn seed(size: usize, iterations: usize) -> io::Result<()> {
    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &address("127.0.0.1:0")?)?;
    let there = listener.local_address();
    drop(handle.spawn(accept_all(handle.clone(), listener)));
    reactor.block_on(async {
        let mut answer = handle.lease(size).await?;
        client::seed(&mut answer, iterations, async |payload, answer| {
            let start = Instant::now();
            let mut stream = Stream::connect(&handle, &there).await?;
            let mut header = (size as u64).to_le_bytes();
            stream.write_all(&header).await?;
            stream.write_all(payload).await?;
            stream.read_exact_into(&mut header).await?;
            stream.read_exact_into(answer).await?;
            Ok(start.elapsed())
        })
        .await
    })?
}

async fn accept_all(handle: Handle, listener: Listener) {
    while let Ok(stream) = listener.accept().await {
        drop(handle.spawn(echo(stream, TheirPrefix::U64Le)));
    }
}

fn theirs(prefix: Prefix) -> TheirPrefix {
    match prefix {
        Prefix::U32Be => TheirPrefix::U32Be,
        Prefix::U64Le => TheirPrefix::U64Le,
    }
}

fn address(text: &str) -> io::Result<Address> {
    text.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
