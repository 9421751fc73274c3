//! What the server has done, over HTTP, in the text format that Prometheus reads:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! One request, one answer, and the connection ends.

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Request};
use readinto::{Address, Drain, Handle, Listener, Stream, TurnLengths};

use super::error::ServeError;
use super::listen::{self, Bound};
use super::observer::{Done, Observer};
use super::throttle::Throttle;
use super::unix_path::SocketFile;
use crate::allow::AllowList;

/// Answers whoever asks.
pub(crate) struct Exporter {
    listener: Listener,
    address: Address,
    /// It goes with the listener.
    file: Option<SocketFile>,
    allow: AllowList,
    handle: Handle,
}

impl Exporter {
    pub(crate) fn new(
        handle: &Handle,
        bound: Bound,
        allow: AllowList,
    ) -> Result<Exporter, ServeError> {
        let mut listeners = bound.listeners;
        let listener = listeners.pop().expect("it was bound for one thread");
        Ok(Exporter {
            listener: listener.attach(handle).map_err(ServeError::Bind)?,
            address: bound.address,
            file: bound.file,
            allow,
            handle: handle.clone(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until the listener fails, which is no reason for the server to end.
    pub(crate) async fn serve(self, observer: Observer) {
        let (open, throttle) = (Drain::new(), Throttle::default());
        let error = loop {
            open.fewer_than(MOST_CONNECTIONS).await;
            match self.listener.accept().await {
                Ok(stream) if !self.allow.admits(&stream.peer_address()) => {
                    listen::refuse(&stream, &throttle);
                }
                Ok(stream) => {
                    let (observer, guard) = (observer.clone(), open.enter());
                    let handle = self.handle.clone();
                    self.handle.spawn(async move {
                        serve_one(&handle, stream, &observer).await;
                        drop(guard);
                    });
                }
                Err(error) => break error,
            }
        };
        log::error!(
            "no metrics any more: cannot accept on {}: {error}",
            self.address
        );
        drop(self.file);
    }
}

async fn serve_one(handle: &Handle, stream: Stream, observer: &Observer) {
    let peer = stream.peer_address();
    match handle.timeout(PATIENCE, answer(stream, observer)).await {
        Ok(Ok(())) => log::debug!("answered a request for metrics from {peer}"),
        Ok(Err(error)) => log::debug!("a request for metrics from {peer}: {error}"),
        Err(late) => log::debug!("a request for metrics from {peer}: {late}"),
    }
}

async fn answer(stream: Stream, observer: &Observer) -> io::Result<()> {
    let mut stream = stream.read_ahead();
    let asked = match read_head(&mut stream).await? {
        Some(head) => judge(&head),
        None => Err("431 Request Header Fields Too Large"),
    };
    let (status, text) = match asked {
        Ok(()) => ("200 OK", exposition(&observer.ask().await)),
        Err(status) => (status, format!("{status}\n")),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    stream
        .write_all(&[head.as_bytes(), text.as_bytes()])
        .await?;
    stream.shutdown_write()?;
    // Closing a socket with unread bytes would reset it, and the answer with it.
    while stream.read_exact_into(&mut [0]).await.is_ok() {}
    Ok(())
}

/// The head of a request, with its empty line; `None` if it is too long for one.
async fn read_head(stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_HEAD {
            return Ok(None);
        }
        let mut byte = [0];
        stream.read_exact_into(&mut byte).await?;
        head.extend(byte);
    }
    Ok(Some(head))
}

/// Whether it asks for what there is; otherwise the status to answer with.
fn judge(head: &[u8]) -> Result<(), &'static str> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(status) if status.is_complete() => {}
        _ => return Err("400 Bad Request"),
    }
    let path = request.path.and_then(|path| path.split('?').next());
    match (request.method, path) {
        (Some("GET"), Some("/metrics")) => Ok(()),
        (_, Some("/metrics")) => Err("405 Method Not Allowed"),
        _ => Err("404 Not Found"),
    }
}

fn exposition(done: &Done) -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, value: &dyn fmt::Display| {
        writeln!(
            text,
            "# TYPE readinto_{name} {kind}\nreadinto_{name} {value}"
        )
        .expect("a string takes it");
    };
    for (name, value) in done.stats.counters() {
        put(&format!("{name}_total"), "counter", &value);
    }
    for (name, value) in done.stats.gauges() {
        put(name, "gauge", &value);
    }
    put_turn_lengths(&mut text, &done.turns).expect("a string takes it");
    text
}

/// A histogram with a bound for each doubling.
fn put_turn_lengths(text: &mut String, turns: &TurnLengths) -> fmt::Result {
    let name = "readinto_turn_seconds";
    writeln!(text, "# TYPE {name} histogram")?;
    let mut sum = 0;
    for (index, (bound, count)) in turns.buckets().enumerate() {
        sum += count;
        if index % 8 == 7 {
            let bound = bound.as_secs_f64();
            writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {sum}")?;
        }
    }
    writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {sum}")?;
    writeln!(text, "{name}_sum {}", turns.total().as_secs_f64())?;
    writeln!(text, "{name}_count {sum}")
}

/// Those beyond it wait: who asks comes every few seconds.
const MOST_CONNECTIONS: usize = 16;

/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(5);

/// In bytes; more than any browser sends.
const LONGEST_HEAD: usize = 8 * 1024;

const MOST_HEADERS: usize = 64;
