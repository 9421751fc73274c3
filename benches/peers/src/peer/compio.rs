//! compio, over io_uring: buffers are lent to the kernel and come back.
//!
//! Header and payload stand in one buffer, so that an answer is one write, and one for
//! all small frames that came together.

use std::io;

use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use compio::runtime::{Runtime, RuntimeBuilder};

use super::client::{Job, Wire};
use super::framing::{Bound, Connected, Prefix};
use super::unavailable;

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix) -> io::Result<()> {
    let runtime = runtime();
    let bound = Bound::announce(listen)?;
    runtime.block_on(async {
        match bound {
            Bound::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    compio::runtime::spawn(complain(stream, prefix)).detach();
                }
            }
            Bound::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    compio::runtime::spawn(complain(stream, prefix)).detach();
                }
            }
        }
    })
}

/// As compio's documentation has it for one thread: completions wait until the loop looks.
fn runtime() -> Runtime {
    let mut proactor = ProactorBuilder::new();
    proactor.coop_taskrun(true).taskrun_flag(true);
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build();
    runtime.unwrap_or_else(|error| unavailable("no io_uring", &error))
}

async fn complain<S: AsyncRead + AsyncWrite>(stream: S, prefix: Prefix) {
    if let Err(error) = echo(stream, prefix).await {
        eprintln!("a connection ended: {error}");
    }
}

async fn echo<S: AsyncRead + AsyncWrite>(mut stream: S, prefix: Prefix) -> io::Result<()> {
    let mut frames = Vec::new();
    loop {
        // All of a long frame, or else many short ones.
        let room = prefix.needed(&frames)?.max(AHEAD);
        frames.reserve_exact(room - frames.len());
        let BufResult(read, lent) = stream.append(frames).await;
        frames = lent;
        if read? == 0 {
            return match frames.is_empty() {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let whole = prefix.complete(&frames)?;
        send(&mut stream, &mut frames, whole).await?;
        frames.drain(..whole);
    }
}

/// As much as compio's `BufReader`, which has long reads pass through its buffer too.
const AHEAD: usize = 8 * 1024;

/// Reads one frame, header included, and returns the length of its payload.
async fn receive<S: AsyncRead>(
    stream: &mut S,
    prefix: Prefix,
    frame: &mut Vec<u8>,
) -> io::Result<usize> {
    let size = prefix.size();
    let header = std::mem::take(frame).slice(..size);
    let BufResult(read, header) = stream.read_exact(header).await;
    *frame = header.into_inner();
    read?;
    let len = prefix.decode(frame)?;
    if frame.len() < size + len {
        frame.resize(size + len, 0);
    }
    let payload = std::mem::take(frame).slice(size..size + len);
    let BufResult(read, payload) = stream.read_exact(payload).await;
    *frame = payload.into_inner();
    read?;
    Ok(len)
}

async fn send<S: AsyncWrite>(stream: &mut S, frame: &mut Vec<u8>, len: usize) -> io::Result<()> {
    let BufResult(written, slice) = stream.write_all(std::mem::take(frame).slice(..len)).await;
    *frame = slice.into_inner();
    written.map(drop)
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job) -> io::Result<()> {
    let runtime = runtime();
    let stream = Connected::to(connect)?;
    runtime.block_on(async {
        match stream {
            Connected::Tcp(stream) => {
                let stream = TcpStream::from_std(stream)?;
                job.ship(&mut Lent::new(stream, prefix, job)).await
            }
            Connected::Unix(stream) => {
                let stream = UnixStream::from_std(stream)?;
                job.ship(&mut Lent::new(stream, prefix, job)).await
            }
        }
    })
}

struct Lent<S> {
    stream: S,
    prefix: Prefix,
    /// Header and payload.
    frames: [Vec<u8>; 2],
    /// The same.
    answer: Vec<u8>,
    answered: usize,
}

impl<S> Lent<S> {
    fn new(stream: S, prefix: Prefix, job: &Job) -> Lent<S> {
        let header = prefix.encode(job.size());
        let header = &header[..prefix.size()];
        Lent {
            stream,
            prefix,
            frames: [0, 1].map(|turn| [header, &job.payloads[turn]].concat()),
            answer: vec![0; header.len() + job.size()],
            answered: 0,
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Wire for Lent<S> {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        let frame = &mut self.frames[turn];
        let len = frame.len();
        send(&mut self.stream, frame, len).await?;
        self.answered = receive(&mut self.stream, self.prefix, &mut self.answer).await?;
        Ok(())
    }

    fn answer(&self) -> &[u8] {
        let size = self.prefix.size();
        &self.answer[size..size + self.answered]
    }
}
