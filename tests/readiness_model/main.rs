//! Readiness and wake-ups against a naive oracle: an operation is complete when its
//! bytes, its room or the end are there, and only then; whoever can go on is woken,
//! and nobody else; nothing is left behind.
//!
//! Proptest makes sequences of actions on a few connections of one reactor, and they
//! are done twice: on real sockets (`link.rs`) with turns that don't wait, and on
//! counts of bytes (`oracle.rs`). The two are compared after each turn, and once
//! nothing moves any more, with what poll(2) says of the socket.

mod ends;
mod link;
mod operation;
mod oracle;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;
use readinto::{JoinHandle, Reactor};

use link::Link;
use operation::Driver;
use oracle::Direction;
use support::Transport;
use support::turns::turn_now;

/// What one case does.
#[derive(Clone, Debug)]
struct Case {
    links: Vec<Transport>,
    actions: Vec<Action>,
    /// Decides in which order ready tasks run.
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    /// Something at either end of one of the links; counted modulo their number.
    At(usize, Step),
    /// One turn that does not wait.
    Turn,
    /// Turns until nothing moves any more.
    Settle,
    /// A task that sleeps for no time.
    Nap,
}

/// What can't be done just then is left out.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read(usize, Driver),
    Write(usize, Driver),
    /// Drops the operation.
    Cancel(Direction),
    /// Has somebody else go on with the operation, by another waker.
    HandOver(Direction, Driver),
    /// Wakes whoever waits, for nothing, from a task.
    Nudge(Direction),
    Split,
    ShutDown,
    PeerWrites(usize),
    PeerReads(usize),
    PeerEnds,
    /// Closes the peer's socket: over TCP with a reset, on a Unix socket as the
    /// kernel has it.
    PeerLeaves,
    /// Sends a byte of urgent data, once in a connection.
    PeerUrges,
}

proptest! {
    #![proptest_config(Config {
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn complete_and_woken_just_when_the_oracle_says_so(case in case()) {
        World::run(&case);
    }
}

struct World {
    reactor: Reactor,
    links: Vec<Link>,
    naps: Vec<JoinHandle<()>>,
}

impl World {
    fn run(case: &Case) {
        // The descriptors that are counted are the whole process's.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let descriptors = open_descriptors();
        let mut world = World::new(case);
        world.settle();
        for actions in case.actions.chunks(MOST_AT_ONCE) {
            for &action in actions {
                world.act(action);
            }
            world.turn();
        }
        world.settle();
        world.end();
        assert_eq!(open_descriptors(), descriptors, "descriptors are left");
    }

    fn new(case: &Case) -> World {
        let mut reactor = Reactor::builder().shuffle(case.seed).build().unwrap();
        let links = case.links.iter().enumerate();
        let links = links
            .map(|(index, &transport)| Link::new(&mut reactor, transport, index))
            .collect();
        World {
            reactor,
            links,
            naps: Vec::new(),
        }
    }

    fn act(&mut self, action: Action) {
        let handle = self.reactor.handle();
        match action {
            Action::At(index, step) => {
                let index = index % self.links.len();
                let link = &mut self.links[index];
                match step {
                    Step::Read(len, driver) => link.read(&handle, len, driver),
                    Step::Write(len, driver) => link.write(&handle, len, driver),
                    Step::Cancel(direction) => link.cancel(direction),
                    Step::HandOver(direction, driver) => {
                        link.hand_over(&handle, direction, driver);
                    }
                    Step::Nudge(direction) => link.nudge(&handle, direction),
                    Step::Split => link.split(),
                    Step::ShutDown => link.shut_down(),
                    Step::PeerWrites(len) => link.peer_writes(len),
                    Step::PeerReads(len) => link.peer_reads(len),
                    Step::PeerEnds => link.peer_ends(),
                    Step::PeerLeaves => link.peer_leaves(),
                    Step::PeerUrges => link.peer_urges(),
                }
            }
            Action::Turn => {
                self.turn();
            }
            Action::Settle => self.settle(),
            Action::Nap => self.naps.push(handle.spawn(handle.sleep(Duration::ZERO))),
        }
    }

