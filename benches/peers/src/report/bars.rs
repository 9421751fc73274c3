//! Throughput as horizontal bars, the best on top.

use super::palette;
use super::svg::{Anchor, Svg};
use super::{CaseResult, Report};
use crate::figures::{Figure, Spread};
use crate::roster::{self, Part};
use crate::workloads::Workload;

/// "bulk-100MB.svg"
pub(super) fn file_name(case: &CaseResult) -> String {
    format!("{}-{}.svg", case.workload, case.label.replace(' ', ""))
}

pub(super) fn draw(report: &Report, case: &CaseResult) -> String {
    let ranking = case.ranking(Figure::Rate);
    let height = TOP + ranking.len() as f64 * PITCH + BOTTOM;
    let mut svg = Svg::new(WIDTH, height);
    let title = title(case);
    svg.text((MARGIN, 30.0), Anchor::Start, "title", &title);
    let method = match report.rounds {
        1 => "one round".to_owned(),
        rounds => format!("median of {rounds} interleaved rounds, the line from least to most"),
    };
    let note = format!("MB/s of payload, one way; {method}");
    svg.text((MARGIN, 50.0), Anchor::Start, "note", &note);
    svg.text(
        (MARGIN, 67.0),
        Anchor::Start,
        "note",
        &report.machine.describe(),
    );

    let axis = Axis::new(report, &ranking);
    let bottom = TOP + ranking.len() as f64 * PITCH;
    for tick in axis.ticks() {
        let x = axis.x(tick);
        svg.line((x, TOP - 4.0), (x, bottom + 4.0), GRID, 1.0);
        let text = Figure::Rate.show(tick);
        svg.text((x, bottom + 18.0), Anchor::Middle, "small", &text);
    }
    if let Some(ours) = case
        .row(roster::READINTO)
        .and_then(|it| it.spread(Figure::Rate))
    {
        let x = axis.x(ours.median);
        svg.dashed((x, TOP - 4.0), (x, bottom + 4.0), OURS, 1.0);
    }
    for (index, (row, spread)) in ranking.iter().enumerate() {
        let top = TOP + index as f64 * PITCH;
        let middle = top + PITCH / 2.0;
        let class = match row.row == roster::READINTO {
            true => "ours",
            false => "row",
        };
        let baseline = middle + 4.5;
        svg.text((LEFT - 10.0, baseline), Anchor::End, class, &row.row);
        let colour = palette::colour(report, &row.row);
        let end = axis.x(spread.median);
        svg.bar(LEFT, middle - BAR / 2.0, end - LEFT, BAR, colour);
        let mut after = end;
        if spread.least != spread.most && !axis.is_beyond(spread.median) {
            let (from, to) = (axis.x(spread.least), axis.x(spread.most));
            svg.line((from, middle), (to, middle), WHISKER, 1.2);
            for x in [from, to] {
                svg.line((x, middle - 3.5), (x, middle + 3.5), WHISKER, 1.2);
            }
            after = to;
        }
        let ratio = case
            .advantage(row, Figure::Rate)
            .filter(|_| row.row != roster::READINTO)
            .map_or(String::new(), |it| format!("  (×{:.2})", it.median));
        let beyond = match axis.is_beyond(spread.median) {
            true => "→ ",
            false => "",
        };
        let value = format!("{beyond}{}{ratio}", Figure::Rate.show(spread.median));
        svg.text((after + 7.0, baseline), Anchor::Start, class, &value);
    }
    legend(&mut svg, report, case, bottom + 42.0);
    svg.finish(&title)
}

fn title(case: &CaseResult) -> String {
    let label = &case.label;
    match case.workload {
        Workload::BulkOneClient => {
            format!("Echo of {label} frames over TCP: one client for all, only the server differs")
        }
        Workload::BulkUnix => format!("Echo of {label} frames over a Unix socket, both ends alike"),
        _ => format!("Echo of {label} frames over TCP, both ends alike"),
    }
}

fn legend(svg: &mut Svg, report: &Report, case: &CaseResult, y: f64) {
    let rows = case.rows.iter().map(|row| row.row.as_str());
    let mut x = LEFT;
    for (name, colour) in palette::legend(report, rows) {
        svg.rect(x, y - 9.0, 11.0, 11.0, colour);
        svg.text((x + 16.0, y + 1.0), Anchor::Start, "note", name);
        x += 34.0 + name.chars().count() as f64 * 6.6;
    }
    svg.text(
        (MARGIN, y + 24.0),
        Anchor::Start,
        "small",
        "In parentheses: times readinto within each round. The dashed line is readinto's median.",
    );
}

/// From 0 to a little more than the best. Copying memory is off the scale.
struct Axis {
    most: f64,
}

impl Axis {
    fn new(report: &Report, ranking: &[(&super::RowResult, Spread)]) -> Axis {
        let on_scale = |name: &str| {
            let limit = report.entry(name).is_some_and(|it| it.part == Part::Limit);
            !(limit && name == roster::MEMCPY)
        };
        let most = |all: bool| {
            ranking
                .iter()
                .filter(|(row, _)| all || on_scale(&row.row))
                .map(|(_, spread)| spread.most)
                .fold(0.0, f64::max)
        };
        let on_scale = most(false);
        Axis {
            most: if on_scale > 0.0 { on_scale } else { most(true) } * 1.02,
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value / self.most).min(1.0) * SPAN
    }

    fn is_beyond(&self, value: f64) -> bool {
        value > self.most
    }

    /// Five to ten round numbers.
    fn ticks(&self) -> Vec<f64> {
        let step = [1.0, 2.0, 5.0]
            .iter()
            .flat_map(|digit| (0..12).map(move |power| digit * 10_f64.powi(power)))
            .filter(|step| self.most / step <= 8.0)
            .fold(f64::INFINITY, f64::min);
        (0..)
            .map(|n| f64::from(n) * step)
            .take_while(|tick| *tick <= self.most)
            .collect()
    }
}

const WIDTH: f64 = 920.0;
const MARGIN: f64 = 20.0;
/// Where the bars begin.
const LEFT: f64 = 190.0;
/// How long they can be; the numbers stand behind them.
const SPAN: f64 = 590.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 84.0;
const PITCH: f64 = 22.0;
const BAR: f64 = 14.0;
const GRID: &str = "#e9ecef";
const WHISKER: &str = "#343a40";
const OURS: &str = "#ea580c";
