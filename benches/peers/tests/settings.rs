//! A quick look at what settings of our server cost: each is asked something, on one
//! thread and on two.
//!
//! It brings `readinto-echo` up to date, which takes a compiler the first time.

mod support;

use std::process::Command;

use support::harness;

#[test]
fn each_setting_is_measured() {
    let output = Command::new(harness())
        .args(["settings", "--quick"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    for row in [
        "| rtt | frames/s | ",
        "| fanin, 100 connections | frames/s | ",
        "| fanin, 100 connections | ",
    ] {
        let line = told.lines().rev().find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("{row:?} is not in {told}"));
        let figures = line[row.len()..].split([' ', ',', '|']);
        let figures: Vec<f64> = figures.filter_map(|it| it.parse().ok()).collect();
        assert!(!figures.is_empty(), "{told}");
        assert!(figures.iter().all(|&figure| figure > 0.0), "{told}");
    }
}
