//! Standard streams that nobody reads: neither service nor end waits for them.

mod support;

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use support::{BINARY, Client, Process, Server, wait_for};
use tempfile::TempDir;

#[test]
fn standard_output_that_nobody_reads_puts_off_no_end() {
    let (_unread, full) = full_pipe();
    let (server, _folder) = serve(&["--stats", "1ms"], full.into(), Stdio::piped());
    let finished = server.stop();
    finished.assert_code(0);
    let lost = |line: &String| line.contains("cannot write to standard output");
    assert!(finished.stderr.iter().any(lost), "{finished:?}");
}

#[test]
fn a_log_that_nobody_reads_stops_no_thread() {
    let (_unread, full) = full_pipe();
    let (server, _folder) = serve(&["--threads", "2"], Stdio::piped(), full.into());
    server.stop().assert_code(0);
}

#[test]
fn both_may_be_one_pipe_with_room_for_some_lines() {
    let (mut unread, full) = full_pipe();
    unread.read_exact(&mut [0; ROOM]).unwrap();
    let (server, _folder) = serve(
        &["--threads", "2", "--stats", "1ms"],
        full.try_clone().unwrap().into(),
        full.into(),
    );
    server.stop().assert_code(0);
    let mut written = Vec::new();
    unread.read_to_end(&mut written).unwrap();
    written.retain(|&byte| byte != FILLING);
    let written = String::from_utf8(written).unwrap();
    // Those that fit are whole.
    assert!(written.ends_with('\n'), "{written:?}");
    let beginnings = ["[", "listening on ", "stats: ", "stopped: "];
    for line in written.lines() {
        let whole = beginnings.iter().any(|part| line.starts_with(part));
        assert!(whole, "{line:?} in {written}");
    }
}

#[test]
fn a_terminal_with_room_for_half_a_line_takes_that() {
    let terminal = openpty(None, None).unwrap();
    let (mut server, _folder) = serve(&["--stats", "1ms"], terminal.slave.into(), Stdio::piped());
    server
        .process
        .stderr_line("cannot write to standard output");
    server.stop().assert_code(0);
}

/// A server that logs all there is, on these streams, and that answers.
fn serve(arguments: &[&str], stdout: Stdio, stderr: Stdio) -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let mut command = Command::new(BINARY);
    command
        .env("RUST_LOG", "trace")
        .args(["serve", "--listen", &listen])
        .args(arguments);
    let process = Process::spawn_on(&mut command, stdout, stderr);
    // It can't say that it listens.
    let stream = wait_for("the server to listen", || UnixStream::connect(&path).ok());
    Client::over_unix(stream).echo(b"hello");
    // By threads that have more to log than there may be room for.
    for _ in 0..100 {
        Client::connect_unix(&path).echo(b"hello");
    }
    let server = Server {
        process,
        addresses: vec![listen],
    };
    (server, folder)
}

/// One that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let full = loop {
        if let Err(error) = writer.write_all(&[FILLING; ROOM]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

const FILLING: u8 = 0xff;

/// A page of a pipe.
const ROOM: usize = 4096;
