//! One connection: every frame that arrives goes back, whole.
//!
//! A frame is stored, then forwarded. What the peer does wrong ends this
//! connection and no other, with one line in the log.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use log::Level;
use readinto::{
    DrainGuard, FrameError, FrameReader, FrameWriter, Prefix, Shard, Stream, TimeLimit,
};

use super::throttle::Throttle;
use crate::limit::Limit;

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
    /// For a frame or its answer, while others wait for memory.
    pub(crate) shortage: Limit,
}

/// A connection that is being served.
pub(crate) struct Connection {
    number: u64,
    guard: DrainGuard,
    throttle: Rc<Throttle>,
    reader: FrameReader,
    writer: FrameWriter,
    frames: u64,
    bytes: u64,
}

impl Connection {
    pub(crate) fn new(
        shard: &Shard,
        stream: Stream,
        number: u64,
        limits: &FrameLimits,
        throttle: Rc<Throttle>,
    ) -> Connection {
        let (read, write) = stream.split();
        let connection = Connection {
            number,
            guard: shard.drain.enter(),
            throttle,
            reader: FrameReader::new(read, limits.prefix, limits.max_frame)
                .idle_timeout(limits.idle.duration())
                .frame_timeout(limits.frame.duration())
                .shortage_timeout(limits.shortage.duration())
                .drain(&shard.drain),
            writer: FrameWriter::new(write, limits.prefix)
                .stall_timeout(limits.stall.duration())
                .shortage_timeout(limits.shortage.duration()),
            frames: 0,
            bytes: 0,
        };
        // Whatever cuts it short, the peer is not to take what it has got for all
        // there is.
        connection.reset_when_closed(true);
        connection
    }

    /// Serves it to its end.
    pub(crate) async fn run(mut self) {
        let end = self.echo_frames().await;
        self.log(&end);
        match end {
            Err(
                FrameError::TimedOut {
                    limit: TimeLimit::Stall | TimeLimit::Shortage,
                    ..
                }
                | FrameError::OutOfMemory { .. },
            ) => {}
            Ok(End::Drained) | Err(FrameError::TooLarge { .. } | FrameError::OverBudget { .. }) => {
                self.reset_when_closed(false);
                self.linger().await;
            }
            _ => self.reset_when_closed(false),
        }
    }

    async fn echo_frames(&mut self) -> Result<End, FrameError> {
        while let Some(payload) = self.reader.next().await? {
            let len = payload.len() as u64;
            self.writer.feed(payload).await?;
            // A burst is answered at once.
            if !self.reader.is_next_ready() {
                self.writer.flush().await?;
            }
            self.frames += 1;
            self.bytes += len;
        }
        Ok(match (self.reader.is_drained(), self.frames) {
            (false, _) => End::PeerEnded,
            (true, 0) => End::Unused,
            // Its peer may not have taken all of an earlier answer yet either: the
            // kernel holds megabytes of them.
            (true, _) => End::Drained,
        })
    }

    /// Gives the peer time to take its last answers.
    async fn linger(self) {
        self.guard.settle();
        if let Err(error) = self.reader.linger(self.writer, LINGER).await {
            log::debug!("connection {} broke off at its end: {error}", self.number);
        }
    }

    fn reset_when_closed(&self, reset: bool) {
        let socket = self.reader.get_ref().socket();
        if let Err(error) = socket.set_linger(reset.then_some(Duration::ZERO)) {
            log::debug!("connection {}: cannot set SO_LINGER: {error}", self.number);
        }
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
                self.reader.get_ref().peer_address(),
                self.frames,
                self.bytes,
                Reason(end)
            ),
        );
    }
}

/// How a connection came to its end, unless by an error.
#[derive(Debug)]
enum End {
    /// The peer ended it between two frames.
    PeerEnded,
    /// The server stops, and this connection has had no frame.
    Unused,
    /// The server stops, and this connection has answered all that came.
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
            Ok(End::Unused) => return f.write_str("stopping, and there was no frame"),
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
                TimeLimit::Shortage => "--shortage-timeout",
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        write!(f, " (see {option})")
    }
}

/// How long a peer may take to see that we have ended our side.
const LINGER: Duration = Duration::from_secs(1);
