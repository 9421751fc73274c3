//! One connection with small frames, one after the other, and perhaps a second
//! that moves large ones.
//!
//! It spins, so that its own waking up is no part of a round trip. What it does
//! for the large frames it does in short steps, so that the answer to a small
//! one is not noticed late.
//!
//! Beside large frames, the small ones are due by the clock: each is sent then,
//! however many are still under way, and its round trip counts from then on. If
//! the next were sent only after the last answer, a server that stalls for 25 ms
//! would be asked once in that time, and its percentiles would hardly show it
//! ("coordinated omission"); and one whose mean round trip is longer than the pace
//! would fall ever further behind it.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::Figures;
use super::connection::Connection;
use super::crowd::{PATIENCE, silent};
use super::frames::Frames;
use super::goal::Goal;
use super::latency::RoundTrips;

/// The connection whose round trips are measured, and the second one.
pub(super) struct Solo {
    poll: Poll,
    events: Events,
    small: Lane,
    bulk: Option<Lane>,
    block: Vec<u8>,
}

/// A connection with frames of its own.
struct Lane {
    connection: Connection,
    frames: Frames,
    /// Whether the next frame follows each answer.
    goes_on: bool,
}

impl Lane {
    fn open(address: &str, number: u32, size: usize, poll: &Poll) -> io::Result<Lane> {
        Ok(Lane {
            connection: Connection::open(address, number, poll.registry())?,
            frames: Frames::new(size),
            goes_on: false,
        })
    }

    fn step(&mut self, block: &mut [u8]) -> io::Result<()> {
        if self.goes_on && self.connection.under_way() == 0 {
            self.connection.ask(1);
        }
        self.connection.step(&mut self.frames, block)
    }

    /// Bytes that have gone out, and bytes that have come back.
    fn moved(&self) -> (u64, u64) {
        self.connection.moved(&self.frames)
    }
}

impl Solo {
    /// Opens the connections, and exchanges some frames on each.
    pub(super) fn open(address: &str, size: usize, bulk_size: Option<usize>) -> io::Result<Solo> {
        let poll = Poll::new()?;
        let mut solo = Solo {
            small: Lane::open(address, SMALL, size, &poll)?,
            bulk: bulk_size
                .map(|size| Lane::open(address, BULK, size, &poll))
                .transpose()?,
            poll,
            events: Events::with_capacity(4),
            block: vec![0; BLOCK],
        };
        for _ in 0..WARM_UP {
            solo.small.connection.ask(1);
            solo.spin(|solo| Some(&solo.small))?;
        }
        if let Some(bulk) = &mut solo.bulk {
            bulk.connection.ask(1);
            solo.spin(|solo| solo.bulk.as_ref())?;
        }
        Ok(solo)
    }

    /// Measures round trips until the goal is reached.
    pub(super) fn measure(&mut self, goal: Goal) -> Result<Figures, Box<dyn Error>> {
        let mut round_trips = RoundTrips::new()?;
        let moved_before = self.bulk.as_ref().map(Lane::moved);
        let answered_before = self.small.connection.answered();
        let start = Instant::now();
        let end = match &mut self.bulk {
            Some(bulk) => {
                bulk.goes_on = true;
                self.by_the_clock(start, goal, &mut round_trips)?
            }
            None => self.one_by_one(start, goal, &mut round_trips)?,
        };
        let moved = self.bulk.as_ref().map(Lane::moved);
        Ok(Figures {
            seconds: (end - start).as_secs_f64(),
            frames: self.small.connection.answered() - answered_before,
            latency_ns: Some(round_trips.percentiles()),
            // What has gone there and not come back counts half.
            bulk_bytes: moved
                .zip(moved_before)
                .map(|((out, back), before)| (out - before.0).midpoint(back - before.1)),
        })
    }

