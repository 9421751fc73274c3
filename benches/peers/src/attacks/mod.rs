//! What attackers cost, and their neighbours: our server beside what tokio's users
//! write.
//!
//! In each turn a server of its own is attacked for some seconds, while a neighbour
//! that behaves asks it something every other millisecond. The servers take turns at
//! each attack, round after round.

pub(crate) mod attack;
pub(crate) mod neighbour;
mod table;
mod turn;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum, value_parser};

use crate::background::Watch;
use crate::conclude::conclude;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::prepare::ours;
use crate::process::{Cores, Failure};
use crate::progress::Progress;
use crate::report::readme::replace_block;
use crate::site::Site;
use attack::Attack;
use table::Suffered;
use turn::turn;

/// Attack our server and the tokio reference servers, with a neighbour that is to be served
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A look at everything in a minute: one short round, a tenth of the attackers
    #[arg(long)]
    quick: bool,

    /// Only these attacks; can be repeated [default: all]
    #[arg(long, value_name = "ATTACK", value_enum, value_delimiter = ',')]
    only: Vec<Attack>,

    /// Only these servers; can be repeated [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = PossibleValuesParser::new(CONTENDERS.map(|it| it.name)))]
    servers: Vec<String>,

    /// How many rounds [default: 5, or 1 if quick]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,

    /// Put the table into docs/testing.md
    #[arg(long, conflicts_with_all = ["quick", "only", "servers"])]
    update_docs: bool,
}

impl Options {
    fn effort(&self) -> Effort {
        Effort {
            quick: self.quick,
            rounds: self.runs.unwrap_or(if self.quick { 1 } else { 5 }),
        }
    }

    fn attacks(&self) -> Vec<Attack> {
        let all = Attack::value_variants().iter().copied();
        all.filter(|attack| self.only.is_empty() || self.only.contains(attack))
            .collect()
    }

    fn contenders(&self) -> Vec<&'static Contender> {
        let asked_for = |it: &&Contender| {
            self.servers.is_empty() || self.servers.iter().any(|name| name == it.name)
        };
        CONTENDERS.iter().filter(asked_for).collect()
    }
}

/// A server that is attacked.
#[derive(Debug)]
pub(crate) struct Contender {
    name: &'static str,
    program: Program,
    /// After those that all servers get.
    arguments: &'static [&'static str],
    about: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Program {
    ReadintoEcho,
    /// A row of this harness.
    Row,
}

impl Contender {
    fn command(&self, site: &Site) -> Command {
        match self.program {
            Program::ReadintoEcho => Command::new(&site.programs[READINTO_ECHO][0]),
            Program::Row => {
                let mut command = Command::new(&site.own);
                command.args(["peer", self.name]);
                command
            }
        }
    }
}

/// How hard and for how long.
#[derive(Clone, Copy, Debug)]
struct Effort {
    quick: bool,
    rounds: u32,
}

impl Effort {
    /// How long a turn lasts.
    fn interval(self) -> Duration {
        match self.quick {
            true => Duration::from_millis(200),
            false => Duration::from_secs(3),
        }
    }

    fn peers(self, attack: Attack) -> usize {
        match self.quick {
            true => attack.peers().div_ceil(10),
            false => attack.peers(),
        }
    }
}

/// Does what the options ask for. The exit code tells whether all went well.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let interrupt = Interrupt::catch()?;
    let machine = Machine::this();
    let readinto_echo = ours::readinto_echo(&interrupt)?;
    let site = Site {
        programs: BTreeMap::from([(READINTO_ECHO, vec![readinto_echo])]),
        own: std::env::current_exe()?,
        cores: Cores::pick(),
        interrupt,
    };

    let watch = Watch::start(machine.cores);
    let outcome = attack_all(options, &site).and_then(|suffered| {
        if !options.update_docs {
            return Ok(());
        }
        let mut block = table::explained(&suffered);
        let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        write!(
            block,
            "\n{}; medians of {} interleaved rounds with the least and the most, {}; measured \
             {}. {}\n",
            machine.describe(),
            options.effort().rounds,
            site.cores.describe(),
            today.split('T').next().unwrap_or_default(),
            watch.read().warning().unwrap_or_default(),
        )
        .expect("a string takes all");
        update_docs(&block).map_err(|error| Failure::Broken(error.to_string()))
    });
    conclude(outcome, &watch)
}

/// Every server at every attack, in turns; tells the figures of each attack at once.
fn attack_all(options: &Options, site: &Site) -> Result<Vec<Suffered>, Failure> {
    let effort = options.effort();
    let one = effort.interval() + BEFORE_AND_AFTER;
    let (attacks, contenders) = (options.attacks(), options.contenders());
    let progress = Progress::new();
    progress.plan(one * effort.rounds * (attacks.len() * contenders.len()) as u32);
    let mut suffered = Vec::new();
    for attack in attacks {
        let begin = |&contender| Suffered {
            attack,
            contender,
            turns: Vec::new(),
        };
        let mut of_attack: Vec<_> = contenders.iter().map(begin).collect();
        for round in 1..=effort.rounds {
            let rounds = effort.rounds;
            progress.stage(&format!("{}: round {round} of {rounds}", attack.name()));
            for it in &mut of_attack {
                progress.turn(it.contender.name);
                it.turns.push(turn(site, it.contender, attack, effort)?);
                progress.advance(one);
            }
        }
        let what = attack.describe();
        let figures = table::table(&of_attack).to_terminal();
        progress.say(&format!("\n{what}\n{figures}"));
        suffered.extend(of_attack);
    }
    progress.finish();
    Ok(suffered)
}

/// Puts the block where docs/testing.md has room for it.
fn update_docs(block: &str) -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/testing.md");
    let text = fs::read_to_string(&path)?;
    let updated = replace_block(&text, block).map_err(|error| format!("testing.md {error}"))?;
    fs::write(&path, updated)?;
    println!("{}", path.display());
    Ok(())
}

/// What a turn takes beside its interval, about.
const BEFORE_AND_AFTER: Duration = Duration::from_millis(500);

const READINTO_ECHO: &str = "readinto-echo";

const CONTENDERS: [Contender; 4] = [
    Contender {
        name: READINTO_ECHO,
        program: Program::ReadintoEcho,
        arguments: &[],
        about: "`readinto-echo serve` with its defaults",
    },
    Contender {
        name: "readinto-echo-budget",
        program: Program::ReadintoEcho,
        arguments: &["--memory-budget", "128MiB", "--stall-timeout", "1s"],
        about: "the same with `--memory-budget 128MiB --stall-timeout 1s`",
    },
    Contender {
        name: "tokio-codec-loop",
        program: Program::Row,
        arguments: &[],
        about: "`LengthDelimitedCodec` with the same maximum; after an error, it accepts again at once",
    },
    Contender {
        name: "tokio-vec",
        program: Program::Row,
        arguments: &[],
        about: "`read_exact` into a fresh `Vec` per frame; after an error, it accepts a second later, as axum does",
    },
];
