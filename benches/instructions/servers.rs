//! The servers: each echoes the frames of one connection, until it ends.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;

use mio::net::TcpStream as MioStream;
use mio::{Events, Interest, Poll, Token};
use readinto::{FrameReader, FrameWriter, Listener, Prefix, Reactor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How a server is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The library's frames, as its documentation shows them.
    Readinto,
    /// tokio on one thread: exact reads of prefix and payload, one write.
    TokioExact,
    /// mio alone: one read, one write, nothing in between.
    HandWritten,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Readinto, Kind::TokioExact, Kind::HandWritten];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Readinto => "readinto",
            Kind::TokioExact => "tokio-exact",
            Kind::HandWritten => "hand-written",
        })
    }
}

/// Serves one connection as the server with this name.
pub(crate) fn run(name: &str) -> Result<(), Box<dyn Error>> {
    match Kind::ALL.into_iter().find(|kind| kind.to_string() == name) {
        Some(Kind::Readinto) => readinto(),
        Some(Kind::TokioExact) => tokio_exact(),
        Some(Kind::HandWritten) => hand_written(),
        None => Err(format!("there is no server {name:?}").into()),
    }
}

const MAX: usize = 1024;

fn readinto() -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
    println!("{}", listener.local_address());
    reactor.block_on(async {
        let (read, write) = listener.accept().await?.split();
        let echo = handle.spawn(async move {
            let mut frames = FrameReader::new(read, Prefix::U32Be, MAX);
            let mut answers = FrameWriter::new(write, Prefix::U32Be);
            while let Some(payload) = frames.next().await? {
                answers.feed(payload).await?;
                if !frames.is_next_ready() {
                    answers.flush().await?;
                }
            }
            Ok::<(), io::Error>(())
        });
        Ok(echo.await??)
    })?
}

fn tokio_exact() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let echo = tokio::spawn(async move {
            let mut frame = vec![0; 4 + MAX];
            loop {
                match stream.read_exact(&mut frame[..4]).await {
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                    read => read?,
                };
                let len = u32::from_be_bytes(frame[..4].try_into().expect("four bytes")) as usize;
                if len > MAX {
                    return Err(ErrorKind::InvalidData.into());
                }
                stream.read_exact(&mut frame[4..4 + len]).await?;
                stream.write_all(&frame[..4 + len]).await?;
            }
        });
        let echoed: io::Result<()> = echo.await?;
        Ok(echoed?)
    })
}

fn hand_written() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut stream = MioStream::from_std(stream);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    poll.registry()
        .register(&mut stream, Token(0), Interest::READABLE)?;
    let mut frames = vec![0; 16 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        let filled = match stream.read(&mut frames) {
            Ok(0) => return Ok(()),
            Ok(filled) => filled,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        // It counts on whole frames, which is all that this client sends.
        let mut whole = 0;
        while let Some(prefix) = frames[..filled].get(whole..).and_then(<[u8]>::first_chunk) {
            whole += 4 + u32::from_be_bytes(*prefix) as usize;
        }
        if whole != filled {
            return Err("a frame in pieces".into());
        }
        stream.write_all(&frames[..filled])?;
    }
}
