//! A network block device server: a disk in memory, or a file, for `qemu`,
//! `nbd-client` and all others that speak NBD.
//!
//! ```text
//! cargo run --release --example nbd -- --listen 127.0.0.1:10809 --size 1GiB
//! qemu-img info nbd://127.0.0.1:10809
//! ```
//!
//! The protocol is <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>:
//! the fixed newstyle handshake and simple replies, with one export that has no
//! name. Each connection is a task. It answers its requests in order, and has its
//! payloads received where the disk wants them.
//!
//! There is no encryption, and whoever can connect can read and write all.

mod connection;
mod disk;
mod handshake;
mod protocol;
mod wire;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use parse_size::parse_size;
use readinto::{Address, Handle, Listener, Reactor};

use connection::Connection;
use disk::Disk;

/// Serve a disk over NBD.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen: host:port, or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10809")]
    listen: Address,

    /// Serve an empty disk in memory, as large as 1GiB, say
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| parse_size(text))]
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    size: Option<u64>,

    /// Serve this file, or block device
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    /// How many seconds a client may take for its handshake
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    handshake_timeout: u64,

    /// For how many microseconds to poll after the last event before going to sleep
    #[arg(long, value_name = "MICROSECONDS", default_value = "0")]
    busy_poll: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nbd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let disk = match (&options.file, options.size) {
        (Some(path), _) => {
            Disk::open(path).map_err(|error| format!("{}: {error}", path.display()))?
        }
        (None, size) => Disk::in_memory(size.expect("one of the two is required")),
    };
    let busy_poll = Duration::from_micros(options.busy_poll);
    let mut reactor = Reactor::builder().busy_poll(busy_poll).build()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &options.listen)?;
    println!("listening on {}", listener.local_address());
    io::stdout().flush()?;
    let patience = Duration::from_secs(options.handshake_timeout);
    reactor.block_on(serve(handle, listener, Rc::new(disk), patience))??;
    Ok(())
}

/// Gives each client a task of its own.
async fn serve(
    handle: Handle,
    listener: Listener,
    disk: Rc<Disk>,
    patience: Duration,
) -> io::Result<()> {
    loop {
        let mut stream = listener.accept().await?;
        let (tasks, disk) = (handle.clone(), disk.clone());
        handle.spawn(async move {
            let peer = stream.peer_address();
            let greeting = handshake::agree(&mut stream, disk.size());
            let ended = match tasks.timeout(patience, greeting).await {
                Ok(Ok(true)) => Connection::new(tasks, stream, disk).serve().await,
                Ok(Ok(false)) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(elapsed) => Err(elapsed.into()),
            };
            if let Err(error) = ended {
                eprintln!("closed the connection from {peer}: {error}");
            }
        });
    }
}
