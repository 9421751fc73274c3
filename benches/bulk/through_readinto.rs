//! The library as a program would use it: a task per connection, frames in and
//! frames out.

use std::io;
use std::sync::mpsc;

use readinto::{Address, FrameReader, FrameWriter, Handle, Listener, Prefix, Reactor, Stream};

use crate::ends::{self, Server, SocketOptions};
use crate::exchange::Exchange;

/// Starts a server for one connection; returns where it listens.
pub(crate) fn serve(address: Address) -> io::Result<(Server, Address)> {
    let (tell, told) = mpsc::channel();
    let server = Server::start(move || {
        let mut reactor = Reactor::new()?;
        let handle = reactor.handle();
        let listener = Listener::bind(&handle, &address)?;
        // Nobody asks any more if starting has failed at the other end.
        let _ = tell.send(listener.local_address());
        reactor.block_on(serve_one(&handle, &listener))?
    })?;
    match told.recv() {
        Ok(address) => Ok((server, address)),
        Err(_) => {
            server.join()?;
            Err(io::Error::other("the server ended before it listened"))
        }
    }
}

async fn serve_one(handle: &Handle, listener: &Listener) -> io::Result<()> {
    let (read, write) = listener.accept().await?.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, u32::MAX as usize);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    let echo = handle.spawn(async move {
        while let Some(payload) = frames.next().await? {
            answers.write(payload).await?;
        }
        Ok(())
    });
    echo.await
        .map_err(|error| io::Error::other(error.to_string()))?
}

/// The end that is timed.
pub(crate) struct Client {
    reactor: Reactor,
    frames: FrameWriter,
    answers: FrameReader,
}

impl Client {
    pub(crate) fn connect(address: &Address) -> io::Result<Client> {
        let mut reactor = Reactor::new()?;
        let handle = reactor.handle();
        let stream = reactor.block_on(Stream::connect(&handle, address))??;
        let (read, write) = stream.split();
        Ok(Client {
            reactor,
            frames: FrameWriter::new(write, Prefix::U32Be),
            answers: FrameReader::new(read, Prefix::U32Be, u32::MAX as usize),
        })
    }
}

impl ends::Client for Client {
    fn options(&self) -> io::Result<SocketOptions> {
        SocketOptions::of(&self.frames.get_ref().socket())
    }

    fn echo(&mut self, exchange: &mut Exchange, frames: usize) -> io::Result<()> {
        let Client {
            reactor,
            frames: writer,
            answers,
        } = self;
        reactor.block_on(async {
            for number in 0..frames {
                exchange.stamp(number);
                writer.write(&exchange.payload).await?;
                if answers.next_len().await?.is_none() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // An error if the answer has another length.
                answers.read_payload_into(exchange.answer()).await?;
                exchange.check_stamp()?;
            }
            Ok(())
        })?
    }
}
