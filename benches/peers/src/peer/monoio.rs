//! monoio, over io_uring: buffers are lent to the kernel and come back.
//!
//! Header and payload stand in one buffer, so that an answer is one write.

use std::io;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncReadRentExt, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use super::client::{Job, Wire};
use super::framing::{Bound, Connected, Prefix, is_end};
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

async fn echo<S: AsyncReadRent + AsyncWriteRent>(mut stream: S, prefix: Prefix) -> io::Result<()> {
    // Room for any prefix. The rest comes with a frame: an idle connection holds
    // no more than it was sent.
    let mut frame = vec![0; 8];
    loop {
        match receive(&mut stream, prefix, &mut frame).await {
            Err(error) if is_end(&error) => return Ok(()),
            received => received?,
        };
        let len = prefix.size() + prefix.decode(&frame)?;
        send(&mut stream, &mut frame, len).await?;
    }
}

/// Reads one frame, header included, and returns the length of its payload.
async fn receive<S: AsyncReadRent>(
    stream: &mut S,
    prefix: Prefix,
    frame: &mut Vec<u8>,
) -> io::Result<usize> {
    let size = prefix.size();
    let header = std::mem::take(frame).slice_mut(..size);
    let (read, header) = stream.read_exact(header).await;
    *frame = header.into_inner();
    read?;
    let len = prefix.decode(frame)?;
    if frame.len() < size + len {
        frame.resize(size + len, 0);
    }
    let payload = std::mem::take(frame).slice_mut(size..size + len);
    let (read, payload) = stream.read_exact(payload).await;
    *frame = payload.into_inner();
    read.map(|_| len)
}

async fn send<S: AsyncWriteRent>(
    stream: &mut S,
    frame: &mut Vec<u8>,
    len: usize,
) -> io::Result<()> {
    let (written, slice) = stream.write_all(std::mem::take(frame).slice(..len)).await;
    *frame = slice.into_inner();
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
    frame: Vec<u8>,
    /// The same.
    answer: Vec<u8>,
    answered: usize,
}

impl<S> Rented<S> {
    fn new(stream: S, prefix: Prefix, job: &Job) -> Rented<S> {
        let header = prefix.encode(job.payload.len());
        let mut frame = header[..prefix.size()].to_vec();
        frame.extend_from_slice(&job.payload);
        Rented {
            stream,
            prefix,
            answer: vec![0; frame.len()],
            frame,
            answered: 0,
        }
    }
}

impl<S: AsyncReadRent + AsyncWriteRent> Wire for Rented<S> {
    async fn exchange(&mut self) -> io::Result<()> {
        let len = self.frame.len();
        send(&mut self.stream, &mut self.frame, len).await?;
        self.answered = receive(&mut self.stream, self.prefix, &mut self.answer).await?;
        Ok(())
    }

    fn answer(&self) -> &[u8] {
        let size = self.prefix.size();
        &self.answer[size..size + self.answered]
    }
}
