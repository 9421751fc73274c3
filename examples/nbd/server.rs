//! Who is served, and how that ends.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use readinto::channel::TaskReceiver;
use readinto::{Drain, DrainGuard, Handle, Listener, Stream};

use crate::connection::Connection;
use crate::disk::Disk;
use crate::handshake;

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Server {
    handle: Handle,
    disk: Rc<Disk>,
    drain: Drain,
    max_connections: usize,
    /// How long a handshake may take.
    patience: Duration,
}

impl Server {
    pub(crate) fn new(
        handle: Handle,
        disk: Disk,
        max_connections: usize,
        patience: Duration,
    ) -> Server {
        Server {
            handle,
            disk: Rc::new(disk),
            drain: Drain::new(),
            max_connections,
            patience,
        }
    }

    /// Serves until a signal says to stop, then until the requests that have arrived are
    /// answered. A second signal cuts them.
    pub(crate) async fn run(
        &self,
        listener: Listener,
        mut stop: TaskReceiver<i32>,
    ) -> Result<(), Box<dyn Error>> {
        match select(pin!(self.accept(listener)), pin!(stop.recv())).await {
            Either::Left((failed, _)) => return Err(failed.into()),
            Either::Right(_) => self.drain.begin(),
        }
        let (finished, hurried) = (pin!(self.drain.finished()), pin!(stop.recv()));
        // However that ends, who is left is cut.
        let _ = self.handle.timeout(DRAIN, select(finished, hurried)).await;
        // No client can ask for it any more.
        let flushed = self.disk.flush().await;
        flushed.map_err(|_| "what was written may be lost: the disk was not flushed")?;
        match self.drain.unsettled() {
            0 => Ok(()),
            cut => Err(format!("connections that had to be cut: {cut}").into()),
        }
    }

    /// Gives each client a task of its own, until the listener fails.
    async fn accept(&self, listener: Listener) -> io::Error {
        loop {
            self.drain.fewer_than(self.max_connections).await;
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(error) => return error,
            };
            // From now on, not from when the task is first polled.
            let guard = self.drain.enter();
            let server = self.clone();
            self.handle.spawn(async move {
                let peer = stream.peer_address();
                if let Err(error) = server.connection(stream, guard).await {
                    eprintln!("closed the connection from {peer}: {error}");
                }
            });
        }
    }

    async fn connection(&self, mut stream: Stream, guard: DrainGuard) -> io::Result<()> {
        // A client that has vanished would keep its place, since one that is idle may.
        stream.socket().set_keepalive(true)?;
        let greeting = handshake::agree(&mut stream, self.disk.size());
        let greeting = self.handle.timeout(self.patience, greeting);
        let agreed = match select(pin!(self.drain.begun()), pin!(greeting)).await {
            // Nothing is in flight yet.
            Either::Left(_) => return Ok(()),
            Either::Right((agreed, _)) => agreed??,
        };
        if agreed {
            let mut connection = Connection::new(stream, self.disk.clone());
            let served = connection.serve(&self.drain, &self.handle).await;
            // Nothing more will be answered: nothing is lost by a cut from here on.
            guard.settle();
            connection.close(&self.handle).await;
            return served;
        }
        Ok(())
    }
}

/// How long requests in flight may take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(30);
