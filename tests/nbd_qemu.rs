//! Real clients can use the example `nbd` as the disk that it says it is.
//!
//! They come with Debian's qemu-utils; where they are not, this says so.

mod support;

use std::fs;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::nbd::Server;
use support::{DEADLINE, assert_same, pattern, skipped};
use tempfile::TempDir;

/// Whether there are real clients.
fn has_qemu() -> bool {
    match Command::new("qemu-img").arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped("there is no qemu-img on this machine (Debian: qemu-utils)");
            false
        }
        found => found.expect("qemu-img can be run").status.success(),
    }
}

fn start(program: &str, arguments: &[&str]) -> Child {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be run")
}

/// What it printed, if all went well within the deadline.
fn finish(mut child: Child) -> String {
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("a client hangs");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(status.success(), "{status}: {said}");
    said
}

fn run(program: &str, arguments: &[&str]) -> String {
    finish(start(program, arguments))
}

/// `qemu-io` with these commands. It tells of a pattern that is not there, and
/// then also fails.
fn qemu_io(uri: &str, commands: &[&str]) -> Child {
    let mut arguments = vec!["-f", "raw"];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(uri);
    start("qemu-io", &arguments)
}

/// Starts a server on a disk in memory and on a file, with a folder to spare.
fn on_each_disk(size: u64, test: impl Fn(&Server, &TempDir)) {
    let folder = TempDir::new().unwrap();
    test(&Server::start(&["--size", &size.to_string()]), &folder);
    let path = folder.path().join("disk");
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    let server = Server::start(&["--file", path.to_str().unwrap()]);
    test(&server, &folder);
}

#[test]
fn an_image_comes_back_as_it_went() {
    if !has_qemu() {
        return;
    }
    let mut image = pattern(1, 24_000_512);
    image[5_000_000..9_000_000].fill(0);
    on_each_disk(image.len() as u64, |server, folder| {
        let path = |name| {
            folder
                .path()
                .join(name)
                .into_os_string()
                .into_string()
                .unwrap()
        };
        let (there, back) = (path("there"), path("back"));
        fs::write(&there, &image).unwrap();
        let raw = ["-f", "raw", "-O", "raw"];
        let convert = |rest: &[&str]| run("qemu-img", &[&["convert"], &raw[..], rest].concat());
        convert(&["-n", &there, &server.uri()]);
        convert(&[&server.uri(), &back]);
        assert_same(&fs::read(&back).unwrap(), &image);
        // Out of order, and many at once.
        convert(&["-n", "-W", "-m", "16", &there, &server.uri()]);
        let compared = run(
            "qemu-img",
            &["compare", "-f", "raw", "-F", "raw", &there, &server.uri()],
        );
        assert_eq!(compared, "Images are identical.\n");
    });
}

#[test]
fn patterns_are_where_they_were_written() {
    if !has_qemu() {
        return;
    }
    on_each_disk(64 << 20, |server, _| {
        finish(qemu_io(
            &server.uri(),
            &[
                "write -P 7 3000 200000",
                "read -P 0 0 3000",
                "read -P 7 3000 200000",
                "read -P 0 203000 1M",
                "write -z 65536 65536",
                "read -P 7 3000 62536",
                "read -P 0 65536 65536",
                "read -P 7 131072 71928",
                "write -f -P 9 1M 32M",
                "discard 2M 1M",
                "read -P 9 1M 1M",
                "read -P 9 3M 30M",
                "flush",
            ],
        ));
        // The check itself can fail.
        let lie = qemu_io(&server.uri(), &["read -P 8 1M 4k"]);
        assert!(!lie.wait_with_output().unwrap().status.success());
    });
}

#[test]
fn two_clients_at_once_are_both_right() {
    if !has_qemu() {
        return;
    }
    on_each_disk(64 << 20, |server, _| {
        // 4 KiB of one, 4 KiB of the other: they meet in each extent.
        let client = |number: u64| {
            let place = |step: u64| 4096 * (2 * step + number);
            let writes = (0..300).map(|step| format!("write -P {number} {} 4k", place(step)));
            let reads = (0..300).map(|step| format!("read -P {number} {} 4k", place(step)));
            let large = [
                format!("write -P {number} {}M 16M", 16 * number + 8),
                format!("read -P {number} {}M 16M", 16 * number + 8),
            ];
            let commands: Vec<_> = writes.chain(large).chain(reads).collect();
            let commands: Vec<_> = commands.iter().map(String::as_str).collect();
            qemu_io(&server.uri(), &commands)
        };
        [client(0), client(1)].into_iter().for_each(|client| {
            finish(client);
        });
    });
}

#[test]
fn many_requests_in_flight_are_all_answered() {
    if !has_qemu() {
        return;
    }
    on_each_disk(64 << 20, |server, _| {
        let uri = server.uri();
        for how in [&["-w"][..], &[], &["-w", "--flush-interval", "64"]] {
            let requests = ["bench", "-f", "raw", "-c", "1000", "-d", "64", "-s", "4k"];
            let arguments = [&requests[..], how, &[&uri]].concat();
            assert!(run("qemu-img", &arguments).contains("Run completed"));
        }
    });
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_its_writes_leaves_the_disk_to_others() {
    if !has_qemu() {
        return;
    }
    on_each_disk(64 << 20, |server, _| {
        let uri = server.uri();
        let endless = [
            "bench",
            "-f",
            "raw",
            "-w",
            "-c",
            "1000000000",
            "-d",
            "16",
            "-s",
            "2M",
        ];
        let pattern = ["--pattern", "5", &uri];
        let mut victim = start("qemu-img", &[&endless[..], &pattern].concat());
        // Its last write before it starts over.
        let mut client = server.client();
        let deadline = Instant::now() + DEADLINE;
        while client.read((64 << 20) - 1, 1) != [5] {
            assert!(Instant::now() < deadline, "the victim does not write");
        }
        victim.kill().unwrap();
        victim.wait().unwrap();

        finish(qemu_io(
            &uri,
            &["write -P 6 0 32M", "read -P 6 0 32M", "flush"],
        ));
        assert_eq!(client.read(1 << 20, 1), [6]);
    });
}