    /// Runs one turn, and tells whether anything happened.
    fn turn(&mut self) -> bool {
        let turn = turn_now(&mut self.reactor);
        let mut moved = turn.more || turn.tasks > 0 || turn.events > 0;
        // Only naps have deadlines, and all of those are over.
        moved |= turn.next_deadline.is_some();
        for link in &mut self.links {
            moved |= link.after_a_turn();
        }
        moved
    }

    /// Runs turns until nothing moves and all is as the oracle says.
    fn settle(&mut self) {
        let mut overdue = Vec::new();
        let mut rounds = 0;
        for wait in 0.. {
            self.idle();
            self.naps.retain(|nap| !nap.is_finished());
            assert!(self.naps.is_empty(), "a sleep of no time has not ended");
            if self.links.iter().all(Link::is_as_expected) {
                break;
            }
            // The kernel may still be on its way, but what it has brought must
            // soon have woken somebody.
            let last = overdue;
            overdue = self.links.iter().map(Link::overdue).collect();
            let mut both = overdue.iter().zip(&last);
            let is_stuck = both.any(|(now, last)| now.is_some() && now == last);
            rounds = if is_stuck { rounds + 1 } else { 0 };
            assert!(rounds < MOST_ROUNDS, "nobody was woken: {:?}", self.links);
            assert!(wait < MOST_WAITS, "never as expected: {:?}", self.links);
            self.reactor.turn(Some(TICK)).unwrap();
            for link in &mut self.links {
                link.after_a_turn();
            }
        }
        self.links.iter_mut().for_each(Link::settled);
    }

    fn idle(&mut self) {
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < MOST_TURNS, "never idle: {:?}", self.links);
        }
    }

    fn end(mut self) {
        for link in &mut self.links {
            link.cancel(Direction::Read);
            link.cancel(Direction::Write);
        }
        self.settle();
        assert_eq!(self.reactor.handle().tasks(), 0, "tasks are left");
        self.links.into_iter().for_each(Link::end);
        assert!(!turn_now(&mut self.reactor).more);
    }
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn case() -> impl Strategy<Value = Case> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Unix)];
    let links = prop::collection::vec(transport, 1..=3);
    let actions = prop::collection::vec(action(), 1..40);
    (links, actions, any::<u64>()).prop_map(|(links, actions, seed)| Case {
        links,
        actions,
        seed,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => (0..3_usize, step()).prop_map(|(link, step)| Action::At(link, step)),
        3 => Just(Action::Turn),
        3 => Just(Action::Settle),
        1 => Just(Action::Nap),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (len(), driver()).prop_map(|(len, driver)| Step::Read(len, driver)),
        4 => (len(), driver()).prop_map(|(len, driver)| Step::Write(len, driver)),
        2 => direction().prop_map(Step::Cancel),
        2 => (direction(), driver()).prop_map(|(direction, by)| Step::HandOver(direction, by)),
        1 => direction().prop_map(Step::Nudge),
        2 => Just(Step::Split),
        1 => Just(Step::ShutDown),
        8 => len().prop_map(Step::PeerWrites),
        4 => prop_oneof![len(), Just(usize::MAX)].prop_map(Step::PeerReads),
        1 => Just(Step::PeerEnds),
        1 => Just(Step::PeerLeaves),
        1 => Just(Step::PeerUrges),
    ]
}

/// Few bytes, more than a budget, and more than any buffer takes.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        5 => 0..20_usize,
        2 => 0..5_000_usize,
        1 => 0..400_000_usize,
        2 => Just(oracle::LONGEST),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Read), Just(Direction::Write)]
}

fn driver() -> impl Strategy<Value = Driver> {
    prop_oneof![
        2 => Just(Driver::Task),
        1 => Just(Driver::Combinator),
        1 => Just(Driver::Hand),
    ]
}

/// How long a turn waits for the kernel.
const TICK: Duration = Duration::from_millis(1);

/// How many of those turns there may be before all is as expected.
const MOST_WAITS: usize = 5000;

/// For how many of them somebody may be overdue: the kernel makes a socket ready a
/// moment before it says so to the epoll instance.
const MOST_ROUNDS: usize = 20;

/// How many turns there may be before nothing moves.
const MOST_TURNS: usize = 200;

/// How many actions there may be without a turn.
const MOST_AT_ONCE: usize = 16;
