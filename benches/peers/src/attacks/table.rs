//! The figures of the attacks as a table: a line for each server at each attack.

use std::fmt::Write;

use super::attack::Attack;
use super::attack::Feat;
use super::neighbour::Service;
use super::turn::Figures;
use super::{CONTENDERS, Contender};
use crate::figures::{Figure, Spread, grouped};
use crate::report::table::Table;

/// All turns of a server at one attack.
#[derive(Debug)]
pub(super) struct Suffered {
    pub(super) attack: Attack,
    pub(super) contender: &'static Contender,
    pub(super) turns: Vec<Figures>,
}

/// What the attacks and the servers are, and the table.
pub(super) fn explained(suffered: &[Suffered]) -> String {
    let mut text = String::new();
    let mut told = None;
    for it in suffered {
        if told.replace(it.attack) != Some(it.attack) {
            let peers = match it.attack.peers() {
                0 | 1 => String::new(),
                peers => format!("{peers} peers. "),
            };
            writeln!(
                text,
                "- `{}`: {peers}{}",
                it.attack.name(),
                it.attack.describe()
            )
            .expect("a string takes all");
        }
    }
    text.push('\n');
    for contender in CONTENDERS {
        writeln!(text, "- **{}**: {}", contender.name, contender.about)
            .expect("a string takes all");
    }
    format!("{text}\n{}", table(suffered).to_markdown())
}

pub(super) fn table(suffered: &[Suffered]) -> Table {
    let mut table = Table::new()
        .text("attack")
        .text("server")
        .number(Figure::Median.title())
        .number(Figure::P99.title())
        .number(Figure::Longest.title())
        .number("answered, %")
        .number("CPU, % of a core")
        .number("more resident, KiB")
        .number("for each attacker, KiB")
        .text("the attackers");
    for it in suffered {
        table.push(vec![
            it.attack.name().to_owned(),
            it.contender.name.to_owned(),
            it.latency(Figure::Median, |service| service.p50_ns),
            it.latency(Figure::P99, |service| service.p99_ns),
            it.latency(Figure::Longest, |service| service.longest_ns),
            it.answered(),
            it.cpu(),
            it.resident(),
            it.resident_each(),
            it.told(),
        ]);
    }
    table
}

impl Suffered {
    /// A figure of each turn, over all.
    fn spread(&self, of: impl Fn(&Figures) -> Option<f64>, show: impl Fn(f64) -> String) -> String {
        let spread = Spread::of(self.turns.iter().filter_map(of));
        spread.map_or("–".to_owned(), |it| it.show(show))
    }

    /// Of the neighbour's round trips, if it was answered at all.
    fn latency(&self, figure: Figure, of: impl Fn(&Service) -> u64) -> String {
        let seconds = |turn: &Figures| {
            let service = turn.service.as_ref().filter(|it| it.answered > 0)?;
            Some(of(service) as f64 / 1e9)
        };
        self.spread(seconds, |n| figure.show(n))
    }

    fn answered(&self) -> String {
        let percent = |turn: &Figures| {
            let service = turn.service.as_ref()?;
            Some(100.0 * service.answered as f64 / service.asked as f64)
        };
        self.spread(percent, |n| match n {
            // What is not all must not be rounded to it.
            100.0 => "100".to_owned(),
            n => format!("{:.1}", n.min(99.9)),
        })
    }

    fn cpu(&self) -> String {
        let share = |turn: &Figures| Some(turn.cost.as_ref()?.cpu);
        self.spread(share, |n| format!("{:.0}", n * 100.0))
    }

    fn resident(&self) -> String {
        let bytes = |turn: &Figures| Some(turn.cost.as_ref()?.resident as f64);
        self.spread(bytes, |n| grouped(&format!("{:.0}", n / 1024.0)))
    }

    fn resident_each(&self) -> String {
        let each = |turn: &Figures| {
            let resident = turn.cost.as_ref()?.resident as f64;
            let is_crowd = self.attack.peers() > 1 && turn.feat.connections > 0;
            is_crowd.then(|| resident / turn.feat.connections as f64)
        };
        self.spread(each, |n| Figure::ResidentPerConnection.show(n))
    }

    /// What the attackers have reached, and what is left of the server.
    fn told(&self) -> String {
        let count = |of: fn(&Feat) -> u64| {
            self.spread(
                |turn| Some(of(&turn.feat) as f64),
                |n| grouped(&format!("{n:.0}")),
            )
        };
        let rate = |of: fn(&Feat) -> u64| {
            let rate = |turn: &Figures| Some(of(&turn.feat) as f64 / turn.feat.seconds);
            self.spread(rate, |n| Figure::FrameRate.show(n))
        };
        let reached = match self.attack {
            Attack::Calm => String::new(),
            Attack::Connects | Attack::Cuts | Attack::Garbage => {
                format!("{} connections/s", rate(|feat| feat.connections))
            }
            Attack::Deaf => format!(
                "{} connected, {} were cut",
                count(|feat| feat.connections),
                count(|feat| feat.cut)
            ),
            Attack::Claims | Attack::Drips | Attack::Descriptors => {
                format!("{} connected", count(|feat| feat.connections))
            }
            Attack::LargeFrames => format!("{} frames/s", rate(|feat| feat.answered)),
            Attack::Drain => format!(
                "{} of {} frames lost",
                count(|feat| feat.sent - feat.answered),
                count(|feat| feat.sent)
            ),
        };
        let counted = |what: &str, of: fn(&Figures) -> bool| {
            let turns = self.turns.iter().filter(|turn| of(turn)).count();
            match turns {
                0 => None,
                _ if turns == self.turns.len() => Some(what.to_owned()),
                _ => Some(format!("{what} in {turns} of {}", self.turns.len())),
            }
        };
        let is_stopped = self.attack == Attack::Drain;
        let ended = counted("**the server ended**", |turn| turn.ended);
        let shut = counted("**no newcomer was served**", |turn| {
            !turn.ended && turn.feat.newcomer_seconds.is_none()
        });
        let left = [ended, shut].into_iter().flatten().filter(|_| !is_stopped);
        let parts = Some(reached)
            .filter(|it| !it.is_empty())
            .into_iter()
            .chain(left);
        parts.collect::<Vec<_>>().join("; ")
    }
}