    /// Sends a frame a while after each answer, so that the server is asleep, however
    /// slow it is: one that is asked again before it gets there would need no waking.
    fn one_by_one(
        &mut self,
        start: Instant,
        goal: Goal,
        round_trips: &mut RoundTrips,
    ) -> io::Result<Instant> {
        let deadline = goal.deadline(start);
        let mut frames = 0;
        loop {
            let due = Instant::now() + PAUSE;
            self.turn_until(due)?;
            self.small.connection.ask(1);
            self.spin(|solo| Some(&solo.small))?;
            let answered = Instant::now();
            round_trips.record(answered - due);
            frames += 1;
            let is_over = deadline.is_some_and(|deadline| answered >= deadline);
            if is_over || frames >= goal.frames() {
                return Ok(answered);
            }
        }
    }

    /// Sends each frame when it is due, and waits for the last answer.
    fn by_the_clock(
        &mut self,
        start: Instant,
        goal: Goal,
        round_trips: &mut RoundTrips,
    ) -> io::Result<Instant> {
        let deadline = goal.deadline(start);
        let mut left = goal.frames();
        let mut due = start + PACE;
        // When those under way were due.
        let mut under_way = VecDeque::with_capacity(MOST_UNDER_WAY);
        let mut last_answer = start;
        loop {
            let now = Instant::now();
            while due <= now && left > 0 {
                if deadline.is_some_and(|deadline| due >= deadline) {
                    left = 0;
                    break;
                }
                if under_way.len() == MOST_UNDER_WAY {
                    return Err(falls_behind());
                }
                self.small.connection.ask(1);
                under_way.push_back(due);
                due += PACE;
                left -= 1;
            }
            if left == 0 && under_way.is_empty() {
                return Ok(now);
            }
            let before = self.small.connection.answered();
            self.turn()?;
            let answers = self.small.connection.answered() - before;
            if answers > 0 {
                last_answer = Instant::now();
                for due in under_way.drain(..answers as usize) {
                    round_trips.record(last_answer - due);
                }
            } else if !under_way.is_empty() && now - last_answer > PATIENCE {
                return Err(silent());
            }
        }
    }

    /// Takes turns until it is time.
    fn turn_until(&mut self, time: Instant) -> io::Result<()> {
        while Instant::now() < time {
            self.turn()?;
        }
        Ok(())
    }

    /// Takes turns until all frames of a lane are answered.
    fn spin(&mut self, lane: impl Fn(&Solo) -> Option<&Lane>) -> io::Result<()> {
        let start = Instant::now();
        let mut turns = 0_u32;
        while lane(self).is_some_and(|lane| lane.connection.under_way() > 0) {
            self.turn()?;
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(BETWEEN_LOOKS) && start.elapsed() > PATIENCE {
                return Err(silent());
            }
        }
        Ok(())
    }

    /// Sends what is asked, looks at what the kernel has, and takes it.
    fn turn(&mut self) -> io::Result<()> {
        self.small.step(&mut self.block)?;
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let lane = match &mut self.bulk {
                Some(bulk) if event.token().0 == BULK as usize => bulk,
                _ => &mut self.small,
            };
            lane.connection.note(event);
        }
        self.small.step(&mut self.block)?;
        match &mut self.bulk {
            Some(bulk) => bulk.step(&mut self.block),
            None => Ok(()),
        }
    }
}

fn falls_behind() -> io::Error {
    io::Error::other(format!(
        "{MOST_UNDER_WAY} frames are under way: the server does not keep up with one every {PACE:?}"
    ))
}

const SMALL: u32 = 0;
const BULK: u32 = 1;

/// Between an answer and the next small frame, where there is nothing else.
const PAUSE: Duration = Duration::from_micros(50);

/// The time from one small frame to the next, beside large ones.
const PACE: Duration = Duration::from_micros(500);

/// Of small frames beside large ones: more than are due in one turn of the harness.
const MOST_UNDER_WAY: usize = 4096;

/// Small frames before the clock.
const WARM_UP: u32 = 200;

/// What one call is given: some ten microseconds of work.
const BLOCK: usize = 64 * 1024;

/// Turns between two looks at the clock.
const BETWEEN_LOOKS: u32 = 1 << 16;
