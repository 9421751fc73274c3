//! Whether all rows speak of the same frames: readinto's client against each
//! server, each client against readinto's server, every byte compared.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::peer::Prefix;
use crate::process::Failure;
use crate::progress::Progress;
use crate::roster::{self, Language, Row};
use crate::site::{Server, Shipment, Site, Transport};
use crate::turns::Turn;

/// A row has met readinto.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Encounter {
    pub(crate) row: String,
    pub(crate) side: Side,
    pub(crate) prefix: String,
    pub(crate) outcome: Outcome,
}

/// Which end is the row's; the other is readinto's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Server,
    Client,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// All frames of all sizes came back as they were.
    Agreed,
    /// It can't, and why.
    Skipped(String),
    /// It should, and did not.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Agreed => "ok",
            Outcome::Skipped(_) => "–",
            Outcome::Failed(_) => "FAILED",
        })
    }
}

/// All encounters of these rows, and whether they were cut short.
pub(crate) fn meet(
    site: &Site,
    rows: &[&'static Row],
    quick: bool,
    progress: &Progress,
) -> (Vec<Encounter>, bool) {
    progress.stage("interoperation");
    let readinto = roster::find(roster::READINTO).expect("it is in the roster");
    let mut encounters = Vec::new();
    for row in rows.iter().filter(|row| row.skills.serve) {
        progress.turn(row.name);
        for prefix in PREFIXES {
            for side in [Side::Server, Side::Client] {
                let (server, client) = match side {
                    Side::Server => (*row, readinto),
                    Side::Client => (readinto, *row),
                };
                let outcome = match exchange(site, server, client, prefix, sizes(quick)) {
                    Ok(()) => Outcome::Agreed,
                    Err(Failure::Unavailable(reason)) => Outcome::Skipped(reason),
                    Err(Failure::Broken(reason)) => Outcome::Failed(reason),
                    Err(Failure::Interrupted) => return (encounters, true),
                };
                encounters.push(Encounter {
                    row: row.name.to_owned(),
                    side,
                    prefix: prefix.to_string(),
                    outcome,
                });
            }
        }
        progress.advance(planned(row, quick));
    }
    (encounters, false)
}

/// About how long the encounters of a row take.
pub(crate) fn planned(row: &Row, quick: bool) -> Duration {
    let start_up = match row.language {
        Language::Python => Duration::from_millis(200),
        _ => Duration::from_millis(10),
    };
    // Each side starts once per size as a client, once as a server.
    (start_up + Duration::from_millis(30)) * (sizes(quick).len() * PREFIXES.len()) as u32
}

fn exchange(
    site: &Site,
    server: &Row,
    client: &Row,
    prefix: Prefix,
    sizes: &[usize],
) -> Result<(), Failure> {
    let server: Server = site.serve(server, Transport::Tcp, prefix)?;
    for &size in sizes {
        let shipment = Shipment {
            prefix,
            size,
            frames: 2,
            warmup: 2,
        };
        let client = site.ship(client, &server.address, shipment)?;
        let mut turn = Turn::ready(client, None)?;
        turn.go::<serde_json::Value>()?;
        turn.end()?;
    }
    Ok(())
}

fn sizes(quick: bool) -> &'static [usize] {
    match quick {
        true => &[0, 64, 1_000_003],
        false => &[0, 1, 64, 65_537, 1_000_003, 5_000_000],
    }
}

/// The usual one, and the one of the thread.
pub(crate) const PREFIXES: [Prefix; 2] = [Prefix::U32Be, Prefix::U64Le];
