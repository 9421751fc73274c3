//! No runtime at all: blocking sockets of the standard library, and a thread
//! per connection.

use std::io::{self, IoSlice, Read, Write};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::Tuning;
use super::client::{Job, Wire};
use super::framing::{Bound, Connected, Prefix, is_end};
use super::memcpy::blocking;
use super::room::Room;

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix, tuning: Tuning) -> io::Result<()> {
    match Bound::announce(listen)? {
        Bound::Tcp(listener) => loop {
            let accepted = listener.accept();
            admit(
                accepted.map(|(stream, _)| Connected::Tcp(stream)),
                prefix,
                tuning,
            );
        },
        Bound::Unix(listener) => loop {
            let accepted = listener.accept();
            admit(
                accepted.map(|(stream, _)| Connected::Unix(stream)),
                prefix,
                tuning,
            );
        },
    }
}

fn admit(accepted: io::Result<Connected>, prefix: Prefix, tuning: Tuning) {
    match accepted {
        Ok(stream) => {
            // Small, so that thousands fit.
            let thread = thread::Builder::new().stack_size(64 * 1024);
            let started = thread.spawn(move || {
                let echoed = tune(&stream, tuning).and_then(|()| match stream {
                    Connected::Tcp(stream) => echo(stream, prefix, tuning),
                    Connected::Unix(stream) => echo(stream, prefix, tuning),
                });
                complain(echoed);
            });
            complain(started.map(drop));
        }
        Err(error) => {
            complain(Err(error));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn complain(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("a connection ended: {error}");
    }
}

fn echo(mut stream: impl Read + Write, prefix: Prefix, tuning: Tuning) -> io::Result<()> {
    let mut header = [0; 8];
    let header = &mut header[..prefix.size()];
    let mut payload = Room::new(tuning, 0);
    loop {
        match stream.read_exact(header) {
            Err(error) if is_end(&error) => return Ok(()),
            read => read?,
        }
        let len = prefix.decode(header)?;
        if payload.len() < len {
            payload.resize(len);
        }
        stream.read_exact(&mut payload[..len])?;
        write_both(&mut stream, header, &payload[..len])?;
    }
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job, tuning: Tuning) -> io::Result<()> {
    let stream = Connected::to(connect)?;
    tune(&stream, tuning)?;
    match stream {
        Connected::Tcp(stream) => {
            blocking(job.ship(&mut Blocking::new(stream, prefix, job, tuning)))
        }
        Connected::Unix(stream) => {
            blocking(job.ship(&mut Blocking::new(stream, prefix, job, tuning)))
        }
    }
}

struct Blocking<S> {
    stream: S,
    prefix: Prefix,
    frames: [Vec<u8>; 2],
    answer: Room,
}

impl<S> Blocking<S> {
    fn new(stream: S, prefix: Prefix, job: &Job, tuning: Tuning) -> Blocking<S> {
        Blocking {
            stream,
            prefix,
            frames: job.payloads.clone(),
            answer: Room::new(tuning, 0),
        }
    }
}

impl<S: Read + Write> Wire for Blocking<S> {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        let size = self.prefix.size();
        let frame = &self.frames[turn];
        let mut header = self.prefix.encode(frame.len());
        write_both(&mut self.stream, &header[..size], frame)?;
        self.stream.read_exact(&mut header[..size])?;
        self.answer.resize(self.prefix.decode(&header)?);
        self.stream.read_exact(&mut self.answer)
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}

fn tune(stream: &Connected, tuning: Tuning) -> io::Result<()> {
    match stream {
        Connected::Tcp(stream) => tuning.apply(&SockRef::from(stream)),
        Connected::Unix(stream) => tuning.apply(&SockRef::from(stream)),
    }
}

/// Both in one system call, as long as the kernel takes them.
fn write_both(stream: &mut impl Write, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(header), IoSlice::new(payload)];
    let mut left = &mut slices[..];
    while left.iter().any(|slice| !slice.is_empty()) {
        match stream.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
