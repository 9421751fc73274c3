//! smol on one thread: small frames are answered from the buffered reader, those
//! that came together at once; of long ones prefix and payload are read exactly,
//! and leave in a vectored write.

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Instant;

use smol::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use smol::{Async, LocalExecutor};

use super::client::{self, Job, Wire};
use super::framing::{Bound, Connected, Prefix};
use super::room::Room;

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix) -> io::Result<()> {
    let bound = Bound::announce(listen)?;
    let executor = Rc::new(LocalExecutor::new());
    smol::block_on(executor.run(async {
        match bound {
            Bound::Tcp(listener) => accept_tcp(&executor, Async::new(listener)?, prefix).await,
            Bound::Unix(listener) => accept_unix(&executor, Async::new(listener)?, prefix).await,
        }
    }))
}

async fn accept_tcp(
    executor: &LocalExecutor<'static>,
    listener: Async<TcpListener>,
    prefix: Prefix,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        executor.spawn(complain(stream, prefix)).detach();
    }
}

async fn accept_unix(
    executor: &LocalExecutor<'static>,
    listener: Async<UnixListener>,
    prefix: Prefix,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        executor.spawn(complain(stream, prefix)).detach();
    }
}

async fn complain<T>(stream: Async<T>, prefix: Prefix)
where
    for<'a> &'a T: Read + Write,
{
    if let Err(error) = echo(&stream, prefix).await {
        eprintln!("a connection ended: {error}");
    }
}

async fn echo<T>(mut stream: &Async<T>, prefix: Prefix) -> io::Result<()>
where
    for<'a> &'a T: Read + Write,
{
    let mut reader = BufReader::new(stream);
    let mut header = [0; 8];
    let header = &mut header[..prefix.size()];
    let mut payload = Room::default();
    loop {
        let ahead = reader.fill_buf().await?;
        if ahead.is_empty() {
            return Ok(());
        }
        let whole = prefix.complete(ahead)?;
        if whole > 0 {
            stream.write_all(&ahead[..whole]).await?;
            reader.consume(whole);
            continue;
        }
        // It ends elsewhere. What is longer than the reader's buffer goes past it.
        reader.read_exact(header).await?;
        let len = prefix.decode(header)?;
        if payload.len() < len {
            payload.resize(len);
        }
        reader.read_exact(&mut payload[..len]).await?;
        write_both(&mut stream, header, &payload[..len]).await?;
    }
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job) -> io::Result<()> {
    let stream = Connected::to(connect)?;
    smol::block_on(async {
        match stream {
            Connected::Tcp(stream) => {
                let stream = Async::<TcpStream>::new(stream)?;
                job.ship(&mut Exact::new(stream, prefix, job)).await
            }
            Connected::Unix(stream) => {
                let stream = Async::<UnixStream>::new(stream)?;
                job.ship(&mut Exact::new(stream, prefix, job)).await
            }
        }
    })
}

struct Exact<S> {
    stream: S,
    prefix: Prefix,
    frames: [Vec<u8>; 2],
    answer: Room,
}

impl<S> Exact<S> {
    fn new(stream: S, prefix: Prefix, job: &Job) -> Exact<S> {
        Exact {
            stream,
            prefix,
            frames: job.payloads.clone(),
            answer: Room::default(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for Exact<S> {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        let size = self.prefix.size();
        let frame = &self.frames[turn];
        let mut header = self.prefix.encode(frame.len());
        write_both(&mut self.stream, &header[..size], frame).await?;
        self.stream.read_exact(&mut header[..size]).await?;
        self.answer.resize(self.prefix.decode(&header)?);
        self.stream.read_exact(&mut self.answer).await
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}

/// The verb `seed`.
pub(super) fn seed(size: usize, iterations: usize) -> io::Result<()> {
    let executor = Rc::new(LocalExecutor::new());
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let there = listener.get_ref().local_addr()?;
    smol::block_on(executor.run(async {
        let accepting = executor.clone();
        let server =
            executor.spawn(async move { accept_tcp(&accepting, listener, Prefix::U64Le).await });
        let mut answer = vec![0; size];
        let measured = client::seed(&mut answer, iterations, async |payload, answer| {
            let start = Instant::now();
            let mut stream = Async::<TcpStream>::connect(there).await?;
            stream.get_ref().set_nodelay(true)?;
            let mut header = (size as u64).to_le_bytes();
            stream.write_all(&header).await?;
            stream.write_all(payload).await?;
            stream.read_exact(&mut header).await?;
            stream.read_exact(answer).await?;
            Ok(start.elapsed())
        });
        let measured = measured.await;
        server.cancel().await;
        measured
    }))
}

/// Both in one system call, as long as the kernel takes them.
async fn write_both<S: AsyncWrite + Unpin>(
    stream: &mut S,
    header: &[u8],
    payload: &[u8],
) -> io::Result<()> {
    let mut slices = [IoSlice::new(header), IoSlice::new(payload)];
    let mut left = &mut slices[..];
    while left.iter().any(|slice| !slice.is_empty()) {
        match stream.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}
