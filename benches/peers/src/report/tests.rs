//! What is made of the figures.

use clap::ValueEnum;

use super::*;
use crate::interoperation::Side;
use crate::roster;
use crate::workloads::{self, Effort};

/// A report of one bulk case: MB/s of each row, round by round.
fn report(rows: &[(&str, &[f64])]) -> Report {
    let rounds = rows[0].1.len();
    let results = rows
        .iter()
        .map(|(name, rates)| RowResult {
            row: (*name).to_owned(),
            rounds: rates
                .iter()
                .map(|rate| Measurement::from([(Figure::Rate, rate * 1e6)]))
                .collect(),
        })
        .collect();
    Report {
        format: FORMAT,
        started: "2025-01-02T03:04:05Z".to_owned(),
        seconds: 61,
        complete: true,
        quick: false,
        debug_build: false,
        rounds: rounds as u32,
        thrown_away: 1,
        placement: "server on core 0, client on core 1".to_owned(),
        machine: Machine {
            processor: "A processor".to_owned(),
            cores: 2,
            virtual_machine: true,
            memory_bytes: 8 << 30,
            kernel: "6.1".to_owned(),
        },
        background: Background::default(),
        versions: vec![Version::new("tokio", "1.2.3")],
        rows: rows
            .iter()
            .map(|(name, _)| RowEntry::from(roster::find(name).expect("a row")))
            .collect(),
        interoperation: Vec::new(),
        cases: vec![CaseResult {
            workload: Workload::Bulk,
            label: "100 MB".to_owned(),
            columns: vec![Figure::Rate],
            judged: vec![Figure::Rate],
            rows: results,
        }],
        notes: Vec::new(),
    }
}

/// A report of every row in every case, all alike but for the given rates of one case.
fn whole_report(rates: &[(&str, &[f64])]) -> Report {
    let effort = Effort {
        quick: false,
        sizes: Vec::new(),
    };
    let mut given = report(rates);
    let cases = Workload::value_variants()
        .iter()
        .flat_map(|&workload| workloads::cases(workload, &effort));
    let alike = cases.map(|case| {
        let turn: Measurement = case.columns().iter().map(|&it| (it, 1e6)).collect();
        let rows = roster::ROWS.iter().filter(|row| case.takes(row));
        CaseResult {
            workload: case.workload(),
            label: case.label(),
            columns: case.columns().to_vec(),
            judged: case.judged().to_vec(),
            rows: rows
                .map(|row| RowResult {
                    row: row.name.to_owned(),
                    rounds: vec![turn.clone(); given.rounds as usize],
                })
                .collect(),
        }
    });
    let mut cases: Vec<_> = alike.collect();
    for row in given.cases.remove(0).rows {
        let case = cases.iter_mut().find(|it| it.title() == "bulk, 100 MB");
        let mut rows = case.expect("a case of bulk").rows.iter_mut();
        let place = rows.find(|it| it.row == row.row).expect("a row");
        *place = row;
    }
    Report {
        rows: roster::ROWS.iter().map(RowEntry::from).collect(),
        interoperation: vec![Encounter {
            row: roster::READINTO.to_owned(),
            side: Side::Server,
            prefix: "u32be".to_owned(),
            outcome: Outcome::Agreed,
        }],
        cases,
        ..given
    }
}

#[test]
fn ratios_are_taken_within_rounds() {
    let report = report(&[("readinto", &[1.0, 2.0, 4.0]), ("smol", &[2.0, 2.0, 2.0])]);
    let case = &report.cases[0];
    let ratio = case.advantage(&case.rows[1], Figure::Rate).unwrap();
    assert_eq!((ratio.least, ratio.median, ratio.most), (0.5, 1.0, 2.0));
}

