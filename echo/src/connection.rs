//! One connection: every frame that arrives goes back, whole.
//!
//! A frame is stored, then forwarded. What the peer does wrong ends this
//! connection and no other, with one line in the log.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use log::Level;
use readinto::{Address, FrameError, FrameReader, FrameWriter, Handle, Prefix, Stream, TimeLimit};

use crate::limit::Limit;
use crate::roster::Place;
use crate::throttle::Throttle;

/// What a connection allows its peer.
#[derive(Clone, Debug)]
pub(crate) struct FrameLimits {
    pub(crate) prefix: Prefix,
    pub(crate) max_frame: usize,
    /// From one frame to the first byte of the next.
    pub(crate) idle: Limit,
    /// From the first byte of a frame to its last.
    pub(crate) frame: Limit,
    /// Without the peer's taking any of its answers.
    pub(crate) stall: Limit,
}

/// A connection that is being served.
///
/// One that is dropped before its end is reset, so that the peer can't take
/// what it has got for all there is.
pub(crate) struct Connection {
    handle: Handle,
    number: u64,
    peer: Address,
    limits: Rc<FrameLimits>,
    place: Place,
    throttle: Rc<Throttle>,
    reader: FrameReader,
    writer: FrameWriter,
    frames: u64,
    bytes: u64,
    reset_on_drop: bool,
}

impl Connection {
    pub(crate) fn new(
        handle: Handle,
        stream: Stream,
        number: u64,
        limits: Rc<FrameLimits>,
        place: Place,
        throttle: Rc<Throttle>,
    ) -> Connection {
        let peer = stream.peer_address();
        let (read, write) = stream.split();
        Connection {
            handle,
            number,
            peer,
            place,
            throttle,
            reader: FrameReader::new(read, limits.prefix, limits.max_frame)
                .idle_timeout(limits.idle.duration())
                .frame_timeout(limits.frame.duration()),
            writer: FrameWriter::new(write, limits.prefix).stall_timeout(limits.stall.duration()),
            limits,
            frames: 0,
            bytes: 0,
            reset_on_drop: true,
        }
    }

    /// Serves it to its end.
    pub(crate) async fn run(mut self) {
        let end = self.echo_frames().await;
        self.log(&end);
        match end {
            Err(
                FrameError::TimedOut {
                    limit: TimeLimit::Stall,
                    ..
                }
                | FrameError::OutOfMemory { .. },
            ) => return,
            Ok(End::Drained) | Err(FrameError::TooLarge { .. } | FrameError::OverBudget { .. }) => {
                self.linger().await;
            }
            _ => {}
        }
        self.reset_on_drop = false;
    }

    async fn echo_frames(&mut self) -> Result<End, FrameError> {
        let Connection {
            limits,
            place,
            reader,
            writer,
            ..
        } = self;
        let mut drain_begun = pin!(place.drain_begun());
        let mut answered_in_drain = false;
        // How much of what had arrived when the drain was noticed is left.
        // Without this bound, a busy peer could put off the end for ever.
        let mut owed = None;
        loop {
            if place.is_draining() {
                let owed = *owed.get_or_insert_with(|| bytes_waiting(reader));
                if owed == 0 {
                    writer.flush().await?;
                    return Ok(match answered_in_drain {
                        true => End::Drained,
                        false => End::IdleAtDrain,
                    });
                }
            }

            let header = reader.next_len();
            let header = if place.is_draining() {
                header.await
            } else {
                match select(pin!(header), &mut drain_begun).await {
                    Either::Left((header, _)) => header,
                    Either::Right(_) => continue,
                }
            };
            let Some(len) = header? else {
                return Ok(End::PeerEnded);
            };
            let len = len as u64;
            let payload = reader.next().await?.unwrap_or_default();
            writer.feed(payload).await?;
            // A burst is answered at once.
            if !reader.is_next_ready() {
                writer.flush().await?;
            }

            self.frames += 1;
            self.bytes += len;
            answered_in_drain = place.is_draining();
            if let Some(owed) = &mut owed {
                *owed = u64::saturating_sub(*owed, limits.prefix.size() as u64 + len);
            }
        }
    }

