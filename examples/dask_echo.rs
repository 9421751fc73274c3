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
use std::time::Duration;

use clap::{Args, Parser};
use readinto::{Address, Handle, Lease, Listener, Reactor, Stream, StreamError};

/// Send every message of a Dask comm back to where it came from
#[derive(Parser)]
struct Options {
    /// Where to listen: host:port, with port 0 for any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8786")]
    listen: Address,

    /// The most memory for all messages together; those that don't fit wait
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    memory: usize,

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
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    max_frames: u32,

    /// How long a message may take from its beginning to the end of its answer
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    timeout: Duration,
}

/// A number of bytes: MB is 10^6, MiB is 2^20.
fn size(text: &str) -> Result<usize, Box<dyn Error + Send + Sync>> {
    Ok(parse_size::parse_size(text)?.try_into()?)
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut reactor = Reactor::builder().memory_budget(options.memory).build()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &options.listen)?;
    println!("listening on {}", listener.local_address());
    reactor.block_on(accept(&handle, &listener, options.limits))?
}

/// Serves each connection in a task of its own.
async fn accept(handle: &Handle, listener: &Listener, limits: Limits) -> io::Result<()> {
    loop {
        let mut stream = listener.accept().await?;
        let connection = handle.clone();
        handle.spawn(async move {
            if let Err(error) = serve(&connection, &mut stream, limits).await {
                eprintln!(
                    "closed the connection from {}: {error}",
                    stream.peer_address()
                );
            }
        });
    }
}

/// Shakes hands, then returns each message, until the peer ends the connection.
async fn serve(handle: &Handle, stream: &mut Stream, limits: Limits) -> io::Result<()> {
    // Both sides send before they read, so neither waits for the other.
    stream.write_all(&handshake()).await?;
    // What theirs says is for who reads their messages, and that will be they.
    let greeted = Message::receive(handle, stream, limits).await?.is_some();
    while greeted && let Some(message) = Message::receive(handle, stream, limits).await? {
        message.send(handle, stream, limits).await?;
    }
    Ok(())
}

/// A message, as it is on the wire.
struct Message {
    n0: [u8; 8],
    nframes: [u8; 8],
    lengths: Lease,
    frames: Lease,
}

impl Message {
    /// The next message, or `None` where the peer ends the stream between two.
    async fn receive(
        handle: &Handle,
        stream: &mut Stream,
        limits: Limits,
    ) -> io::Result<Option<Message>> {
        let mut n0 = [0; 8];
        match stream.read_exact_into(&mut n0).await {
            Err(StreamError::Eof { filled: 0, .. }) => return Ok(None),
            begun => begun?,
        }
        let rest = Message::receive_after(n0, handle, stream, limits);
        handle.timeout(limits.timeout, rest).await?.map(Some)
    }

    async fn receive_after(
        n0: [u8; 8],
        handle: &Handle,
        stream: &mut Stream,
        limits: Limits,
    ) -> io::Result<Message> {
        let mut nframes = [0; 8];
        stream.read_exact_into(&mut nframes).await?;
        let lengths_len = limits.check_count(u64::from_le_bytes(nframes))?;
        let mut lengths = handle.lease(lengths_len).await?;
        stream.read_exact_into(&mut lengths).await?;
        let frames_len = limits.check_lengths(u64::from_le_bytes(n0), &lengths)?;
        // All of them at once: they follow each other, in the first part and behind it.
        let mut frames = handle.lease(frames_len).await?;
        stream.read_exact_into(&mut frames).await?;
        Ok(Message {
            n0,
            nframes,
            lengths,
            frames,
        })
    }

    async fn send(&self, handle: &Handle, stream: &mut Stream, limits: Limits) -> io::Result<()> {
        let parts: [&[u8]; 4] = [&self.n0, &self.nframes, &self.lengths, &self.frames];
        handle
            .timeout(limits.timeout, stream.write_all(&parts))
            .await??;
        Ok(())
    }
}

impl Limits {
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
