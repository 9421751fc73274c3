//! monoio, over io_uring: buffers are lent to the kernel and come back.
//!
//! Small frames are taken from the buffered reader, those that came together at once.
//! Of a long one header and payload stand in one buffer, so that an answer is one write.

use std::io;

use monoio::buf::IoBufMut;
use monoio::io::{
    AsyncBufRead, AsyncReadRent, AsyncReadRentExt, AsyncWriteRent, AsyncWriteRentExt, BufReader,
};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use super::client::{Job, Wire};
use super::framing::{Bound, Connected, Prefix};
use super::unavailable;

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix) -> io::Result<()> {
    let mut runtime = runtime();
    let bound = Bound::announce(listen)?.nonblocking()?;
    runtime.block_on(async {
        match bound {
            Bound::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    monoio::spawn(complain(stream, prefix));
                }
            }
            Bound::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    monoio::spawn(complain(stream, prefix));
                }
            }
        }
    })
}

fn runtime() -> Runtime<IoUringDriver> {
    RuntimeBuilder::<IoUringDriver>::new()
        .build()
        .unwrap_or_else(|error| unavailable("no io_uring", &error))
}

async fn complain<S: AsyncReadRent + AsyncWriteRent>(stream: S, prefix: Prefix) {
    if let Err(error) = echo(stream, prefix).await {
        eprintln!("a connection ended: {error}");
    }
}

async fn echo<S: AsyncReadRent + AsyncWriteRent>(stream: S, prefix: Prefix) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut frames = Vec::new();
    loop {
        let ahead = stream.fill_buf().await?;
        if ahead.is_empty() {
            return Ok(());
        }
        match prefix.complete(ahead)? {
            // It ends elsewhere. What is longer than the reader's buffer goes past it.
            0 => receive(&mut stream, prefix, &mut frames).await?,
            whole => {
                frames.clear();
                frames.extend_from_slice(&ahead[..whole]);
                stream.consume(whole);
            }
        }
        send(&mut stream, &mut frames).await?;
    }
}

/// Reads one frame, header included.
async fn receive<S: AsyncReadRent>(
    stream: &mut S,
    prefix: Prefix,
    frame: &mut Vec<u8>,
) -> io::Result<()> {
    frame.clear();
    append(stream, frame, prefix.size()).await?;
    let len = prefix.decode(frame)?;
    append(stream, frame, len).await
}

/// Reads exactly `len` bytes behind those that are there, to where nothing was
/// written before.
async fn append<S: AsyncReadRent>(
    stream: &mut S,
    bytes: &mut Vec<u8>,
    len: usize,
) -> io::Result<()> {
    let end = bytes.len() + len;
    bytes.reserve_exact(len);
    let room = std::mem::take(bytes).slice_mut(end - len..end);
    let (read, room) = stream.read_exact(room).await;
    *bytes = room.into_inner();
    read.map(drop)
}

async fn send<S: AsyncWriteRent>(stream: &mut S, frame: &mut Vec<u8>) -> io::Result<()> {
    let (written, sent) = stream.write_all(std::mem::take(frame)).await;
    *frame = sent;
    written.map(drop)
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job) -> io::Result<()> {
    let mut runtime = runtime();
    let stream = Connected::to(connect)?.nonblocking()?;
    runtime.block_on(async {
        match stream {
            Connected::Tcp(stream) => {
                let stream = TcpStream::from_std(stream)?;
                job.ship(&mut Rented::new(stream, prefix, job)).await
            }
            Connected::Unix(stream) => {
                let stream = UnixStream::from_std(stream)?;
                job.ship(&mut Rented::new(stream, prefix, job)).await
            }
        }
    })
}

struct Rented<S> {
    stream: S,
    prefix: Prefix,
    /// Header and payload.
    frames: [Vec<u8>; 2],
    /// The same.
    answer: Vec<u8>,
}

impl<S> Rented<S> {
    fn new(stream: S, prefix: Prefix, job: &Job) -> Rented<S> {
        let header = prefix.encode(job.size());
        let header = &header[..prefix.size()];
        Rented {
            stream,
            prefix,
            frames: [0, 1].map(|turn| [header, &job.payloads[turn]].concat()),
            answer: Vec::with_capacity(header.len() + job.size()),
        }
    }
}

impl<S: AsyncReadRent + AsyncWriteRent> Wire for Rented<S> {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        send(&mut self.stream, &mut self.frames[turn]).await?;
        receive(&mut self.stream, self.prefix, &mut self.answer).await
    }

    fn answer(&self) -> &[u8] {
        &self.answer[self.prefix.size()..]
    }
}
