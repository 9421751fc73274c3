//! The server: its listeners, whom they admit, and how it stops.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select, select_all};
use log::Level;
use nix::sys::stat::Mode;
use readinto::{Address, Drain, Handle, JoinError, JoinHandle, Listener, Reactor, Stream};

use crate::allow::AllowList;
use crate::cli::ServeOptions;
use crate::connection::{Connection, FrameLimits};
use crate::limit::Limit;
use crate::signals::{self, StopRequests};
use crate::throttle::Throttle;
use crate::unix_path::{self, SocketFile};

/// Serves until a signal says to stop.
pub(crate) fn run(options: &ServeOptions) -> Result<(), ServeError> {
    let mut builder = Reactor::builder().busy_poll(options.busy_poll);
    if let Some(budget) = options.memory_budget {
        builder = builder.memory_budget(budget);
    }
    let mut reactor = builder.build().map_err(ServeError::Reactor)?;
    let handle = reactor.handle();
    let served = reactor.block_on(async {
        let mut listeners = Vec::new();
        for address in &options.listen {
            listeners.push(Bound::bind(&handle, address, options.mode).await?);
        }
        // Not before, so that a slow name server can be interrupted.
        let stop = Arc::new(StopRequests::default());
        signals::forward_to(&stop).map_err(ServeError::Signals)?;
        announce(&listeners);
        let allow = AllowList::new(&options.allow);
        if allow.is_empty() {
            warn_of_exposure(&listeners);
        }
        let limits = Limits {
            allow,
            frames: FrameLimits {
                prefix: options.prefix,
                max_frame: options.max_frame,
                idle: options.idle_timeout,
                frame: options.frame_timeout,
                stall: options.stall_timeout,
                shortage: options.shortage_timeout,
            },
            max_connections: options.max_connections as usize,
            drain: options.drain_timeout,
        };
        serve(&handle, listeners, limits, &stop).await
    });
    // What is left of the connections goes with the reactor.
    drop(reactor);
    let finished = served.map_err(ServeError::Reactor)??;
    say(format_args!(
        "stopped: connections finished: {finished}, cut: 0"
    ));
    Ok(())
}

/// Says where we listen.
fn announce(listeners: &[Bound]) {
    for bound in listeners {
        say(format_args!("listening on {}", bound.address()));
    }
}

/// Prints a line, at once. That nobody reads it is no reason to fail.
fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        log::info!("cannot write to standard output: {error}");
    }
}

/// Says so if others than this host's can connect.
fn warn_of_exposure(listeners: &[Bound]) {
    for address in listeners.iter().map(Bound::address) {
        let Address::Tcp { host, .. } = &address else {
            continue;
        };
        let ip = host.parse::<IpAddr>();
        if ip.is_ok_and(|ip| !ip.to_canonical().is_loopback()) {
            log::warn!(
                "other hosts can connect to {address}, and nothing is encrypted or \
                 authenticated: see --allow"
            );
        }
    }
}

/// A listener, with the socket file that is to go with it.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: Listener,
    _file: Option<SocketFile>,
}

impl Bound {
    /// Listens on `address`; replaces a Unix socket that nobody listens on.
    ///
    /// Its file has this mode, from the moment that it is there.
    pub(crate) async fn bind(
        handle: &Handle,
        address: &Address,
        mode: Mode,
    ) -> Result<Bound, ServeError> {
        let bind = || match address {
            Address::Unix(_) => unix_path::with_mode(mode, || Listener::bind(handle, address)),
            _ => Listener::bind(handle, address),
        };
        let mut bound = bind();
        if let (Err(error), Address::Unix(path)) = (&bound, address)
            && error.kind() == io::ErrorKind::AddrInUse
        {
            unix_path::remove_stale(handle, path)
                .await
                .map_err(|reason| ServeError::InTheWay {
                    address: address.clone(),
                    reason,
                })?;
            bound = bind();
        }
        let listener = bound.map_err(ServeError::Bind)?;
        let file = match address {
            Address::Unix(path) => Some(SocketFile::own(path)),
            _ => None,
        };
        Ok(Bound {
            listener,
            _file: file,
        })
    }

    pub(crate) fn address(&self) -> Address {
        self.listener.local_address()
    }
}

/// What a server allows.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) allow: AllowList,
    pub(crate) frames: FrameLimits,
    pub(crate) max_connections: usize,
    pub(crate) drain: Limit,
}

/// Serves the listeners until the first request to stop, then drains. Returns how
/// many connections have finished by themselves since then.
///
/// What is not finished when this returns must be cut, by dropping the reactor.
pub(crate) async fn serve(
    handle: &Handle,
    listeners: Vec<Bound>,
    limits: Limits,
    stop: &StopRequests,
) -> Result<usize, ServeError> {
    let server = Rc::new(Server {
        handle: handle.clone(),
        allow: limits.allow,
        drain: Drain::new(),
        max_connections: limits.max_connections,
        throttle: Rc::default(),
        frames: limits.frames,
        next_number: Cell::new(1),
    });
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|bound| handle.spawn(server.clone().accept_on(bound)))
        .collect();
    let (failure, accepting) = match select(select_all(accepting), pin!(stop.reached(1))).await {
        Either::Left(((error, _, others), _)) => {
            (Some(error.unwrap_or_else(ServeError::Task)), others)
        }
        Either::Right(((), accepting)) => (None, accepting.into_inner()),
    };
    // Closes the listeners, and removes their files.
    accepting.iter().for_each(JoinHandle::abort);

    let drained = server.drain(limits.drain, stop).await;
    match failure {
        Some(failure) => Err(failure),
        None => drained,
    }
}

