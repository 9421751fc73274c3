//! The example `nbd` beside `qemu-nbd`: the same disk, under `qemu-img bench`.
//!
//! They take turns within a round, each on the core for servers, with the client on
//! the other one, or wherever the scheduler puts them. What is compared are the times of a
//! round: the figures are ratios to `qemu-nbd`.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};

use crate::background::Watch;
use crate::conclude::conclude;
use crate::figures::Spread;
use crate::interrupt::Interrupt;
use crate::machine::Machine;
use crate::prepare::ours::{self, target_folder};
use crate::process::{Cores, Failure, Process, Usage};
use crate::turns::unreadable;

/// How thoroughly.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many rounds count; one more comes before them
    #[arg(long, value_name = "N", default_value = "5", value_parser = value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// Leave it to the scheduler which core an end runs on
    #[arg(long)]
    unpinned: bool,
}

/// Measures, and prints a table for people.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let interrupt = Interrupt::catch()?;
    let target = target_folder()?;
    let example = ours::example("nbd", &interrupt)?;
    let machine = Machine::this();
    let watch = Watch::start(machine.cores);
    let place = Place {
        cores: (!options.unpinned).then(Cores::pick),
        interrupt,
    };
    let cores = place.cores.map(|cores| cores.describe());
    let placement = cores.unwrap_or_else(|| "nothing is pinned".to_owned());
    println!("{}; {placement}", machine.describe());
    println!(
        "\n| disk | requests | throughput | polling for 200 µs | server's CPU |\n|---|---|---|---|---|"
    );
    // The memory of the one is a file in memory for the other.
    let memory = tempfile::NamedTempFile::new_in("/dev/shm")?;
    let (ours, theirs) = (
        tempfile::NamedTempFile::new_in(&target)?,
        tempfile::NamedTempFile::new_in(&target)?,
    );
    let size = SIZE.to_string();
    let pairs = [
        ("memory", ["--size", &size], memory.path()),
        ("file", ["--file", path(ours.path())?], theirs.path()),
    ];
    for file in [&memory, &ours, &theirs] {
        file.as_file().set_len(SIZE)?;
    }
    let outcome = pairs.into_iter().try_for_each(|(disk, arguments, file)| {
        let polling = [&arguments[..], &["--busy-poll", "200"]].concat();
        let servers = [
            place.example(&example, &arguments)?,
            place.example(&example, &polling)?,
            place.qemu_nbd(file)?,
        ];
        measure(disk, servers, options.runs, &place)
    });
    conclude(outcome, &watch)
}

