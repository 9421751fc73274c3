//! tokio on one thread, with tokio-util's `LengthDelimitedCodec`.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::client::{Job, Wire};
use super::framing::{Bound, Connected, MAX_FRAME, Prefix};
use super::tokio_exact::runtime;

/// How frames get from the stream to the sink.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// `StreamExt::forward`, which lets answers pile up.
    Forward,
    /// A loop that sends each, and flushes.
    Loop,
}

/// The verb `serve`. It asks again at once after whatever error of `accept`, as many
/// servers do; those with exact reads wait.
pub(super) fn serve(listen: &str, prefix: Prefix, style: Style) -> io::Result<()> {
    let bound = Bound::announce(listen)?.nonblocking()?;
    runtime()?.block_on(async {
        match bound {
            Bound::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        continue;
                    };
                    stream.set_nodelay(true)?;
                    tokio::spawn(complain(stream, prefix, style));
                }
            }
            Bound::Unix(listener) => {
                let listener = UnixListener::from_std(listener)?;
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        continue;
                    };
                    tokio::spawn(complain(stream, prefix, style));
                }
            }
        }
    })
}

async fn complain<S: AsyncRead + AsyncWrite + Unpin>(stream: S, prefix: Prefix, style: Style) {
    let framed = framed(stream, prefix);
    let echoed = match style {
        Style::Forward => {
            let (sink, frames) = framed.split();
            frames.map_ok(BytesMut::freeze).forward(sink).await
        }
        Style::Loop => answer_each(framed).await,
    };
    if let Err(error) = echoed {
        eprintln!("a connection ended: {error}");
    }
}

async fn answer_each<S: AsyncRead + AsyncWrite + Unpin>(
    mut framed: Framed<S, LengthDelimitedCodec>,
) -> io::Result<()> {
    while let Some(frame) = framed.next().await {
        framed.send(frame?.freeze()).await?;
    }
    Ok(())
}

fn framed<S: AsyncRead + AsyncWrite>(stream: S, prefix: Prefix) -> Framed<S, LengthDelimitedCodec> {
    let mut codec = LengthDelimitedCodec::builder();
    codec.length_field_length(prefix.size());
    codec.max_frame_length(MAX_FRAME as usize);
    match prefix {
        Prefix::U32Be => codec.big_endian(),
        Prefix::U64Le => codec.little_endian(),
    };
    codec.new_framed(stream)
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job) -> io::Result<()> {
    let stream = Connected::to(connect)?.nonblocking()?;
    runtime()?.block_on(async {
        match stream {
            Connected::Tcp(stream) => {
                let stream = TcpStream::from_std(stream)?;
                job.ship(&mut Coded::new(stream, prefix, job)).await
            }
            Connected::Unix(stream) => {
                let stream = UnixStream::from_std(stream)?;
                job.ship(&mut Coded::new(stream, prefix, job)).await
            }
        }
    })
}

struct Coded<S> {
    framed: Framed<S, LengthDelimitedCodec>,
    frames: [Bytes; 2],
    answer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite> Coded<S> {
    fn new(stream: S, prefix: Prefix, job: &Job) -> Coded<S> {
        Coded {
            framed: framed(stream, prefix),
            frames: job.payloads.clone().map(Bytes::from),
            answer: BytesMut::new(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for Coded<S> {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        // The codec may take its memory back.
        self.answer = BytesMut::new();
        self.framed.send(self.frames[turn].clone()).await?;
        let answer = self.framed.next().await;
        self.answer = answer.ok_or(io::ErrorKind::UnexpectedEof)??;
        Ok(())
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}
