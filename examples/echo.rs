//! An echo server in twenty lines: frames of up to 1 MiB, each behind its length in
//! four bytes. `cargo run --example echo`, then `cargo run --example client`.

use std::io;

use readinto::{FrameReader, FrameWriter, Listener, Prefix, Reactor, Stream};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &address.parse()?)?;
    println!("listening on {}", listener.local_address());
    reactor.block_on(async {
        loop {
            handle.spawn(echo(listener.accept().await?));
        }
    })?
}

async fn echo(stream: Stream) -> io::Result<()> {
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, 1 << 20);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(payload) = frames.next().await? {
        answers.write(payload).await?;
    }
    Ok(())
}
