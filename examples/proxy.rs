//! A proxy that spreads connections over several servers, and moves frames both ways
//! without holding more than one long frame of each:
//! `cargo run --example proxy -- 127.0.0.1:7001 127.0.0.1:7000 [MORE SERVERS]`.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures_util::future::try_join;
use readinto::{Address, Drain, DrainGuard, FrameReader, FrameWriter, Handle, Listener};
use readinto::{Prefix, Reactor, ReadHalf, Stream, WriteHalf};

/// The longest frame that is passed on.
const MAX: usize = 4 << 20;

/// How many clients are served at once; further ones wait. Each may have a frame under
/// way in both directions: 2 × 100 × 4 MiB for all of them together, and some seconds long
/// as much again that has just been freed.
///
/// A memory budget for less than that could end in a circle: the servers take no more
/// of the questions that fill it until there is room for their answers.
const MAX_CLIENTS: usize = 100;

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let mut addresses = std::env::args().skip(1).map(|text| text.parse::<Address>());
    let listen = addresses.next().ok_or("where to listen?")??;
    let servers = addresses.collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err("which servers?".into());
    }
    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &listen)?;
    println!("listening on {}", listener.local_address());
    reactor.block_on(async {
        let clients = Drain::new(); // for its count only
        for server in servers.iter().cycle() {
            clients.fewer_than(MAX_CLIENTS).await;
            let client = listener.accept().await?;
            let guard = clients.enter();
            handle.spawn(serve(handle.clone(), client, server.clone(), guard));
        }
        Ok(())
    })?
}

async fn serve(handle: Handle, client: Stream, server: Address, _guard: DrainGuard) {
    let peer = client.peer_address();
    if let Err(error) = pass_on(&handle, client, &server).await {
        eprintln!("{peer} to {server}: {error}");
    }
}

async fn pass_on(handle: &Handle, client: Stream, server: &Address) -> io::Result<()> {
    // A client that has vanished would keep its place, since one that is idle may.
    client.socket().set_keepalive(true)?;
    let server = Stream::connect(handle, server).await?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // A task may move so many bytes before others have their turn. In one task for
    // both, the direction that is polled first could use up all of them each time.
    let there = move_frames(from_client, to_server);
    let mut back = handle.spawn(move_frames(from_server, to_client));
    let returned = async { (&mut back).await.map_err(io::Error::other)? };
    let passed = try_join(there, returned).await;
    // If one direction fails, the other ends too.
    back.abort();
    passed.map(|_| ())
}

/// Moves whole frames until `from` ends, then ends `to`.
async fn move_frames(from: ReadHalf, to: WriteHalf) -> io::Result<()> {
    let mut from = FrameReader::new(from, Prefix::U32Be, MAX).frame_timeout(MINUTE);
    let mut to = FrameWriter::new(to, Prefix::U32Be).stall_timeout(MINUTE);
    while let Some(payload) = from.next().await? {
        to.feed(payload).await?;
        // A burst leaves together.
        if !from.is_next_ready() {
            to.flush().await?;
        }
    }
    // The other direction may go on.
    to.into_inner().shutdown_write()
}
