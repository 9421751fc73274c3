//! The examples as processes: `cargo test` builds them beside the tests.

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{DEADLINE, skipped};

/// A running example; killed when it is dropped.
pub(crate) struct Example {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Example {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Example {
        let program = program(name);
        spawn(Command::new(&program).args(arguments)).unwrap_or_else(|error| {
            let program = program.display();
            panic!("{program}: {error} (cargo build --examples makes it)")
        })
    }

    /// Starts one that listens on an address of its choice, and returns that too.
    pub(crate) fn listening(name: &str, arguments: &[&str]) -> (Example, String) {
        let example = Example::start(name, arguments);
        let address = example.address();
        (example, address)
    }

    /// The same for one to which `folder` is a disk of 1 MiB, that nobody else sees.
    ///
    /// Says why and returns nothing where such a disk can't be made.
    pub(crate) fn listening_beside_small_disk(
        name: &str,
        arguments: &[&str],
        folder: &str,
    ) -> Option<(Example, String)> {
        let within = || {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c"]);
            command.arg("mount -t tmpfs -o size=1m disk \"$0\" && exec \"$@\"");
            command.arg(folder);
            command
        };
        let output = match within().arg("true").output() {
            Ok(output) if output.status.success() => {
                let example = spawn(within().arg(program(name)).args(arguments));
                let example = example.expect("it has just worked");
                let address = example.address();
                return Some((example, address));
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        skipped(&format!("no small disk can be made here ({output})"));
        None
    }

    /// Where it says that it listens, in its first line.
    fn address(&self) -> String {
        let line = self.line();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| {
            panic!("it said {line:?}");
        });
        address.split(',').next().unwrap_or(address).to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    pub(crate) fn line(&self) -> String {
        self.stdout
            .recv_timeout(DEADLINE)
            .expect("a line on standard output")
    }

    /// The next line of its standard error.
    pub(crate) fn complaint(&self) -> String {
        self.stderr
            .recv_timeout(DEADLINE)
            .expect("a line on standard error")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.id().try_into().expect("an id"));
        kill(id, signal).expect("the process is there");
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        // The pipes end with the process.
        (
            status,
            self.stdout.iter().collect(),
            self.stderr.iter().collect(),
        )
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How an example ended, and the lines of output and of errors that were not read.
pub(crate) type Ended = (ExitStatus, Vec<String>, Vec<String>);

/// Runs an example whose system calls fail as `fault` says, in the words of strace(1).
///
/// Nothing is returned if there is no strace or if it may not trace, which is then said.
pub(crate) fn finish_with_fault(name: &str, arguments: &[&str], fault: &str) -> Option<Ended> {
    let mut command = Command::new("strace");
    // The example is our child and strace is not, so that we kill the right one.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"]);
    command.arg(format!("inject={fault}"));
    let example = match spawn(command.arg(program(name)).args(arguments)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped("there is no strace on this machine");
            return None;
        }
        started => started.expect("strace can be run"),
    };
    let ended = example.finish();
    let refused = |line: &&String| line.starts_with("strace:") && line.contains("ptrace");
    if let Some(line) = ended.2.iter().find(refused) {
        skipped(&format!("strace may not trace here ({line})"));
        return None;
    }
    Some(ended)
}

fn program(name: &str) -> PathBuf {
    let deps = env::current_exe().expect("this program has a path");
    let folder = deps.ancestors().nth(2).expect("the profile's folder");
    folder.join("examples").join(name)
}

fn spawn(command: &mut Command) -> io::Result<Example> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = lines(child.stdout.take().expect("a pipe"));
    let stderr = lines(child.stderr.take().expect("a pipe"));
    Ok(Example {
        child,
        stdout,
        stderr,
    })
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