/// What all listeners of a server share.
struct Server {
    handle: Handle,
    allow: AllowList,
    drain: Drain,
    max_connections: usize,
    throttle: Rc<Throttle>,
    frames: FrameLimits,
    next_number: Cell<u64>,
}

impl Server {
    /// Admits connections until the listener fails, and returns why.
    async fn accept_on(self: Rc<Self>, bound: Bound) -> ServeError {
        loop {
            self.room().await;
            match bound.listener.accept().await {
                Ok(stream) if !self.allow.admits(&stream.peer_address()) => self.refuse(stream),
                Ok(stream) => {
                    // Another listener may have taken the last place.
                    self.room().await;
                    self.admit(stream);
                }
                Err(source) => {
                    return ServeError::Accept {
                        address: bound.address(),
                        source,
                    };
                }
            }
        }
    }

    /// Waits until there is room for one more connection.
    async fn room(&self) {
        self.drain.fewer_than(self.max_connections).await;
    }

    /// Ends a connection before a byte of it is read.
    fn refuse(&self, stream: Stream) {
        let peer = stream.peer_address();
        // A reset, which leaves nothing behind here.
        if let Err(error) = stream.socket().set_linger(Some(Duration::ZERO)) {
            log::debug!("cannot reset the connection from {peer}: {error}");
        }
        self.throttle.log(
            "connections from where --allow does not say",
            Level::Info,
            format_args!("refused a connection from {peer} (see --allow)"),
        );
    }

    fn admit(&self, stream: Stream) {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let connection = Connection::new(
            self.handle.clone(),
            stream,
            number,
            &self.frames,
            self.drain.clone(),
            self.throttle.clone(),
        );
        drop(self.handle.spawn(connection.run()));
    }

    /// Lets the connections finish, for as long as the limit allows.
    async fn drain(&self, limit: Limit, stop: &StopRequests) -> Result<usize, ServeError> {
        let open = self.drain.active();
        log::info!("stopping: {open} connections are open");
        self.drain.begin();
        let (done, hurried) = (pin!(self.drain.finished()), pin!(stop.reached(2)));
        let end = limit.bound(&self.handle, select(done, hurried)).await;
        let cut = self.drain.unsettled();
        let finished = open - cut;
        match end {
            Ok(Either::Left(_)) => Ok(finished),
            Ok(Either::Right(_)) => Err(ServeError::Hurried { finished, cut }),
            // All is answered; some peers only have not closed their end yet.
            Err(_) if cut == 0 => Ok(finished),
            Err(_) => Err(ServeError::DrainTimeout {
                limit,
                finished,
                cut,
            }),
        }
    }
}

/// Why a server ended other than well.
#[derive(Debug)]
pub(crate) enum ServeError {
    /// No reactor, or it failed.
    Reactor(io::Error),
    /// The kernel refused the address, which the error names.
    Bind(io::Error),
    /// The path of a Unix socket is taken.
    InTheWay { address: Address, reason: String },
    /// The handlers of signals could not be installed.
    Signals(io::Error),
    /// No thread for the server.
    Thread(io::Error),
    /// A listener failed.
    Accept { address: Address, source: io::Error },
    /// A task of the server did not end by itself.
    Task(JoinError),
    /// The drain timeout came first.
    DrainTimeout {
        limit: Limit,
        finished: usize,
        cut: usize,
    },
    /// A second signal came first.
    Hurried { finished: usize, cut: usize },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Reactor(error) => write!(f, "cannot run the event loop: {error}"),
            ServeError::Bind(error) => {
                write!(f, "{error}")?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        f.write_str("; stop who listens there, or choose another --listen address")
                    }
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; choose another --listen address, or get the permission")
                    }
                    _ => f.write_str("; choose another --listen address"),
                }
            }
            ServeError::InTheWay { address, reason } => {
                write!(f, "cannot listen on {address}: {reason}")
            }
            ServeError::Signals(error) => write!(f, "cannot handle signals: {error}"),
            ServeError::Thread(error) => write!(f, "cannot start a thread: {error}"),
            ServeError::Accept { address, source } => {
                write!(f, "cannot accept on {address} any more: {source}")
            }
            ServeError::Task(error) => error.fmt(f),
            ServeError::DrainTimeout {
                limit,
                finished,
                cut,
            } => write!(
                f,
                "drain timeout of {limit}: connections finished: {finished}, cut: {cut}"
            ),
            ServeError::Hurried { finished, cut } => write!(
                f,
                "second signal: connections finished: {finished}, cut: {cut}"
            ),
        }
    }
}

impl Error for ServeError {}
