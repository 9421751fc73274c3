//! The example `nbd` as a process, and a client of a few lines that does what no
//! real client would.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use super::DEADLINE;
use super::example::Example;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const WRITE_ZEROES: u16 = 6;

pub(crate) const OK: u32 = 0;
pub(crate) const EINVAL: u32 = 22;
pub(crate) const ENOSPC: u32 = 28;

pub(crate) const EXPORT_NAME: u32 = 1;
pub(crate) const ABORT: u32 = 2;
pub(crate) const LIST: u32 = 3;
pub(crate) const INFO: u32 = 6;
pub(crate) const GO: u32 = 7;

pub(crate) const REP_ACK: u32 = 1;
pub(crate) const REP_SERVER: u32 = 2;
pub(crate) const REP_INFO: u32 = 3;
pub(crate) const REP_ERR_UNSUP: u32 = 0x8000_0001;
pub(crate) const REP_ERR_INVALID: u32 = 0x8000_0003;
pub(crate) const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

/// A server that accepts connections; killed when it is dropped.
pub(crate) struct Server {
    process: Example,
    /// As `host:port`.
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let (process, address) = Example::listening("nbd", &arguments);
        Server { process, address }
    }

    /// Its place, as real clients want it.
    pub(crate) fn uri(&self) -> String {
        format!("nbd://{}", self.address)
    }

    /// A connection without a handshake.
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(stream)
    }

    /// A client that has done its handshake.
    pub(crate) fn client(&self) -> Client {
        self.connect().go()
    }

    /// The next line of its standard error.
    pub(crate) fn complaint(&self) -> String {
        self.process.complaint()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end; returns its exit code, and the lines of its standard error that
    /// nobody has asked for.
    pub(crate) fn finish(self) -> (Option<i32>, Vec<String>) {
        let (status, _, complaints) = self.process.finish();
        (status.code(), complaints)
    }

    /// The lines of its standard error that nobody has asked for.
    pub(crate) fn stop(self) -> Vec<String> {
        self.process.signal(Signal::SIGKILL);
        let (status, _, complaints) = self.process.finish();
        assert_eq!(status.signal(), Some(9), "it has ended by itself");
        complaints
    }

    /// How many bytes of memory it holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(status).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
        1024 * kibibytes.parse::<u64>().unwrap()
    }
}

/// A blocking connection with a deadline.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// Does the handshake.
    pub(crate) fn go(mut self) -> Client {
        self.greet(3);
        self.option(GO, &[0; 6]);
        while self.option_reply(GO).0 != REP_ACK {}
        self
    }

    /// Takes the server's greeting, and answers it with these flags.
    pub(crate) fn greet(&mut self, flags: u32) {
        assert_eq!(self.receive::<18>(), *b"NBDMAGICIHAVEOPT\0\x03");
        self.send(&flags.to_be_bytes());
    }

    pub(crate) fn option(&mut self, option: u32, data: &[u8]) {
        self.send(b"IHAVEOPT");
        self.send(&option.to_be_bytes());
        self.send(&(data.len() as u32).to_be_bytes());
        self.send(data);
    }

    /// The kind of the reply, and its data.
    pub(crate) fn option_reply(&mut self, option: u32) -> (u32, Vec<u8>) {
        assert_eq!(self.receive(), 0x0003_e889_0455_65a9_u64.to_be_bytes());
        assert_eq!(self.receive(), option.to_be_bytes());
        let kind = u32::from_be_bytes(self.receive());
        let mut data = vec![0; u32::from_be_bytes(self.receive()) as usize];
        self.0.read_exact(&mut data).unwrap();
        (kind, data)
    }

    /// Sends a request, and returns its error.
    pub(crate) fn ask(&mut self, flags: u16, command: u16, offset: u64, len: u32) -> u32 {
        self.send(&request(flags, command, 7, offset, len));
        self.reply(7)
    }

    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
        assert_eq!(self.ask(0, READ, offset, len as u32), OK);
        let mut data = vec![0; len];
        self.0.read_exact(&mut data).unwrap();
        data
    }

    /// Sends a write, and returns its error.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.send(&request(0, WRITE, 7, offset, data.len() as u32));
        self.send(data);
        self.reply(7)
    }

    /// The error of the next reply, which is to be that of `cookie`.
    pub(crate) fn reply(&mut self, cookie: u64) -> u32 {
        assert_eq!(self.receive(), 0x6744_6698_u32.to_be_bytes());
        let error = u32::from_be_bytes(self.receive());
        assert_eq!(u64::from_be_bytes(self.receive()), cookie);
        error
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn receive<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("the server answers");
        bytes
    }

    /// Whether nothing has come that has not been received.
    pub(crate) fn hears_nothing(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether the server has closed the connection, having sent nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(_) => false,
        }
    }
}

pub(crate) fn request(flags: u16, command: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
    request.extend(flags.to_be_bytes());
    request.extend(command.to_be_bytes());
    request.extend(cookie.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(len.to_be_bytes());
    request
}
