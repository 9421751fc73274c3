//! What settings of `readinto-echo` cost and bring, or another build of it does: beside
//! the plain server, in turns.
//!
//! Everything is a ratio to the plain server of the same round.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, value_parser};

use crate::background::Watch;
use crate::conclude::conclude;
use crate::figures::Spread;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::peer::Prefix;
use crate::prepare::ours;
use crate::process::{Cores, Failure};
use crate::site::{Site, Transport};
use crate::turns::Done;
use crate::workloads::served::{Load, Said, Scene};

/// What settings of `readinto-echo serve` cost and bring, or another build of it
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Another `readinto-echo`, to be measured beside this one
    #[arg(long, value_name = "PROGRAM", value_parser = program)]
    against: Option<PathBuf>,

    /// How many rounds count; one more comes before them
    #[arg(long, value_name = "N", default_value = "11", value_parser = value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// Whether it works: one short round, fewer connections
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
}

impl Options {
    fn effort(&self) -> Effort {
        match self.quick {
            true => Effort {
                rounds: 1,
                thrown_away: 0,
                seconds: 0.1,
                crowds: &[100],
            },
            false => Effort {
                rounds: self.runs,
                thrown_away: 1,
                seconds: 1.0,
                crowds: &[100, 5_000],
            },
        }
    }
}

fn program(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(file) if file.is_file() => Ok(path),
        Ok(_) => Err("not a program".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: u32,
    thrown_away: u32,
    /// Of a turn.
    seconds: f64,
    /// Connections at once.
    crowds: &'static [u64],
}

impl Effort {
    /// Each round, and whether it counts.
    fn rounds(&self) -> impl Iterator<Item = bool> {
        let thrown_away = self.thrown_away;
        (0..thrown_away + self.rounds).map(move |round| round >= thrown_away)
    }

    fn rtt(&self) -> Load {
        self.load("rtt", 1)
    }

    fn fanin(&self) -> impl Iterator<Item = Load> {
        let crowds = self.crowds.iter();
        crowds.map(|&connections| self.load("fanin", connections))
    }

    fn load(&self, kind: &'static str, connections: u64) -> Load {
        Load {
            kind,
            connections,
            in_flight: 1,
            seconds: Some(self.seconds),
            bulk_size: None,
        }
    }
}

/// Measures, and prints two tables for people.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let effort = options.effort();
    let interrupt = Interrupt::catch()?;
    let mut programs = BTreeMap::from([(THIS, vec![ours::readinto_echo(&interrupt)?])]);
    let mut others = vec![Setting {
        program: THIS,
        arguments: &["--stats", "1s"],
    }];
    if let Some(other) = &options.against {
        programs.insert(OTHER, vec![other.clone()]);
        others.push(Setting {
            program: OTHER,
            arguments: &[],
        });
    }
    let mut site = Site {
        programs,
        own: std::env::current_exe()?,
        cores: Cores::pick(),
        interrupt,
    };
    let machine = Machine::this();
    let watch = Watch::start(machine.cores);
    println!("{}; {}", machine.describe(), site.cores.describe());
    let outcome = beside_plain(&site, &others, effort).and_then(|()| {
        // Two threads on one core are no faster.
        site.cores.pair = None;
        on_all_cores(&site, effort)
    });
    conclude(outcome, &watch)
}

/// Each of these settings at each of the loads.
fn beside_plain(site: &Site, others: &[Setting], effort: Effort) -> Result<(), Failure> {
    println!("\n| | to the plain server | {} |", join(others));
    println!("|---|---|{}", "---|".repeat(others.len()));
    for load in [effort.rtt()].into_iter().chain(effort.fanin()) {
        let mut speed = vec![Vec::new(); others.len()];
        let mut cpu = speed.clone();
        for counts in effort.rounds() {
            let plain = turn(site, &PLAIN, &load)?;
            for (index, other) in others.iter().enumerate() {
                let other = turn(site, other, &load)?;
                if counts {
                    speed[index].push(rate(&other) / rate(&plain));
                    cpu[index].push(server_per_frame(&other) / server_per_frame(&plain));
                }
            }
        }
        let what = describe(&load);
        println!(
            "| {what} | frames/s | {} |",
            join(speed.into_iter().map(ratio))
        );
        println!(
            "| | server's CPU per frame | {} |",
            join(cpu.into_iter().map(ratio))
        );
    }
    Ok(())
}

