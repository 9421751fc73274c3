//! Round trips of small frames: alone, and beside large ones. Each row is a line
//! from its median to its longest, with marks on the way.

use super::palette;
use super::svg::{Anchor, Svg};
use super::{CaseResult, Report};
use crate::figures::Figure;
use crate::roster;
use crate::workloads::Workload;

pub(super) const FILE_NAME: &str = "round-trips.svg";

/// None if no round trips were measured.
pub(super) fn draw(report: &Report) -> Option<String> {
    let panels: Vec<&CaseResult> = [Workload::Rtt, Workload::Mixed]
        .iter()
        .filter_map(|&workload| report.cases.iter().find(|it| it.workload == workload))
        .filter(|case| !case.rows.is_empty())
        .collect();
    let first = panels.first()?;
    let names: Vec<&str> = first
        .ranking(Figure::P99)
        .iter()
        .map(|(row, _)| row.row.as_str())
        .collect();
    let width = LEFT + panels.len() as f64 * (PANEL + GAP) + MARGIN;
    let bottom = TOP + names.len() as f64 * PITCH;
    let mut svg = Svg::new(width, bottom + BOTTOM);

    let title = "Round trips of 64-byte frames";
    svg.text((MARGIN, 30.0), Anchor::Start, "title", title);
    let method = match report.rounds {
        1 => "one round".to_owned(),
        rounds => format!("medians of {rounds} interleaved rounds"),
    };
    let note = format!("one load generator for all, {method}; logarithmic");
    svg.text((MARGIN, 50.0), Anchor::Start, "note", &note);
    svg.text(
        (MARGIN, 67.0),
        Anchor::Start,
        "note",
        &report.machine.describe(),
    );

    for (index, name) in names.iter().enumerate() {
        let top = TOP + index as f64 * PITCH;
        if index % 2 == 0 {
            svg.rect(MARGIN, top, width - 2.0 * MARGIN, PITCH, STRIPE);
        }
        let class = match *name == roster::READINTO {
            true => "ours",
            false => "row",
        };
        let baseline = top + PITCH / 2.0 + 4.5;
        svg.text((LEFT - 12.0, baseline), Anchor::End, class, name);
    }
    for (index, case) in panels.iter().enumerate() {
        let left = LEFT + index as f64 * (PANEL + GAP);
        let heading = match case.workload {
            Workload::Rtt => "alone (rtt)".to_owned(),
            _ => format!("{}, same server (mixed)", case.label),
        };
        svg.text((left, TOP - 8.0), Anchor::Start, "strong", &heading);
        panel(&mut svg, report, case, &names, left);
    }
    legend(&mut svg, bottom + 46.0);
    Some(svg.finish(title))
}

fn panel(svg: &mut Svg, report: &Report, case: &CaseResult, names: &[&str], left: f64) {
    let axis = Axis::new(case, left);
    let bottom = TOP + names.len() as f64 * PITCH;
    for (value, label) in axis.ticks() {
        let x = axis.x(value);
        svg.line((x, TOP), (x, bottom + 4.0), GRID, 1.0);
        svg.text((x, bottom + 18.0), Anchor::Middle, "small", &label);
    }
    for (index, name) in names.iter().enumerate() {
        let Some(row) = case.row(name) else { continue };
        let at = |figure| row.spread(figure).map(|spread| axis.x(spread.median));
        let y = TOP + index as f64 * PITCH + PITCH / 2.0;
        let (Some(median), Some(p99), Some(p999), Some(longest)) = (
            at(Figure::Median),
            at(Figure::P99),
            at(Figure::P999),
            at(Figure::Longest),
        ) else {
            continue;
        };
        let colour = palette::colour(report, name);
        svg.line((median, y), (p99, y), colour, 3.0);
        svg.line((p99, y), (longest, y), colour, 1.2);
        svg.line((longest, y - 4.5), (longest, y + 4.5), colour, 2.0);
        svg.ring((p999, y), 3.4, colour);
        svg.diamond((p99, y), 5.0, colour);
        svg.dot((median, y), 4.6, colour);
    }
}

fn legend(svg: &mut Svg, y: f64) {
    let mut x = LEFT;
    let mut next = |width: f64| {
        let here = x;
        x += width;
        here
    };
    let marks: [(&str, Mark); 4] = [
        ("p50", |svg, at| svg.dot(at, 4.6, INK)),
        ("p99", |svg, at| svg.diamond(at, 5.0, INK)),
        ("p99.9", |svg, at| svg.ring(at, 3.4, INK)),
        ("longest", |svg, (x, y)| {
            svg.line((x, y - 4.5), (x, y + 4.5), INK, 2.0);
        }),
    ];
    for (name, mark) in marks {
        let x = next(42.0 + name.len() as f64 * 6.6);
        mark(svg, (x + 5.0, y - 4.0));
        svg.text((x + 16.0, y), Anchor::Start, "note", name);
    }
}

/// Draws a mark at a point.
type Mark = fn(&mut Svg, (f64, f64));

/// Logarithmic, over whole decades or parts of them.
struct Axis {
    left: f64,
    least: f64,
    most: f64,
}

impl Axis {
    fn new(case: &CaseResult, left: f64) -> Axis {
        let medians = |figure: Figure| {
            case.rows
                .iter()
                .filter_map(move |row| row.spread(figure))
                .map(|spread| spread.median)
        };
        Axis {
            left,
            least: medians(Figure::Median).fold(f64::INFINITY, f64::min) / 1.3,
            most: medians(Figure::Longest).fold(0.0, f64::max) * 1.3,
        }
    }

    fn x(&self, seconds: f64) -> f64 {
        let share = (seconds / self.least).ln() / (self.most / self.least).ln();
        self.left + share.clamp(0.0, 1.0) * PANEL
    }

    /// Powers of ten in between, or finer steps where there are few.
    fn ticks(&self) -> Vec<(f64, String)> {
        let decades = (self.most / self.least).log10();
        let digits: &[f64] = match decades {
            few if few < 2.5 => &[1.0, 2.0, 5.0],
            some if some < 4.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        (-7..3)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
            .filter(|value| (self.least..=self.most).contains(value))
            .map(|value| (value, in_units(value)))
            .collect()
    }
}

/// "20 µs", "5 ms"
fn in_units(seconds: f64) -> String {
    match seconds {
        s if s < 0.999e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 0.999e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 0.999 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.0} s"),
    }
}

const MARGIN: f64 = 20.0;
const LEFT: f64 = 190.0;
const PANEL: f64 = 350.0;
const GAP: f64 = 30.0;
const TOP: f64 = 108.0;
const BOTTOM: f64 = 68.0;
const PITCH: f64 = 21.0;
const STRIPE: &str = "#f8f9fa";
const GRID: &str = "#dee2e6";
const INK: &str = "#495057";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_of_their_size() {
        let shown = [5e-7, 2e-5, 1e-3, 0.05, 2.0].map(in_units);
        assert_eq!(shown, ["500 ns", "20 µs", "1 ms", "50 ms", "2 s"]);
    }
}
