//! Where readinto is not the best.

use super::{CaseResult, Report, RowResult};
use crate::figures::{Figure, Spread};
use crate::roster::{self, Part};

/// A row that is better than readinto at something.
pub(super) struct Rival<'a> {
    pub(super) case: &'a CaseResult,
    pub(super) figure: Figure,
    pub(super) row: &'a RowResult,
    /// How many times as good it is, round by round.
    pub(super) advantage: Spread,
}

impl Rival<'_> {
    /// Whether it was better in every round.
    pub(super) fn is_certain(&self) -> bool {
        self.advantage.least > 1.0
    }

    /// Whether it is better, and how sure that is.
    pub(super) fn verdict(&self) -> &'static str {
        match self.advantage.median >= TIE {
            false => "no",
            true if self.row.rounds.len() == 1 => "in the one round",
            true if self.is_certain() => "in every round",
            true => "in some rounds",
        }
    }

    pub(super) fn ours(&self) -> Option<Spread> {
        self.case.row(roster::READINTO)?.spread(self.figure)
    }

    pub(super) fn theirs(&self) -> Option<Spread> {
        self.row.spread(self.figure)
    }
}

/// For each figure of each case where a peer beats readinto: the best peer. The
/// largest loss first. What rounds to 1.00 is a tie. Ratios within a round decide,
/// not the medians of the rounds, which drift with the machine.
pub(super) fn losses(report: &Report) -> Vec<Rival<'_>> {
    let mut losses: Vec<_> = best(report, Part::Peer)
        .into_iter()
        .filter(|rival| rival.advantage.median >= TIE)
        .collect();
    losses.sort_by(|a, b| b.advantage.median.total_cmp(&a.advantage.median));
    losses
}

/// For each figure of each case: the best of what is written by hand.
pub(super) fn limits(report: &Report) -> Vec<Rival<'_>> {
    best(report, Part::Limit)
}

/// For each figure of each case: the best row of this kind.
pub(super) fn best(report: &Report, part: Part) -> Vec<Rival<'_>> {
    let mut rivals = Vec::new();
    for case in &report.cases {
        for &figure in &case.judged {
            let candidates = case.rows.iter().filter(|row| {
                report.entry(&row.row).is_some_and(|it| it.part == part)
                    && row.row != roster::MEMCPY
            });
            let best = candidates
                .filter_map(|row| Some((row, case.advantage(row, figure)?)))
                .max_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
            if let Some((row, advantage)) = best {
                rivals.push(Rival {
                    case,
                    figure,
                    row,
                    advantage,
                });
            }
        }
    }
    rivals
}

/// From here on one is better.
const TIE: f64 = 1.005;
