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
//! On SIGINT or SIGTERM it answers the requests that have arrived, or begun to, and ends; a
//! second signal cuts them. There is no encryption, and whoever can connect can read and
//! write all.

mod connection;
mod disk;
mod handshake;
mod protocol;
mod server;
mod wire;

use std::error::Error;
use std::fs;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser};
use parse_size::parse_size;
use readinto::channel::{self, TaskReceiver};
use readinto::{Address, Listener, Reactor};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use disk::Disk;
use server::Server;

/// Serve a disk over NBD.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen: host:port, or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10809")]
    listen: Address,

    #[command(flatten)]
    source: Source,

    /// The most connections at once; further ones wait
    #[arg(long, value_name = "N", default_value = "100")]
    max_connections: NonZero<usize>,

    /// How many seconds a client may take for its handshake
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    handshake_timeout: u64,

    /// For how many microseconds to poll after the last event before going to sleep
    #[arg(long, value_name = "MICROSECONDS", default_value = "0")]
    busy_poll: u64,
}

/// What to serve.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Serve an empty disk in memory, as large as 1GiB, say
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| parse_size(text))]
    size: Option<u64>,

    /// Serve this file, or block device
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
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
    let busy_poll = Duration::from_micros(options.busy_poll);
    let mut reactor = Reactor::builder().busy_poll(busy_poll).build()?;
    let handle = reactor.handle();
    let disk = match (&options.source.file, options.source.size) {
        (Some(path), _) => Disk::open(handle.clone(), path)
            .map_err(|error| format!("{}: {error}", path.display()))?,
        (None, size) => {
            let size = size.expect("one of the two is required");
            Disk::in_memory(handle.clone(), size)
        }
    };
    let stop = stop_signals()?;
    let listener = Listener::bind(&handle, &options.listen)?;
    let socket = socket_file(&options.listen);
    println!("listening on {}", listener.local_address());
    let patience = Duration::from_secs(options.handshake_timeout);
    let server = Server::new(handle, disk, options.max_connections.get(), patience);
    let served = reactor.block_on(server.run(listener, stop));
    if let Address::Unix(path) = &options.listen
        // Another server may have put its own there.
        && socket.is_some()
        && socket == socket_file(&options.listen)
        && let Err(error) = fs::remove_file(path)
    {
        eprintln!("nbd: cannot remove {}: {error}", path.display());
    }
    served?
}

/// Device and inode of the file at the path of a Unix socket.
fn socket_file(address: &Address) -> Option<(u64, u64)> {
    let Address::Unix(path) = address else {
        return None;
    };
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// SIGINT and SIGTERM, as they come.
fn stop_signals() -> io::Result<TaskReceiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = channel::to_task(1);
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
    Ok(receiver)
}
