//! What a process may do to us, and what it may not.

use std::path::Path;

use super::*;

fn shell(script: &str, core: Option<Core>) -> Process {
    let interrupt = Interrupt::never();
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start("the script", &mut command, core, &interrupt).unwrap()
}

#[test]
fn lines_go_both_ways_and_a_good_end_is_no_failure() {
    let mut process = shell("read a; echo got $a; read b; echo rest", None);
    process.tell("one").unwrap();
    assert_eq!(process.line(SOON).unwrap(), "got one");
    process.tell("two").unwrap();
    assert_eq!(process.finish(SOON).unwrap(), ["rest"]);
}

#[test]
fn exit_code_3_is_unavailable_for_the_reason_that_was_given() {
    let mut process = shell("echo noise >&2; echo no io_uring here >&2; exit 3", None);
    match process.line(SOON) {
        Err(Failure::Unavailable(reason)) => assert_eq!(reason, "no io_uring here"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_other_end_is_a_failure_that_tells_the_error() {
    let script = "echo the real error >&2; echo and some noise >&2; exit 1";
    match shell(script, None).finish(SOON) {
        Err(Failure::Broken(reason)) => {
            assert_eq!(reason, "the script ended with exit code 1: the real error");
        }
        other => panic!("{other:?}"),
    }
    match shell("kill -SEGV $$", None).finish(SOON) {
        Err(Failure::Broken(reason)) => assert_eq!(reason, "the script was killed by signal 11"),
        other => panic!("{other:?}"),
    }
    match shell("exit 0", None).line(SOON) {
        Err(Failure::Broken(reason)) => assert_eq!(reason, "the script ended too early"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_process_is_overdue() {
    let mut process = shell("read forever", None);
    match process.line(Duration::from_millis(50)) {
        Err(Failure::Broken(reason)) => assert_eq!(reason, "the script: no line within 0 s"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_is_not_there_is_unavailable() {
    let mut command = Command::new("no-such-program-anywhere");
    let started = Process::start("it", &mut command, None, &Interrupt::never());
    assert!(matches!(started, Err(Failure::Unavailable(_))));
}

#[test]
fn dropping_a_process_kills_it_and_what_it_started() {
    let mut process = shell("sleep 600 & echo $!; wait", None);
    let grandchild = process.line(SOON).unwrap();
    let child = process.id().to_string();
    drop(process);
    assert!(!Path::new("/proc").join(child).exists());
    // Whoever inherits it takes a moment to bury it.
    let status = Path::new("/proc").join(grandchild).join("status");
    let started = Instant::now();
    while fs_says_alive(&status) {
        assert!(started.elapsed() < SOON, "it is still running");
        thread::yield_now();
    }
}

#[test]
fn a_tool_that_is_dropped_may_end_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let script = format!(
        "trap 'echo whole > {}; exit' INT; echo ready; while :; do :; done",
        file.display()
    );
    let mut command = Command::new("env");
    // Who starts the tests in the background has them ignore it.
    command.args(["--default-signal=INT", "sh", "-c", &script]);
    let process = Process::start("the tool", &mut command, None, &Interrupt::never());
    let mut process = process.unwrap().with_grace(SOON);
    assert_eq!(process.line(SOON).unwrap(), "ready");
    drop(process);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "whole\n");
}

#[test]
fn a_tool_that_does_not_end_is_killed() {
    let script = "trap '' INT; echo ready; while :; do :; done";
    let mut process = shell(script, None).with_grace(Duration::from_millis(20));
    assert_eq!(process.line(SOON).unwrap(), "ready");
    let child = process.id().to_string();
    drop(process);
    assert!(!Path::new("/proc").join(child).exists());
}

fn fs_says_alive(status: &Path) -> bool {
    std::fs::read_to_string(status).is_ok_and(|text| !text.contains("State:\tZ"))
}

#[test]
fn a_pinned_process_runs_on_its_core_from_the_start() {
    let Some((core, _)) = Cores::pick().pair else {
        eprintln!("skipped: this machine has one core");
        return;
    };
    let before = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
    let script = "grep Cpus_allowed_list /proc/self/status";
    let mut process = shell(script, Some(core));
    let line = process.line(SOON).unwrap();
    assert_eq!(line, format!("Cpus_allowed_list:\t{}", core.0));
    let after = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
    assert_eq!(before, after, "our own cores are as they were");
}

const SOON: Duration = Duration::from_secs(10);
