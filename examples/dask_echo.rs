//! An echo server for [Dask's `distributed`](https://distributed.dask.org): its own
//! client connects, shakes hands, and gets each message back.
//!
//! ```console
//! $ cargo run --release --example dask_echo -- --listen 127.0.0.1:8786
//! listening on 127.0.0.1:8786
//! ```
//!
//! ```python
//! comm = await distributed.comm.connect("tcp://127.0.0.1:8786")
//! await comm.write({"x": distributed.protocol.to_serialize(array)})
//! assert ((await comm.read())["x"] == array).all()
//! ```
//!
//! A message is a list of frames; what they mean is between the clients. On the wire,
//! all integers being u64 in little-endian order:
//!
//! ```text
//! n0                    how long the first part is, which ends where a frame does:
//!     nframes           how many frames there are
//!     nframes lengths   of each frame
//!     frames            the first of them, or none, or all
//! frames                the others
//! ```
//!
//! The protocol has no limits. This server has, and refuses what is beyond them. All
//! that is in flight shares the memory that the reactor lends.

use std::error::Error;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::time::Duration;

use clap::{Args, Parser};
use readinto::{Address, Drain, Handle, Lease, Listener, Reactor, Stream, StreamError};

/// Send every message of a Dask comm back to where it came from.
#[derive(Parser)]
#[command(after_help = "A SIZE is as in 4096, 64KiB, 100MB.")]
struct Options {
    /// Where to listen: host:port, with port 0 for any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8786")]
    listen: Address,

    /// The most memory for all messages together; those that don't fit wait
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    memory: usize,

    /// The most connections at once; further ones wait
    #[arg(long, value_name = "N", default_value = "1000")]
    max_connections: NonZero<usize>,

    /// How long to poll after the last event before going to sleep
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    busy_poll: u64,

    #[command(flatten)]
    limits: Limits,
}

/// What a message may be.
#[derive(Args, Clone, Copy)]
struct Limits {
    /// The longest message that is accepted
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    max_message: usize,

    /// The most frames that are accepted in one message
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_frames: u32,

    /// How long a message may take to arrive, room for it included, and its answer to leave
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// A number of bytes: MB is 10^6, MiB is 2^20.
fn size(text: &str) -> Result<usize, Box<dyn Error + Send + Sync>> {
    Ok(parse_size::parse_size(text)?.try_into()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut reactor = Reactor::builder()
        .memory_budget(options.memory)
        .busy_poll(Duration::from_micros(options.busy_poll))
        .build()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &options.listen)?;
    println!("listening on {}", listener.local_address());
    reactor.block_on(accept(&handle, &listener, &options))??;
    Ok(())
}

/// Serves each connection in a task of its own, until the listener fails.
async fn accept(handle: &Handle, listener: &Listener, options: &Options) -> io::Result<()> {
    let connections = Drain::new();
    loop {
        connections.fewer_than(options.max_connections.get()).await;
        let mut comm = Comm {
            stream: listener.accept().await?,
            handle: handle.clone(),
            limits: options.limits,
        };
        let counted = connections.enter();
        handle.spawn(async move {
            let _counted = counted;
            if let Err(error) = comm.serve().await {
                let peer = comm.stream.peer_address();
                eprintln!("closed the connection from {peer}: {error}");
            }
        });
    }
}

/// One end of a connection.
struct Comm {
    stream: Stream,
    handle: Handle,
    limits: Limits,
}

/// A message, as it is on the wire.
struct Message {
    n0: [u8; 8],
    nframes: [u8; 8],
    lengths: Vec<u8>,
    frames: Lease,
}

impl Comm {
    /// Shakes hands, then returns each message, until the peer ends the connection.
    async fn serve(&mut self) -> io::Result<()> {
        // Both sides send before they read, so neither waits for the other.
        self.stream.write_all(&handshake()).await?;
        // What theirs says is for who reads their messages, and that will be they.
        let greeted = self.receive().await?.is_some();
        while greeted && let Some(message) = self.receive().await? {
            self.send(&message).await?;
        }
        Ok(())
    }

    /// The next message, or `None` where the peer ends the stream between two.
    async fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut n0 = [0; 8];
        match self.stream.read_exact_into(&mut n0).await {
            Err(StreamError::Eof { filled: 0, .. }) => return Ok(None),
            begun => begun?,
        }
        let handle = self.handle.clone();
        let rest = handle.timeout(self.limits.timeout(), self.receive_rest(n0));
        rest.await?.map(Some)
    }

    async fn receive_rest(&mut self, n0: [u8; 8]) -> io::Result<Message> {
        let mut nframes = [0; 8];
        self.stream.read_exact_into(&mut nframes).await?;
        let len = self.limits.check_count(u64::from_le_bytes(nframes))?;
        // Not of the memory that all share: who holds some and waits for more may wait
        // for one who does the same.
        let mut lengths = vec![0; len];
        self.stream.read_exact_into(&mut lengths).await?;
        let first_part = u64::from_le_bytes(n0);
        let len = self.limits.check_lengths(first_part, &lengths)?;
        // All at once: those behind the first part follow those in it.
        let mut frames = self.handle.lease(len).await?;
        self.stream.read_exact_into(&mut frames).await?;
        Ok(Message {
            n0,
            nframes,
            lengths,
            frames,
        })
    }

    async fn send(&mut self, message: &Message) -> io::Result<()> {
        let parts: [&[u8]; 4] = [
            &message.n0,
            &message.nframes,
            &message.lengths,
            &message.frames,
        ];
        let sending = self.stream.write_all(&parts);
        self.handle
            .timeout(self.limits.timeout(), sending)
            .await??;
        Ok(())
    }
}

impl Limits {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The length of the list of so many lengths, if there may be so many frames.
    fn check_count(&self, nframes: u64) -> io::Result<usize> {
        if nframes > self.max_frames.into() {
            return Err(refused(format_args!("{nframes} frames (see --max-frames)")));
        }
        Ok(8 * nframes as usize)
    }

    /// The length of all frames together, if it may be, and if the first part ends
    /// where a frame does.
    fn check_lengths(&self, n0: u64, lengths: &[u8]) -> io::Result<usize> {
        let frames_start = 8 + lengths.len() as u64;
        let mut end = frames_start;
        let mut first_part_ends = n0 == end;
        for length in lengths.as_chunks().0 {
            end = end.saturating_add(u64::from_le_bytes(*length));
            first_part_ends |= n0 == end;
        }
        let len = end.saturating_add(8);
        if len > self.max_message as u64 {
            return Err(refused(format_args!("{len} bytes (see --max-message)")));
        }
        if !first_part_ends {
            return Err(refused(format_args!(
                "{len} bytes, whose first part of {n0} ends inside of a frame"
            )));
        }
        Ok((end - frames_start) as usize)
    }
}

fn refused(message: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("refused a message of {message}"),
    )
}

/// A message of one frame, which says of its sender in msgpack:
/// `{"compression": None, "pickle-protocol": 5}`.
///
/// A client will use the lower pickle protocol of both sides, and a compression only
/// if both name it.
fn handshake() -> Vec<u8> {
    let frame = b"\x82\xabcompression\xc0\xafpickle-protocol\x05";
    let len = frame.len() as u64;
    let (n0, nframes) = (16 + len, 1u64);
    let mut message = [n0, nframes, len].map(u64::to_le_bytes).concat();
    message.extend(frame);
    message
}
