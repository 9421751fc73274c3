//! Many connections over one poll that waits, each of them a closed loop.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::Figures;
use super::connection::Connection;
use super::frames::Frames;
use super::goal::Goal;

/// The connections, and what they share.
pub(super) struct Crowd {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    frames: Frames,
    block: Vec<u8>,
    /// How long it took to open them.
    opening: Duration,
}

impl Crowd {
    /// Opens the connections, and exchanges one frame on each.
    ///
    /// A few at a time: not every server has room for all of them before it
    /// accepts, and a connection that finds none tries again after a second.
    pub(super) fn open(address: &str, connections: u32, size: usize) -> io::Result<Crowd> {
        let start = Instant::now();
        let mut crowd = Crowd {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            connections: Vec::with_capacity(connections as usize),
            frames: Frames::new(size),
            block: vec![0; BLOCK],
            opening: Duration::ZERO,
        };
        for number in 0..connections {
            let registry = crowd.poll.registry();
            let connection = Connection::open(address, number, registry)?;
            crowd.connections.push(connection);
            let is_last = number + 1 == connections;
            if is_last || (number + 1).is_multiple_of(AT_ONCE) {
                let first = number / AT_ONCE * AT_ONCE;
                crowd.play(first, &mut Asking::once((number + 1 - first).into()))?;
            }
        }
        crowd.opening = start.elapsed();
        Ok(crowd)
    }

    /// What there is to say of connections that only stay open.
    pub(super) fn opened(&self) -> Figures {
        Figures {
            seconds: self.opening.as_secs_f64(),
            frames: self.connections.len() as u64,
            latency_ns: None,
            bulk_bytes: None,
        }
    }

    /// Keeps frames under way on each connection until the goal is reached and
    /// the last of them is answered.
    pub(super) fn measure(&mut self, in_flight: u32, goal: Goal) -> io::Result<Figures> {
        let start = Instant::now();
        let mut asking = Asking {
            in_flight: in_flight.into(),
            left: goal.frames(),
            deadline: goal.deadline(start),
        };
        let frames = self.play(0, &mut asking)?;
        Ok(Figures {
            seconds: start.elapsed().as_secs_f64(),
            frames,
            latency_ns: None,
            bulk_bytes: None,
        })
    }

    /// Asks on each connection from `first` on, and again as answers come.
    /// Returns how many came in all, once none is missing.
    fn play(&mut self, first: u32, asking: &mut Asking) -> io::Result<u64> {
        let Crowd {
            poll,
            events,
            connections,
            frames,
            block,
            ..
        } = self;
        let mut tally = Tally::default();
        for connection in &mut connections[first as usize..] {
            tally.under_way += asking.ask(connection);
            go_on(connection, frames, block, asking, &mut tally)?;
        }
        while tally.under_way > 0 {
            match poll.poll(events, Some(PATIENCE)) {
                Ok(()) if events.is_empty() => return Err(silent()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            asking.look_at_the_clock();
            for event in &*events {
                let connection = &mut connections[event.token().0];
                connection.note(event);
                go_on(connection, frames, block, asking, &mut tally)?;
            }
        }
        Ok(tally.answered)
    }
}

/// Moves all that can be moved before the kernel says more: it will not say
/// twice that there is room.
fn go_on(
    connection: &mut Connection,
    frames: &mut Frames,
    block: &mut [u8],
    asking: &mut Asking,
    tally: &mut Tally,
) -> io::Result<()> {
    while connection.can_go_on() {
        let before = connection.answered();
        connection.step(frames, block)?;
        let came = connection.answered() - before;
        if came > 0 {
            tally.answered += came;
            tally.under_way -= came;
            tally.under_way += asking.ask(connection);
        }
    }
    Ok(())
}

/// Frames of all connections.
#[derive(Default)]
struct Tally {
    /// Asked and not answered.
    under_way: u64,
    answered: u64,
}

/// How many frames may still be asked.
struct Asking {
    /// The most of one connection under way.
    in_flight: u64,
    /// Of all connections together.
    left: u64,
    /// When nothing more is asked.
    deadline: Option<Instant>,
}

impl Asking {
    /// One frame on each of so many connections.
    fn once(connections: u64) -> Asking {
        Asking {
            in_flight: 1,
            left: connections,
            deadline: None,
        }
    }

    /// Has a connection send more, once half of what it may have under way has
    /// been answered: frames go out in bursts, and the server need not run dry.
    /// Returns how many.
    fn ask(&mut self, connection: &mut Connection) -> u64 {
        let under_way = connection.under_way();
        if under_way > self.in_flight / 2 {
            return 0;
        }
        let more = (self.in_flight - under_way).min(self.left);
        self.left -= more;
        connection.ask(more);
        more
    }

    fn look_at_the_clock(&mut self) {
        if let Some(deadline) = self.deadline
            && Instant::now() >= deadline
        {
            self.left = 0;
        }
    }
}

pub(super) fn silent() -> io::Error {
    io::Error::new(
        ErrorKind::TimedOut,
        format!(
            "the server has said nothing for {} seconds",
            PATIENCE.as_secs()
        ),
    )
}

/// A server that says nothing for so long has lost something.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that wait to be accepted together; asyncio makes room for 100.
const AT_ONCE: u32 = 64;

const EVENTS: usize = 1024;

/// What one call is given.
const BLOCK: usize = 64 * 1024;
