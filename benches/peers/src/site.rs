//! Where turns take place: how each row is started, and on which core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::interrupt::Interrupt;
use crate::peer::Prefix;
use crate::process::{Core, Cores, Failure, Process};
use crate::roster::Row;

/// The commands of the rows, and the machine's cores.
pub(crate) struct Site {
    /// What starts each row, up to its verb.
    pub(crate) programs: BTreeMap<&'static str, Vec<PathBuf>>,
    /// This program.
    pub(crate) own: PathBuf,
    pub(crate) cores: Cores,
    pub(crate) interrupt: Interrupt,
}

/// A row's server, for as long as this lives.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: String,
    _folder: Option<TempDir>,
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}

/// What carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// 127.0.0.1, at any free port.
    Tcp,
    /// A Unix socket in a folder of its own.
    Unix,
}

/// What a row's client is to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shipment {
    pub(crate) prefix: Prefix,
    pub(crate) size: usize,
    pub(crate) frames: u64,
    pub(crate) warmup: u64,
}

impl Site {
    /// Starts the row's server, and waits until it listens.
    pub(crate) fn serve(
        &self,
        row: &Row,
        transport: Transport,
        prefix: Prefix,
    ) -> Result<Server, Failure> {
        self.serve_by(row.name, self.command(row)?, &[], transport, prefix)
    }

    /// The same for a command that is as good as a row's, with further arguments.
    pub(crate) fn serve_by(
        &self,
        name: &str,
        mut command: Command,
        arguments: &[&str],
        transport: Transport,
        prefix: Prefix,
    ) -> Result<Server, Failure> {
        let (listen, folder) = match transport {
            Transport::Tcp => ("127.0.0.1:0".to_owned(), None),
            Transport::Unix => {
                let folder = TempDir::with_prefix("peers-")
                    .map_err(|error| Failure::Broken(format!("no folder for sockets: {error}")))?;
                let path = folder.path().join("socket");
                (format!("unix:{}", path.display()), Some(folder))
            }
        };
        command.args(["serve", "--listen", &listen]);
        command.args(["--prefix", &prefix.to_string()]);
        command.args(arguments);
        let name = format!("the server of {name}");
        let mut process =
            Process::start(&name, &mut command, self.cores.server(), &self.interrupt)?;
        let line = process.line(LISTENING)?;
        match line.strip_prefix("listening on ") {
            Some(address) => Ok(Server {
                process,
                address: address.trim().to_owned(),
                _folder: folder,
            }),
            None => Err(Failure::Broken(format!("{name} does not listen: {line:?}"))),
        }
    }

    /// Starts the row's client, which sends whole frames.
    pub(crate) fn ship(
        &self,
        row: &Row,
        address: &str,
        shipment: Shipment,
    ) -> Result<Process, Failure> {
        let mut command = self.command(row)?;
        command
            .args(["bulk", "--connect", address])
            .args(["--prefix", &shipment.prefix.to_string()])
            .args(["--size", &shipment.size.to_string()])
            .args(["--frames", &shipment.frames.to_string()])
            .args(["--warmup", &shipment.warmup.to_string()]);
        self.start_client(&format!("the client of {}", row.name), &mut command)
    }

    /// Starts the row with both ends in one process.
    pub(crate) fn alone(
        &self,
        row: &Row,
        size: usize,
        iterations: u32,
    ) -> Result<Process, Failure> {
        let mut command = self.command(row)?;
        command
            .args(["seed", "--size", &size.to_string()])
            .args(["--iterations", &iterations.to_string()]);
        self.start_client(row.name, &mut command)
    }

    /// Starts the load generator.
    pub(crate) fn generate(&self, arguments: &[String]) -> Result<Process, Failure> {
        let mut command = Command::new(&self.own);
        command.arg("generate").args(arguments);
        self.start_client("the load generator", &mut command)
    }

    /// Whether the row's server starts on this machine.
    pub(crate) fn try_out(&self, row: &Row) -> Result<(), Failure> {
        self.serve(row, Transport::Tcp, Prefix::U32Be).map(drop)
    }

    pub(crate) fn start_client(
        &self,
        name: &str,
        command: &mut Command,
    ) -> Result<Process, Failure> {
        let core: Option<Core> = self.cores.client();
        Process::start(name, command, core, &self.interrupt)
    }

    fn command(&self, row: &Row) -> Result<Command, Failure> {
        let words = self.programs.get(row.name).map_or(&[][..], Vec::as_slice);
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::Unavailable("it was not prepared".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(command)
    }
}

/// To start and to listen, a slow interpreter on a busy machine included.
const LISTENING: Duration = Duration::from_secs(30);
