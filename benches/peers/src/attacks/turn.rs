//! One turn: a server, its neighbour, and who attacks it.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use super::attack::{Attack, Feat};
use super::neighbour::{self, Service};
use super::{Contender, Effort};
use crate::peer::Prefix;
use crate::process::{Failure, Process, Usage, most_resident_bytes, resident_bytes};
use crate::site::{Server, Site, Transport};
use crate::turns::unreadable;

/// What came of a turn.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) feat: Feat,
    /// How the neighbour was served, unless the server was told to stop.
    pub(super) service: Option<Service>,
    /// Of a server that was still there in the end.
    pub(super) cost: Option<Cost>,
    pub(super) ended: bool,
}

#[derive(Debug)]
pub(super) struct Cost {
    /// The share of a core that it used.
    pub(super) cpu: f64,
    /// By how many bytes it grew, at the most.
    pub(super) resident: u64,
}

/// Attacks a server of its own.
pub(super) fn turn(
    site: &Site,
    contender: &Contender,
    attack: Attack,
    effort: Effort,
) -> Result<Figures, Failure> {
    let mut server = start_server(site, contender, attack)?;
    let mut attacker = start_attacker(site, &server, attack, effort)?;
    let (service, cost) = match attack {
        Attack::Drain => {
            attacker.tell("go")?;
            expect(&mut attacker, "sent")?;
            server.signal(Signal::SIGTERM);
            (None, None)
        }
        _ => {
            let mut neighbour = start_neighbour(site, &server, effort)?;
            let resident = resident_bytes(server.id()).map_err(unreadable)?;
            let used = Usage::of(server.id()).map_err(unreadable)?;
            let started = Instant::now();
            attacker.tell("go")?;
            neighbour.tell("go")?;
            let service = read_json(&mut neighbour, effort.interval() + 2 * neighbour::PATIENCE)?;
            let share = |used: Usage| used.cpu.as_secs_f64() / started.elapsed().as_secs_f64();
            // One that has just ended can't be asked.
            let cost = Usage::of(server.id()).and_then(|now| {
                let cpu = share(now - used);
                let most = most_resident_bytes(server.id())?;
                let resident = most.saturating_sub(resident);
                Ok(Cost { cpu, resident })
            });
            (Some(service), cost.ok())
        }
    };
    attacker.tell("stop")?;
    let feat = read_json(&mut attacker, TO_STOP)?;
    let ended = !server.is_running();
    Ok(Figures {
        feat,
        service,
        cost: cost.filter(|_| !ended),
        ended,
    })
}

fn start_server(site: &Site, contender: &Contender, attack: Attack) -> Result<Server, Failure> {
    let mut command = contender.command(site);
    if attack == Attack::Descriptors {
        command = with_few_descriptors(&command);
    }
    let (transport, prefix) = (Transport::Tcp, Prefix::U32Be);
    site.serve_by(
        contender.name,
        command,
        contender.arguments,
        transport,
        prefix,
    )
}

/// Both limits are lowered: some servers raise the soft one to the hard one.
fn with_few_descriptors(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -n 64 && exec "$0" "$@""#]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

fn start_neighbour(site: &Site, server: &Server, effort: Effort) -> Result<Process, Failure> {
    let mut command = Command::new(&site.own);
    command
        .args(["neighbour", "--connect", &server.address])
        .args(["--seconds", &effort.interval().as_secs_f64().to_string()]);
    let mut neighbour = site.start_client("the neighbour", &mut command)?;
    expect(&mut neighbour, "ready")?;
    Ok(neighbour)
}

/// It runs where the neighbour leaves it time, and not the other way round.
fn start_attacker(
    site: &Site,
    server: &Server,
    attack: Attack,
    effort: Effort,
) -> Result<Process, Failure> {
    let mut command = Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(&site.own)
        .args(["attack", attack.name(), "--connect", &server.address])
        .args(["--peers", &effort.peers(attack).to_string()]);
    let mut attacker = site.start_client("the attacker", &mut command)?;
    expect(&mut attacker, "ready")?;
    Ok(attacker)
}

fn expect(process: &mut Process, word: &str) -> Result<(), Failure> {
    match process.line(TO_PREPARE)? {
        line if line == word => Ok(()),
        line => Err(Failure::Broken(format!(
            "expected the line {word:?}, got {line:?}"
        ))),
    }
}

fn read_json<T: DeserializeOwned>(process: &mut Process, deadline: Duration) -> Result<T, Failure> {
    let line = process.line(deadline)?;
    serde_json::from_str(&line)
        .map_err(|error| Failure::Broken(format!("not the figures: {line:?}: {error}")))
}

/// To connect and to make what is sent; to send it, where a signal follows.
const TO_PREPARE: Duration = Duration::from_secs(60);
/// To end what is under way, and to wait for what does not come.
const TO_STOP: Duration = Duration::from_secs(60);