#[test]
fn losses_come_first_and_name_the_best_peer() {
    let report = report(&[
        ("readinto", &[1000.0, 1000.0]),
        ("smol", &[1100.0, 1100.0]),
        ("go", &[1500.0, 900.0]),
        ("std-blocking", &[3000.0, 3000.0]),
        ("memcpy", &[9000.0, 9000.0]),
    ]);
    let told = markdown::render(&report);
    let place = |line: &str| {
        told.find(line)
            .unwrap_or_else(|| panic!("{line} is not in {told}"))
    };
    let loss = place(
        "| bulk, 100 MB | MB/s | 1000 | go | 1200 (900–1500) | 1.20 (0.90–1.50) | in some rounds |",
    );
    let limit =
        place("| bulk, 100 MB | MB/s | 1000 | std-blocking | 3000 | 3.00 | in every round |");
    let tables = place("\n## bulk\n");
    assert!(loss < limit && limit < tables, "{told}");
}

#[test]
fn ratios_within_rounds_decide_what_readme_calls_a_loss() {
    let report = report(&[
        ("readinto", &[100.0, 200.0, 300.0]),
        ("smol", &[110.0, 150.0, 330.0]),
        ("go", &[100.0, 210.0, 290.0]),
    ]);
    let block = readme::block(&report);
    for line in [
        "× is the median of the ratios within each round",
        "- bulk, 100 MB: smol has 150 against 200 (MB/s; ×1.10, not in every round)",
        "| go | **210** |",
    ] {
        assert!(block.contains(line), "{line} is not in {block}");
    }
}

#[test]
fn a_tie_is_no_loss_and_a_report_without_losses_says_so() {
    let report = report(&[("readinto", &[1000.0]), ("smol", &[1004.0])]);
    assert!(losses::losses(&report).is_empty());
    assert!(markdown::render(&report).contains("Nowhere: no peer"));
}

#[test]
fn a_row_that_lacks_rounds_is_compared_in_those_that_it_has() {
    let report = report(&[("readinto", &[1.0, 2.0, 4.0]), ("smol", &[3.0])]);
    let case = &report.cases[0];
    let ratio = case.advantage(&case.rows[1], Figure::Rate).unwrap();
    assert_eq!((ratio.least, ratio.most), (3.0, 3.0));
}

#[test]
fn failures_and_quick_looks_are_told() {
    let mut report = report(&[("readinto", &[1.0])]);
    assert!(!report.has_failures());
    let smol = roster::find("smol").unwrap();
    let failure = Failure::Unavailable("no io_uring".to_owned());
    report.notes.push(Note::of_row(smol, &failure));
    assert!(!report.has_failures(), "a skipped row is none");
    let failure = Failure::Broken("an answer of wrong bytes".to_owned());
    report.notes.push(Note::of_row(smol, &failure));
    assert!(report.has_failures());
    report.quick = true;
    report.debug_build = true;
    let told = markdown::render(&report);
    for line in [
        "- skipped: smol: no io_uring",
        "- failed: smol: an answer of wrong bytes",
        "This was a quick look",
        "This was a debug build",
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(&[("readinto", &[1.0, 2.0]), ("smol", &[3.0, 4.0])]);
    let files = write(&report, folder.path()).unwrap();
    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["report.json", "report.md", "bulk-100MB.svg"]);
    let read = json::read(folder.path()).unwrap();
    assert_eq!(json::render(&read).unwrap(), json::render(&report).unwrap());
}

#[test]
fn only_the_block_in_readme_is_made_anew() {
    let repository = tempfile::tempdir().unwrap();
    let readme = repository.path().join("README.md");
    let before = "top\n<!-- peers:begin -->\nold\n<!-- peers:end -->\nbottom\n";
    fs::write(&readme, before).unwrap();
    let report = whole_report(&[
        ("readinto", &[1000.0, 1000.0]),
        ("tokio-exact", &[1100.0, 1100.0]),
        ("tokio-vec", &[700.0, 700.0]),
        ("mio-hand-written", &[2000.0, 2000.0]),
    ]);

    let files = readme::update(&report, repository.path()).unwrap();
    assert!(files.contains(&repository.path().join("docs/images/bulk.svg")));
    let after = fs::read_to_string(&readme).unwrap();
    assert!(after.starts_with("top\n<!-- peers:begin -->\n"), "{after}");
    assert!(after.ends_with("<!-- peers:end -->\nbottom\n"), "{after}");
    let block = readme::block(&report);
    assert!(after.contains(&block), "{block} is not in {after}");
    let loss = "- bulk, 100 MB: tokio-exact has 1100 against 1000 (MB/s; ×1.10)";
    assert!(after.contains(loss), "{loss} is not in {after}");
}

