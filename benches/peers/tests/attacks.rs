//! A quick look at attacks on our server: its neighbour is answered, a newcomer is
//! served afterwards, and nothing is lost when it stops.
//!
//! It brings `readinto-echo` up to date, which takes a compiler the first time.

mod support;

use std::process::Command;

use support::harness;

#[test]
fn our_server_survives_a_quick_look() {
    const ATTACKS: [&str; 7] = [
        "calm",
        "claims",
        "deaf",
        "drips",
        "connects",
        "descriptors",
        "drain",
    ];
    let output = Command::new(harness())
        .args(["attacks", "--quick", "--servers", "readinto-echo"])
        .args(["--only", &ATTACKS.join(",")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    for attack in ATTACKS {
        let line = told.lines().find_map(|line| {
            let cells: Vec<_> = line
                .split("  ")
                .map(str::trim)
                .filter(|it| !it.is_empty())
                .collect();
            (cells.first() == Some(&attack) && cells[1] == "readinto-echo").then_some(cells)
        });
        let line = line.unwrap_or_else(|| panic!("{attack} is not in {told}"));
        match attack {
            "drain" => assert_eq!(line.last(), Some(&"0 of 11 frames lost"), "{told}"),
            _ => assert_eq!(line[5], "100", "{attack}: {told}"),
        }
        for bad in ["ended", "no newcomer"] {
            assert!(!line.iter().any(|cell| cell.contains(bad)), "{told}");
        }
    }
}
