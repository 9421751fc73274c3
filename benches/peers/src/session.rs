//! A session from beginning to end: prepare, meet, measure, report.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;

use crate::background::{Background, Watch};
use crate::cli::Options;
use crate::interoperation;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::machine::Machine;
use crate::prepare::ours::target_folder;
use crate::prepare::{self, Prepared};
use crate::progress::{Progress, in_words};
use crate::report::{self, Report, RowEntry};
use crate::roster::{self, Row};
use crate::rounds::{self, Rounds};
use crate::workloads::{self, Case, Effort, Workload};

/// Does what the options ask for. The exit code tells whether all went well.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if options.list {
        print_list();
        return Ok(ExitCode::SUCCESS);
    }
    let kept = target_folder()?.join("peers");
    let output = options.output.clone().unwrap_or_else(|| kept.clone());
    if options.render {
        let report = report::json::read(&output)?;
        publish(&report, &output, options)?;
        return Ok(ExitCode::SUCCESS);
    }

    let interrupt = Interrupt::catch()?;
    let machine = Machine::this();
    let progress = Progress::new();
    let rows = options.rows()?;
    let prepared = prepare::prepare(rows, &kept, &interrupt, &progress)?;
    if interrupt.has_come() {
        progress.finish();
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let report = measure(options, machine, prepared, &progress);
    progress.finish();
    publish(&report, &output, options)?;
    Ok(match (report.complete, report.has_failures()) {
        (false, _) => ExitCode::from(INTERRUPTED),
        (true, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
    })
}

fn measure(options: &Options, machine: Machine, prepared: Prepared, progress: &Progress) -> Report {
    let Prepared {
        site,
        rows,
        skipped,
        versions,
    } = prepared;
    let rounds = Rounds {
        thrown_away: u32::from(!options.quick),
        counted: options.runs.unwrap_or(if options.quick { 1 } else { 5 }),
    };
    let cases = cases(options);
    let meeting = options.includes(Workload::Interoperation);
    let planned = planned(&cases, &rows, rounds, meeting, options.quick);
    progress.say(&format!(
        "{}\n{} rows, {} cases, {}: about {}",
        machine.describe(),
        rows.len(),
        cases.len(),
        match rounds.total() {
            1 => "1 round".to_owned(),
            total => format!("{total} rounds"),
        },
        in_words(planned)
    ));
    progress.plan(planned);

    let started = Instant::now();
    let watch = Watch::start(machine.cores);
    let mut report = Report {
        format: report::FORMAT,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        seconds: 0,
        complete: false,
        quick: options.quick,
        debug_build: cfg!(debug_assertions),
        rounds: rounds.counted,
        thrown_away: rounds.thrown_away,
        placement: site.cores.describe(),
        machine,
        background: Background::default(),
        versions,
        rows: rows.iter().map(|row| RowEntry::from(*row)).collect(),
        interoperation: Vec::new(),
        cases: Vec::new(),
        notes: skipped,
    };
    let mut interrupted = false;
    if meeting {
        (report.interoperation, interrupted) =
            interoperation::meet(&site, &rows, options.quick, progress);
        progress.say(&report::text::interoperation(&report));
    }
    for case in cases {
        if interrupted {
            break;
        }
        let played = rounds::play(&*case, &rows, rounds, &site, progress);
        interrupted = played.interrupted;
        report.notes.extend(played.notes);
        progress.say(&report::text::case(&report, &played.result));
        report.cases.push(played.result);
    }
    report.complete = !interrupted;
    report.seconds = started.elapsed().as_secs();
    report.background = watch.read();
    if let Some(warning) = report.background.warning() {
        progress.say(&warning);
    }
    report
}

fn cases(options: &Options) -> Vec<Box<dyn Case>> {
    let effort = Effort {
        quick: options.quick,
        sizes: options.sizes.clone(),
    };
    Workload::value_variants()
        .iter()
        .filter(|&&workload| options.includes(workload))
        .flat_map(|&workload| workloads::cases(workload, &effort))
        .collect()
}

/// About how long all of it takes.
fn planned(
    cases: &[Box<dyn Case>],
    rows: &[&Row],
    rounds: Rounds,
    meeting: bool,
    quick: bool,
) -> Duration {
    let round: Duration = cases
        .iter()
        .flat_map(|case| {
            let takes = rows.iter().filter(|row| case.takes(row));
            takes.map(|row| case.planned(row))
        })
        .sum();
    let meetings: Duration = match meeting {
        true => rows
            .iter()
            .filter(|row| row.skills.serve)
            .map(|row| interoperation::planned(row, quick))
            .sum(),
        false => Duration::ZERO,
    };
    round * rounds.total() + meetings
}

fn publish(report: &Report, output: &Path, options: &Options) -> Result<(), Box<dyn Error>> {
    let files = report::write(report, output)?;
    for file in files {
        println!("{}", file.display());
    }
    if options.update_readme {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in report::readme::update(report, &repository)? {
            println!("{}", file.display());
        }
    }
    Ok(())
}

fn print_list() {
    println!("workloads (--only):");
    for workload in Workload::value_variants() {
        println!("  {:<24}{}", workload.to_string(), workload.describe());
    }
    println!("\nrows, and the systems that they belong to (--peers takes both):");
    for row in roster::ROWS {
        println!(
            "  {:<24}{:<17}{:<8}{}",
            row.name,
            row.system,
            row.language.to_string(),
            row.does
        );
    }
}
