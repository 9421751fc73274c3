//! Wrong usage exits with 2 and says what is accepted.

mod support;

use support::run;

#[test]
fn wrong_arguments_exit_with_two_and_name_what_is_accepted() {
    let cases: [(&[&str], &str); 28] = [
        (&[], "Usage"),
        (&["serv"], "serve"),
        (&["serve", "--listen", "7000"], "host:port"),
        (&["serve", "--listen", "::1:7000"], "brackets"),
        (&["serve", "--prefix", "u8"], "u32be"),
        (&["serve", "--max-frame", "lots"], "64KiB"),
        (&["serve", "--max-frame", "-1"], "--max-frame"),
        (&["serve", "--max-frame", "99999999EB"], "64KiB"),
        (&["serve", "--max-frame", "184467440737095516155"], "64KiB"),
        (&["serve", "--max-frame", "18446744073709551615.5"], "64KiB"),
        (&["serve", "--max-connections", "0"], "1.."),
        (
            &["serve", "--max-connections", "3", "--threads", "4"],
            "fewer --threads",
        ),
        (&["serve", "--idle-timeout", "5"], "30s"),
        (&["serve", "--frame-timeout", "0s"], "none"),
        (&["serve", "--frame-timeout", LONGEST_AND_MORE], "30s"),
        (&["serve", "--busy-poll", LONGEST_AND_MORE], "50us"),
        (&["serve", "--threads", "0"], "1..=1024"),
        (&["serve", "--busy-poll", "50"], "50us"),
        (&["bench", "--busy-poll", "soon"], "50us"),
        (&["serve", "--memory-budget", "much"], "64KiB"),
        (&["serve", "--memory-budget", "100KiB"], "128KiB"),
        (
            &["serve", "--memory-budget", "256KiB", "--threads", "4"],
            "fewer --threads",
        ),
        (&["bench", "--frames", "0"], "1.."),
        (&["bench", "--connections", "0"], "1.."),
        (&["bench", "--pipeline", "0"], "1.."),
        (&["bench", "--connect", "nowhere"], "host:port"),
        (
            &["bench", "--frame-size", "64KiB", "--prefix", "u16be"],
            "65535",
        ),
        (&["bench", "--frame-size", "5GB"], "4294967295"),
    ];
    for (arguments, accepted) in cases {
        let finished = run(arguments);
        finished.assert_code(2);
        let text = finished.stderr.join("\n");
        assert!(text.contains(accepted), "{arguments:?}: {text}");
        assert!(finished.stdout.is_empty(), "{arguments:?}: {finished:?}");
    }
}

/// All the seconds that 64 bits can count, and one in another unit.
const LONGEST_AND_MORE: &str = "18446744073709551615s 1000ms";

#[test]
fn help_lists_every_option_and_the_exit_codes() {
    let serve = [
        "--listen",
        "--prefix",
        "--max-frame",
        "--max-connections",
        "--threads",
        "--idle-timeout",
        "--frame-timeout",
        "--stall-timeout",
        "--shortage-timeout",
        "--drain-timeout",
        "--memory-budget",
        "--busy-poll",
    ];
    let bench = [
        "--connect",
        "--prefix",
        "--frame-size",
        "--frames",
        "--connections",
        "--pipeline",
        "--warmup",
        "--timeout",
        "--json",
        "--no-verify",
    ];
    for (command, options) in [("serve", &serve[..]), ("bench", &bench[..])] {
        let finished = run(&[command, "--help"]);
        let text = finished.assert_code(0).stdout.join("\n");
        for option in options.iter().chain(&["Exit codes"]) {
            assert!(text.contains(option), "{command}: no {option} in {text}");
        }
        assert!(finished.stderr.is_empty(), "{finished:?}");
    }
}

#[test]
fn the_version_is_one_line() {
    let finished = run(&["--version"]);
    let expected = format!("readinto-echo {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(finished.assert_code(0).stdout, [expected]);
}
