//! One turn: a client that is ready, the word to go, and what it took.
//!
//! A client prints `ready`, waits for a line, does its work against the clock,
//! prints one line of JSON, and waits for another line. Between the two lines we
//! look at what the kernel has counted for both ends.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::process::{Failure, Process, Usage};

/// A client that is ready to start, or has done its work and holds still.
pub(crate) struct Turn {
    client: Process,
    server: Option<u32>,
}

/// What a turn's work took.
pub(crate) struct Done<T> {
    /// What the client says.
    pub(crate) said: T,
    pub(crate) client: Usage,
    /// Nothing if there is no server.
    pub(crate) server: Usage,
}

impl<T> Done<T> {
    /// Both ends together.
    pub(crate) fn cpu(&self) -> Duration {
        self.client.cpu + self.server.cpu
    }

    /// Both ends together.
    pub(crate) fn switches(&self) -> u64 {
        self.client.switches + self.server.switches
    }
}

impl Turn {
    /// Waits until the client is ready.
    pub(crate) fn ready(mut client: Process, server: Option<u32>) -> Result<Turn, Failure> {
        match client.line(READY)?.as_str() {
            "ready" => Ok(Turn { client, server }),
            other => Err(unexpected("ready", other)),
        }
    }

    /// Lets the client do its work.
    pub(crate) fn go<T: DeserializeOwned>(&mut self) -> Result<Done<T>, Failure> {
        let before = self.usage()?;
        self.client.tell("go")?;
        let line = self.client.line(WORK)?;
        let after = self.usage()?;
        let said = serde_json::from_str(&line)
            .map_err(|error| Failure::Broken(format!("not the figures: {line:?}: {error}")))?;
        Ok(Done {
            said,
            client: after.0 - before.0,
            server: after.1 - before.1,
        })
    }

    /// Leaves both ends alone for a while.
    pub(crate) fn rest(&mut self, interval: Duration) -> Result<(), Failure> {
        self.client.rest(interval)
    }

    /// Lets the client end.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.client.tell("end")?;
        self.client.finish(END).map(drop)
    }

    fn usage(&self) -> Result<(Usage, Usage), Failure> {
        let client = Usage::of(self.client.id()).map_err(unreadable)?;
        let server = match self.server {
            Some(server) => Usage::of(server).map_err(unreadable)?,
            None => Usage::default(),
        };
        Ok((client, server))
    }
}

/// The kernel does not tell about a process: most likely it has gone.
pub(crate) fn unreadable(error: io::Error) -> Failure {
    Failure::Broken(format!("what a process has used cannot be read: {error}"))
}

fn unexpected(wanted: &str, line: &str) -> Failure {
    Failure::Broken(format!("expected the line {wanted:?}, got {line:?}"))
}

/// To connect, to make the payload, to warm up.
const READY: Duration = Duration::from_secs(60);
/// Against the clock.
const WORK: Duration = Duration::from_secs(120);
/// To end once told so.
const END: Duration = Duration::from_secs(20);
