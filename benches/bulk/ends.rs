//! The two ends of a turn, whoever moves the bytes between them.

use std::io;
use std::thread::{self, JoinHandle};

use socket2::{Domain, SockRef};

use crate::exchange::Exchange;

/// The sending and receiving end that is timed, connected to its server.
pub(crate) trait Client {
    /// The options of its socket, before the first byte.
    fn options(&self) -> io::Result<SocketOptions>;

    /// Sends `frames` frames, one after the other, and reads each answer.
    fn echo(&mut self, exchange: &mut Exchange, frames: usize) -> io::Result<()>;
}

/// The thread at the other end.
pub(crate) struct Server(JoinHandle<io::Result<()>>);

impl Server {
    pub(crate) fn start(
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Server> {
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(run)?;
        Ok(Server(thread))
    }

    pub(crate) fn join(self) -> io::Result<()> {
        self.0
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the server panicked")))
    }
}

/// What a socket is set to, as the kernel counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketOptions {
    /// `None` for a Unix socket, which has no such option.
    nodelay: Option<bool>,
    receive_buffer: usize,
    send_buffer: usize,
}

impl SocketOptions {
    pub(crate) fn of(socket: &SockRef<'_>) -> io::Result<SocketOptions> {
        let nodelay = match socket.local_addr()?.domain() {
            Domain::UNIX => None,
            _ => Some(socket.tcp_nodelay()?),
        };
        Ok(SocketOptions {
            nodelay,
            receive_buffer: socket.recv_buffer_size()?,
            send_buffer: socket.send_buffer_size()?,
        })
    }
}
