//! What the test files share: the binary as a process, and a client that knows
//! nothing of the library.
//!
//! Whatever waits here has a deadline, and a process ends with its owner.

// Each test file uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for a busy machine, short enough to notice a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_readinto-echo");

/// A running process of ours; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// Lines of standard error that were passed over.
    seen: Vec<String>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        Process::spawn_on(command, Stdio::piped(), Stdio::piped())
    }

    /// The same, on these streams. There are lines of those that are `piped`.
    pub(crate) fn spawn_on(command: &mut Command, stdout: Stdio, stderr: Stdio) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().map_or_else(no_lines, lines);
        let stderr = child.stderr.take().map_or_else(no_lines, lines);
        Process {
            child,
            stdout,
            stderr,
            seen: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output.
    pub(crate) fn stdout_line(&self) -> String {
        self.stdout
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|_| panic!("no line on standard output"))
    }

    /// The next line of standard error that contains `part`.
    pub(crate) fn stderr_line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.stderr.recv_timeout(left) else {
                panic!("no line with {part:?} on standard error: {:?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().try_into().unwrap()), signal).expect("the process is there");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that it has held, in bytes.
    pub(crate) fn most_resident(&self) -> usize {
        self.status("VmHWM:")
    }

    /// A number of kibibytes out of the kernel's table, in bytes.
    fn status(&self, label: &str) -> usize {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(label));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        1024 * number.unwrap().parse::<usize>().unwrap()
    }

    pub(crate) fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.id());
        fs::read_dir(path).expect("it runs").count()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let status = wait_for("the process to end", || {
            self.child.try_wait().expect("it is our child")
        });
        // The pipes end with the process.
        let mut stderr = std::mem::take(&mut self.seen);
        stderr.extend(self.stderr.iter());
        Finished {
            status,
            stdout: self.stdout.iter().collect(),
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, with the lines that were not read before.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    /// All lines.
    pub(crate) stderr: Vec<String>,
}

impl Finished {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Finished {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        self
    }

    /// The only line of standard error.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        match &self.stderr[..] {
            [line] => line,
            lines => panic!("not one line on standard error: {lines:#?}"),
        }
    }
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Finished {
    Process::spawn(Command::new(BINARY).args(arguments)).finish()
}

/// A server that listens already.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// One for each listener, as announced.
    pub(crate) addresses: Vec<String>,
}

impl Server {
    /// `serve` with these arguments, on a free port unless they say where.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(BINARY);
        Server::start_command(command.arg("serve"), arguments)
    }

    /// The same, with `RUST_LOG`.
    pub(crate) fn start_with_log(level: &str, arguments: &[&str]) -> Server {
        let mut command = Command::new(BINARY);
        Server::start_command(command.env("RUST_LOG", level).arg("serve"), arguments)
    }

    pub(crate) fn start_command(command: &mut Command, arguments: &[&str]) -> Server {
        let listeners = arguments.iter().filter(|&&a| a == "--listen").count();
        if listeners == 0 {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let process = Process::spawn(command.args(arguments));
        let addresses = (0..listeners.max(1))
            .map(|_| {
                let line = process.stdout_line();
                let address = line.strip_prefix("listening on ");
                address.unwrap_or_else(|| panic!("{line:?}")).to_owned()
            })
            .collect();
        Server { process, addresses }
    }

    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    pub(crate) fn connect(&self) -> Client<TcpStream> {
        Client::connect(self.address())
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> Finished {
        self.process.signal(Signal::SIGTERM);
        self.process.finish()
    }
}

/// A client with `u32be` frames, on blocking sockets with a timeout.
pub(crate) struct Client<S>(pub(crate) S);

impl Client<TcpStream> {
    pub(crate) fn connect(address: &str) -> Client<TcpStream> {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client(stream)
    }
}

impl Client<UnixStream> {
    pub(crate) fn connect_unix(path: &Path) -> Client<UnixStream> {
        Client::over_unix(UnixStream::connect(path).expect("the server listens"))
    }

    pub(crate) fn over_unix(stream: UnixStream) -> Client<UnixStream> {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.send_raw(&frame(payload));
    }

    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).expect("an answer");
        let mut payload = vec![0; u32::from_be_bytes(header) as usize];
        self.0.read_exact(&mut payload).expect("a whole answer");
        payload
    }

    /// Sends a frame and checks that it comes back.
    #[track_caller]
    pub(crate) fn echo(&mut self, payload: &[u8]) {
        self.send(payload);
        assert!(self.receive() == payload, "not what was sent");
    }

    /// Checks that the server ended the connection, cleanly and here.
    #[track_caller]
    pub(crate) fn assert_ended(&mut self) {
        match self.0.read(&mut [0]) {
            Ok(0) => {}
            other => panic!("not the end of the stream: {other:?}"),
        }
    }
}

/// A `u32be` frame.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_be_bytes(), payload].concat()
}

/// Bytes that differ from place to place.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}

/// Asks again and again until there is something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// For tests with more sockets than the usual limit allows.
pub(crate) fn raise_descriptor_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// Lines as they come, so that no pipe fills up.
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

fn no_lines() -> Receiver<String> {
    channel().1
}