#[test]
fn readme_takes_nothing_but_whole_sessions() {
    let repository = tempfile::tempdir().unwrap();
    let readme = repository.path().join("README.md");
    let before = "<!-- peers:begin -->\nold\n<!-- peers:end -->\n";
    fs::write(&readme, before).unwrap();
    let smol = roster::find("smol").unwrap();
    type Damage<'a> = &'a dyn Fn(&mut Report);
    let damages: [(&str, Damage); 11] = [
        ("a quick look", &|report| report.quick = true),
        ("interrupted", &|report| report.complete = false),
        ("a debug build", &|report| report.debug_build = true),
        ("failed: smol: wrong bytes", &|report| {
            let failure = Failure::Broken("wrong bytes".to_owned());
            report.notes.push(Note::of_row(smol, &failure));
        }),
        ("skipped: smol: no io_uring", &|report| {
            let failure = Failure::Unavailable("no io_uring".to_owned());
            report.notes.push(Note::of_row(smol, &failure));
        }),
        ("don't understand each other", &|report| {
            let outcome = Outcome::Failed("wrong bytes".to_owned());
            report.interoperation[0].outcome = outcome;
        }),
        ("smol did not take part", &|report| {
            report.rows.retain(|it| it.name != "smol");
        }),
        ("interoperation was left out", &|report| {
            report.interoperation.clear();
        }),
        ("bulk, 64 KB was left out", &|report| {
            report.cases.remove(0);
        }),
        ("smol has 1 of 2 rounds in bulk, 64 KB", &|report| {
            let mut rows = report.cases[0].rows.iter_mut();
            let row = rows.find(|it| it.row == "smol").unwrap();
            row.rounds.truncate(1);
        }),
        ("smol has 0 of 2 rounds in bulk, 64 KB", &|report| {
            report.cases[0].rows.retain(|it| it.row != "smol");
        }),
    ];
    let whole = whole_report(&[("readinto", &[1.0, 1.0])]);
    for (reason, damage) in damages {
        let mut report = whole.clone();
        damage(&mut report);
        let refused = readme::update(&report, repository.path()).unwrap_err();
        let told = refused.to_string();
        assert!(told.contains(reason), "{reason} is not in {told}");
        assert_eq!(fs::read_to_string(&readme).unwrap(), before, "{reason}");
    }
    readme::update(&whole, repository.path()).unwrap();
    assert_ne!(fs::read_to_string(&readme).unwrap(), before);
}

#[test]
fn bold_in_readme_is_the_best_of_those_that_sleep() {
    for polling in [5000.0, 1100.0] {
        let block = readme::block(&report(&[
            ("readinto", &[1000.0]),
            ("readinto-busy-poll", &[polling]),
            ("tokio-exact", &[1100.0]),
            ("tokio-vec", &[700.0]),
            ("mio-hand-written", &[2000.0]),
        ]));
        for line in [
            "| **readinto** | 1000 |".to_owned(),
            format!("| **readinto-busy-poll** | {polling} |"),
            "| tokio | **1100** |".to_owned(),
            "| *by-hand* | 2000 |".to_owned(),
        ] {
            assert!(block.contains(&line), "{line} is not in {block}");
        }
    }
}

#[test]
fn readme_shows_one_row_of_a_system_in_a_case() {
    let mut report = report(&[
        ("readinto", &[1.0]),
        ("asio", &[1.0]),
        ("asio-whole", &[1.0]),
    ]);
    let case = &mut report.cases[0];
    case.workload = Workload::Mixed;
    let turns = [(700e-6, 2400e6), (1100e-6, 1400e6), (31e-3, 3000e6)];
    for (row, (p99, rate)) in case.rows.iter_mut().zip(turns) {
        row.rounds = vec![Measurement::from([
            (Figure::P99, p99),
            (Figure::BulkRate, rate),
        ])];
    }
    let block = readme::block(&report);
    for line in [
        "| **readinto** | **700** | **2400** |",
        "| asio | 1100 | 1400 |",
    ] {
        assert!(block.contains(line), "{line} is not in {block}");
    }
}
