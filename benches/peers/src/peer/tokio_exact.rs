//! tokio on one thread: exact reads of prefix and payload, one vectored write.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Buf;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};

use super::Tuning;
use super::client::{self, Job, Wire};
use super::framing::{Bound, Connected, Prefix, is_end};
use super::room::Room;

/// Where a payload goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// Into one buffer per connection.
    Reused(Tuning),
    /// Into a new one per frame.
    Fresh,
}

impl Style {
    fn tuning(self) -> Tuning {
        match self {
            Style::Reused(tuning) => tuning,
            Style::Fresh => Tuning::Default,
        }
    }
}

/// The runtime of all tokio rows.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().build()
}

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix, style: Style) -> io::Result<()> {
    let bound = Bound::announce(listen)?.nonblocking()?;
    runtime()?.block_on(async {
        match bound {
            Bound::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let stream = match listener.accept().await {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            wait_after(&error).await;
                            continue;
                        }
                    };
                    style.tuning().apply(&SockRef::from(&stream))?;
                    tokio::spawn(complain(stream, prefix, style));
                }
            }
            Bound::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                loop {
                    let stream = match listener.accept().await {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            wait_after(&error).await;
                            continue;
                        }
                    };
                    style.tuning().apply(&SockRef::from(&stream))?;
                    tokio::spawn(complain(stream, prefix, style));
                }
            }
        }
    })
}

/// A listener that may be out of descriptors is asked again a second later, as
/// `axum::serve` has it (`handle_accept_error`, axum 0.8).
async fn wait_after(error: &io::Error) {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    eprintln!("cannot accept: {error}");
    // The runtime has no timers: the rows that are measured need none.
    let waited = tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(1))).await;
    waited.expect("sleeping does not panic");
}

async fn complain<S: AsyncRead + AsyncWrite + Unpin>(stream: S, prefix: Prefix, style: Style) {
    if let Err(error) = echo(stream, prefix, style).await {
        eprintln!("a connection ended: {error}");
    }
}

async fn echo<S>(mut stream: S, prefix: Prefix, style: Style) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut header = [0; 8];
    let header = &mut header[..prefix.size()];
    let mut payload = Room::new(style.tuning(), 0);
    loop {
        match stream.read_exact(header).await {
            Err(error) if is_end(&error) => return Ok(()),
            read => read?,
        };
        let len = prefix.decode(header)?;
        match style {
            Style::Reused(_) if payload.len() >= len => {}
            Style::Reused(_) => payload.resize(len),
            Style::Fresh => payload = Room::new(style.tuning(), len),
        }
        stream.read_exact(&mut payload[..len]).await?;
        let mut answer = Buf::chain(&header[..], &payload[..len]);
        stream.write_all_buf(&mut answer).await?;
    }
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job, style: Style) -> io::Result<()> {
    let stream = Connected::to(connect)?.nonblocking()?;
    runtime()?.block_on(async {
        match stream {
            Connected::Tcp(stream) => {
                style.tuning().apply(&SockRef::from(&stream))?;
                let stream = TcpStream::from_std(stream)?;
                job.ship(&mut Exact::new(stream, prefix, job, style)).await
            }
            Connected::Unix(stream) => {
                style.tuning().apply(&SockRef::from(&stream))?;
                let stream = UnixStream::from_std(stream)?;
                job.ship(&mut Exact::new(stream, prefix, job, style)).await
            }
        }
    })
}

struct Exact<S> {
    stream: S,
    prefix: Prefix,
    frames: [Vec<u8>; 2],
    answer: Room,
    style: Style,
}

impl<S> Exact<S> {
    fn new(stream: S, prefix: Prefix, job: &Job, style: Style) -> Exact<S> {
        Exact {
            stream,
            prefix,
            frames: job.payloads.clone(),
            answer: Room::new(style.tuning(), 0),
            style,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for Exact<S> {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        let size = self.prefix.size();
        let payload = &self.frames[turn];
        let mut header = self.prefix.encode(payload.len());
        let mut frame = Buf::chain(&header[..size], &payload[..]);
        self.stream.write_all_buf(&mut frame).await?;
        self.stream.read_exact(&mut header[..size]).await?;
        let len = self.prefix.decode(&header)?;
        match self.style {
            Style::Reused(_) => self.answer.resize(len),
            Style::Fresh => self.answer = Room::new(self.style.tuning(), len),
        }
        self.stream.read_exact(&mut self.answer).await.map(drop)
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}

/// The verb `seed`.
pub(super) fn seed(size: usize, iterations: usize) -> io::Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let there = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if stream.set_nodelay(true).is_ok() {
                    let style = Style::Reused(Tuning::Default);
                    tokio::spawn(complain(stream, Prefix::U64Le, style));
                }
            }
        });
        let mut answer = vec![0; size];
        client::seed(&mut answer, iterations, async |payload, answer| {
            let start = Instant::now();
            let mut stream = TcpStream::connect(there).await?;
            stream.set_nodelay(true)?;
            let mut header = (size as u64).to_le_bytes();
            stream.write_all(&header).await?;
            stream.write_all(payload).await?;
            stream.read_exact(&mut header).await?;
            stream.read_exact(answer).await?;
            Ok(start.elapsed())
        })
        .await
    })
}