/// Has all answer the same requests, and prints a row for each kind.
fn measure(disk: &str, servers: [Server; 3], runs: u32, place: &Place) -> Result<(), Failure> {
    for server in &servers {
        // So that none of it has to be made up later.
        place.bench(server, &["-w", "-s", "2M", "-c", "512"])?;
    }
    for (requests, arguments) in REQUESTS {
        let (mut throughput, mut polling, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=runs {
            let [ours, ours_polling, theirs] = [
                place.bench(&servers[0], arguments)?,
                place.bench(&servers[1], arguments)?,
                place.bench(&servers[2], arguments)?,
            ];
            if round > 0 {
                throughput.push(theirs.seconds / ours.seconds);
                polling.push(theirs.seconds / ours_polling.seconds);
                cpu.push(ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64());
            }
        }
        let show = |ratios| {
            let spread = Spread::of(ratios).expect("there is at least one round");
            spread.show(|ratio| format!("{ratio:.2}"))
        };
        let cells = [throughput, polling, cpu].map(show).join(" | ");
        println!("| {disk} | {requests} | {cells} |");
    }
    Ok(())
}

/// Where the ends run, and what may end them.
struct Place {
    /// None if that is up to the scheduler.
    cores: Option<Cores>,
    interrupt: Interrupt,
}

struct Server {
    process: Process,
    uri: String,
}

/// What a run of the client took.
struct Took {
    seconds: f64,
    /// The server's.
    cpu: Duration,
}

impl Place {
    fn example(&self, program: &Path, arguments: &[&str]) -> Result<Server, Failure> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        let mut process = self.server("nbd", &mut command)?;
        let line = process.line(READY)?;
        match line.strip_prefix("listening on ") {
            Some(address) => Ok(Server {
                uri: format!("nbd://{address}"),
                process,
            }),
            None => Err(Failure::Broken(format!("nbd said {line:?}"))),
        }
    }

    /// It does not say when it listens, nor can it choose a port.
    fn qemu_nbd(&self, file: &Path) -> Result<Server, Failure> {
        let broken = |error| Failure::Broken(format!("qemu-nbd: {error}"));
        let free = TcpListener::bind("127.0.0.1:0").map_err(broken)?;
        let address = free.local_addr().map_err(broken)?;
        drop(free);
        let mut command = Command::new("qemu-nbd");
        command
            .args([
                "--persistent",
                "--shared=8",
                "--format=raw",
                "--bind=127.0.0.1",
            ])
            .arg(format!("--port={}", address.port()))
            .arg(file);
        let process = self.server("qemu-nbd", &mut command)?;
        let started = Instant::now();
        while let Err(error) = TcpStream::connect(address) {
            if started.elapsed() > READY {
                return Err(broken(error));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Server {
            uri: format!("nbd://{address}"),
            process,
        })
    }

    fn server(&self, name: &str, command: &mut Command) -> Result<Process, Failure> {
        Process::start(
            name,
            command,
            self.cores.and_then(|cores| cores.server()),
            &self.interrupt,
        )
    }

    fn bench(&self, server: &Server, arguments: &[&str]) -> Result<Took, Failure> {
        let mut command = Command::new("qemu-img");
        command
            .args(["bench", "-f", "raw", "-t", "none"])
            .args(arguments)
            .arg(&server.uri);
        let before = Usage::of(server.process.id()).map_err(unreadable)?;
        let client = Process::start(
            "qemu-img",
            &mut command,
            self.cores.and_then(|cores| cores.client()),
            &self.interrupt,
        )?;
        let said = client.finish(WORK)?;
        let after = Usage::of(server.process.id()).map_err(unreadable)?;
        let seconds = said.iter().find_map(|line| {
            let number = line.strip_prefix("Run completed in ")?;
            number.strip_suffix(" seconds.")?.parse().ok()
        });
        Ok(Took {
            seconds: seconds.ok_or_else(|| Failure::Broken(format!("qemu-img said {said:?}")))?,
            cpu: (after - before).cpu,
        })
    }
}

fn path(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.to_str().ok_or_else(|| "a path that is no text".into())
}

/// What `qemu-img bench` is asked for: on an idle machine, about a second each.
const REQUESTS: [(&str, &[&str]); 6] = [
    (
        "2 MiB reads, 1 in flight",
        &["-s", "2M", "-c", "1024", "-d", "1"],
    ),
    (
        "2 MiB writes, 1 in flight",
        &["-w", "-s", "2M", "-c", "1024", "-d", "1"],
    ),
    (
        "4 KiB reads, 1 in flight",
        &["-s", "4k", "-c", "20000", "-d", "1"],
    ),
    (
        "4 KiB writes, 1 in flight",
        &["-w", "-s", "4k", "-c", "20000", "-d", "1"],
    ),
    (
        "4 KiB reads, 64 in flight",
        &["-s", "4k", "-c", "100000", "-d", "64"],
    ),
    (
        "4 KiB writes, 64 in flight",
        &["-w", "-s", "4k", "-c", "100000", "-d", "64"],
    ),
];

/// 1 GiB.
const SIZE: u64 = 1 << 30;

/// To start, and listen.
const READY: Duration = Duration::from_secs(10);
/// For one run of the client.
const WORK: Duration = Duration::from_secs(120);