/// One thread and two, with nothing pinned, beside the generator's thread.
fn on_all_cores(site: &Site, effort: Effort) -> Result<(), Failure> {
    println!(
        "\n| nothing pinned | frames/s, of 2 threads to 1 | server's CPU per frame, same \
         | cores of server and generator, 1 thread | 2 threads |\n|---|---|---|---|---|"
    );
    for load in effort.fanin() {
        let (mut speed, mut cpu) = (Vec::new(), Vec::new());
        let mut cores = [const { Vec::new() }; 4];
        for counts in effort.rounds() {
            let one = turn(site, &PLAIN, &load)?;
            let two = turn(site, &TWO_THREADS, &load)?;
            if counts {
                speed.push(rate(&two) / rate(&one));
                cpu.push(server_per_frame(&two) / server_per_frame(&one));
                let now = [server(&one), generator(&one), server(&two), generator(&two)];
                for (all, now) in cores.iter_mut().zip(now) {
                    all.push(now);
                }
            }
        }
        let [one, its_generator, two, their_generator] = cores.map(ratio);
        println!(
            "| {} | {} | {} | {one}, {its_generator} | {two}, {their_generator} |",
            describe(&load),
            ratio(speed),
            ratio(cpu)
        );
    }
    Ok(())
}

/// A way to run the server.
#[derive(Clone, Copy, Debug)]
struct Setting {
    program: &'static str,
    arguments: &'static [&'static str],
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.program {
            OTHER => f.write_str("the other build"),
            _ => write!(f, "`{}`", self.arguments.join(" ")),
        }
    }
}

const PLAIN: Setting = Setting {
    program: THIS,
    arguments: &[],
};
const TWO_THREADS: Setting = Setting {
    program: THIS,
    arguments: &["--threads", "2"],
};

const THIS: &str = "readinto-echo";
const OTHER: &str = "the other readinto-echo";

/// One turn, with a server of its own.
fn turn(site: &Site, setting: &Setting, load: &Load) -> Result<Done<Said>, Failure> {
    let command = Command::new(&site.programs[setting.program][0]);
    let server = site.serve_by(
        setting.program,
        command,
        setting.arguments,
        Transport::Tcp,
        Prefix::U32Be,
    )?;
    let mut scene = Scene::around(server, site, load)?;
    let done = scene.go()?;
    scene.end()?;
    match done.said.frames {
        0 => Err(Failure::Broken("not one frame came back".to_owned())),
        _ => Ok(done),
    }
}

/// Frames per second.
fn rate(done: &Done<Said>) -> f64 {
    done.said.frames as f64 / done.said.seconds
}

/// Processor seconds.
fn server_per_frame(done: &Done<Said>) -> f64 {
    done.server.cpu.as_secs_f64() / done.said.frames as f64
}

/// How many cores the server used.
fn server(done: &Done<Said>) -> f64 {
    done.server.cpu.as_secs_f64() / done.said.seconds
}

/// The same of the load generator.
fn generator(done: &Done<Said>) -> f64 {
    done.client.cpu.as_secs_f64() / done.said.seconds
}

fn describe(load: &Load) -> String {
    match load.connections {
        1 => load.kind.to_owned(),
        connections => format!("{}, {connections} connections", load.kind),
    }
}

fn ratio(ratios: Vec<f64>) -> String {
    let spread = Spread::of(ratios).expect("there is at least one round");
    spread.show(|ratio| format!("{ratio:.2}"))
}

fn join(cells: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.to_string()).collect();
    cells.join(" | ")
}
