//! Receives files: each frame's payload goes from the socket straight into a file that
//! is mapped into memory, with no buffer in between (but for the 16 KiB that may have
//! been read ahead with its length).
//! `cargo run --example receive_file -- 127.0.0.1:7000 FOLDER`. A frame's length is eight
//! bytes here, the most significant first, so bash sends a file by
//! `(printf %016x $(stat -c %s FILE) | xxd -r -p; cat FILE) > /dev/tcp/127.0.0.1/7000`.
//! It comes to `FOLDER/1/1-1`: the run, the connection, the number of the file in it.
//!
//! Room for a file is reserved once its length is known, so whoever can connect can fill
//! the disk.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;

use memmap2::MmapMut;
use readinto::{FrameReader, Listener, Prefix, Reactor, Stream, channel};

/// The longest file that is accepted.
const MAX: usize = 16 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("where to listen?")?;
    let folder = arguments.next().ok_or("into which folder?")?;
    let folder = new_folder(Path::new(&folder))?;

    let mut reactor = Reactor::new()?;
    let handle = reactor.handle();
    let listener = Listener::bind(&handle, &address.parse()?)?;
    println!("listening on {}", listener.local_address());
    reactor.block_on(async {
        for number in 1.. {
            let stream = listener.accept().await?;
            let (peer, folder) = (stream.peer_address(), folder.clone());
            handle.spawn(async move {
                if let Err(error) = receive(stream, &folder, number).await {
                    eprintln!("{peer}: {error}");
                }
            });
        }
        Ok(())
    })?
}

/// A folder of this run alone, so that it finds no file of an earlier one.
fn new_folder(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut run = 1;
    loop {
        let path = folder.join(run.to_string());
        match fs::create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => run += 1,
            made => return made.map(|()| path),
        }
    }
}

/// Receives the files of one connection.
async fn receive(stream: Stream, folder: &Path, connection: u32) -> Result<(), Box<dyn Error>> {
    let mut frames = FrameReader::new(stream.split().0, Prefix::U64Be, MAX);
    let mut number = 0;
    while let Some(len) = frames.next_len().await? {
        number += 1;
        let path = folder.join(format!("{connection}-{number}"));
        let partial = path.with_extension("partial");
        let new = partial.clone();
        let mut mapped = on_a_thread(move || map(&new, len)).await?;
        frames.read_payload_into(&mut mapped).await?;
        on_a_thread(move || mapped.flush()).await?;
        fs::rename(&partial, &path)?;
        println!("{}: {len} bytes", path.display());
    }
    Ok(())
}

/// A new file of `len` bytes, as a slice.
fn map(path: &Path, len: usize) -> io::Result<MmapMut> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    reserve(&file, len)?;
    // SAFETY: we have just made the file, under a name that nobody else looks for, so
    // nobody changes or shortens it while it is mapped. Its room is reserved: where the
    // disk is full, to write to a hole would end the process with SIGBUS.
    unsafe { MmapMut::map_mut(&file) }
}

#[cfg(not(target_vendor = "apple"))]
fn reserve(file: &File, len: usize) -> io::Result<()> {
    match len {
        0 => Ok(()), // which it would refuse
        len => Ok(nix::fcntl::posix_fallocate(file, 0, len as i64)?),
    }
}

/// Where nothing better is to be had, a file full of holes.
#[cfg(target_vendor = "apple")]
fn reserve(file: &File, len: usize) -> io::Result<()> {
    file.set_len(len as u64)
}

/// Does on a thread of its own what has to wait for the disk, and would hold up all
/// transfers.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, mut receiver) = channel::to_task(1);
    thread::spawn(move || sender.send(work()));
    receiver.recv().await.expect("work does not panic")
}