    /// Ends our side, and waits until the peer has seen it.
    ///
    /// Closing a socket that has unread bytes, or gets some later, resets the
    /// connection, and answers that are still on their way are lost.
    async fn linger(&mut self) {
        self.place.settle();
        let socket = self.writer.get_ref().socket();
        if socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let peer_ends = async {
            let mut discarded = vec![0; LINGER_CHUNK];
            loop {
                for _ in 0..LINGER_CHUNKS_AT_ONCE {
                    // A reader that has refused a frame reads no more, so this
                    // goes past it, and by the clock.
                    match (&*socket).read(&mut discarded) {
                        Ok(0) => return,
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(_) => return,
                    }
                }
                self.handle.sleep(LINGER_STEP).await;
            }
        };
        // If it takes longer, the peer has had its chance.
        let _ = self.handle.timeout(LINGER, peer_ends).await;
    }

    fn log(&self, end: &Result<End, FrameError>) {
        let level = match end {
            Ok(_) => Level::Debug,
            Err(
                FrameError::TooLarge { .. }
                | FrameError::OverBudget { .. }
                | FrameError::OutOfMemory { .. },
            ) => Level::Warn,
            Err(_) => Level::Info,
        };
        self.throttle.log(
            kind(end),
            level,
            format_args!(
                "closed connection {} from {} after {} frames, {} bytes: {}",
                self.number,
                self.peer,
                self.frames,
                self.bytes,
                Reason(end)
            ),
        );
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset_on_drop {
            let socket = self.writer.get_ref().socket();
            if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
                log::debug!("cannot reset the connection from {}: {error}", self.peer);
            }
        }
    }
}

/// How a connection came to its end, unless by an error.
#[derive(Debug)]
enum End {
    /// The peer ended it between two frames.
    PeerEnded,
    /// The server stops, and this connection had nothing to do.
    IdleAtDrain,
    /// The server stops, and this connection has answered what was in flight.
    Drained,
}

/// How ends are counted in the log.
fn kind(end: &Result<End, FrameError>) -> &'static str {
    match end {
        Ok(_) => "connections that ended well",
        Err(FrameError::TooLarge { .. }) => "frames above --max-frame",
        Err(FrameError::OverBudget { .. }) => "frames above --memory-budget",
        Err(FrameError::OutOfMemory { .. }) => "frames without memory",
        Err(FrameError::TimedOut { .. }) => "peers that were late",
        Err(_) => "connections that broke off",
    }
}

/// Says why, with the option that sets the limit.
struct Reason<'a>(&'a Result<End, FrameError>);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self.0 {
            Ok(End::PeerEnded) => return f.write_str("the peer ended it"),
            Ok(End::IdleAtDrain) => return f.write_str("stopping, and it was idle"),
            Ok(End::Drained) => return f.write_str("stopping, and all is answered"),
            Err(error) => error,
        };
        error.fmt(f)?;
        let option = match error {
            FrameError::TooLarge { .. } => "--max-frame",
            FrameError::OverBudget { .. } => "--memory-budget",
            FrameError::TimedOut { limit, .. } => match limit {
                TimeLimit::Idle => "--idle-timeout",
                TimeLimit::Frame => "--frame-timeout",
                TimeLimit::Stall => "--stall-timeout",
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        write!(f, " (see {option})")
    }
}

/// How much has arrived that is not answered yet.
fn bytes_waiting(reader: &FrameReader) -> u64 {
    let in_kernel = rustix::io::ioctl_fionread(&*reader.get_ref().socket());
    reader.buffered() as u64 + in_kernel.unwrap_or(0)
}

/// How long a peer may take to see that we have ended our side.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_STEP: Duration = Duration::from_millis(10);
const LINGER_CHUNK: usize = 16 * 1024;
/// Enough to keep up with an ordinary peer, and no more than its share.
const LINGER_CHUNKS_AT_ONCE: usize = 64;
