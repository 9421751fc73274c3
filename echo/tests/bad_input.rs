//! What a peer does wrong ends its own connection, and harms nobody else.

mod support;

use std::net::{Shutdown, TcpStream};

use support::{Client, Finished, Server};

fn warnings(finished: &Finished) -> Vec<&String> {
    let is_warning = |line: &&String| line.contains("WARN") || line.contains("ERROR");
    finished.stderr.iter().filter(is_warning).collect()
}

fn local_address(client: &Client<TcpStream>) -> String {
    client.0.local_addr().unwrap().to_string()
}

#[test]
fn a_frame_above_the_maximum_ends_one_connection_with_one_warning() {
    let server = Server::start(&["--max-frame", "1KiB"]);
    let mut good = server.connect();
    let mut bad = server.connect();
    let bad_address = local_address(&bad);
    good.echo(&[7; 1024]);
    bad.echo(b"good at first");

    // What was asked before is answered; the refused payload harms nothing.
    bad.send(b"and second");
    bad.send(&[7; 1025]);
    assert_eq!(bad.receive(), b"and second");
    bad.assert_ended();
    good.echo(&[8; 1024]);
    server.connect().echo(b"new ones are welcome");

    drop((good, bad));
    let finished = server.stop();
    finished.assert_code(0);
    let warnings = warnings(&finished);
    assert_eq!(warnings.len(), 1, "{finished:#?}");
    for part in [bad_address.as_str(), "1025", "1024", "--max-frame"] {
        assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
    }
}

#[test]
fn junk_is_one_warning() {
    let server = Server::start(&[]);
    let mut junk = server.connect();
    let address = local_address(&junk);
    junk.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    junk.assert_ended();
    server.connect().echo(b"fine");

    let finished = server.stop();
    let warnings = warnings(finished.assert_code(0));
    assert_eq!(warnings.len(), 1, "{finished:#?}");
    // "GET " as a length.
    assert!(warnings[0].contains("1195725856"), "{}", warnings[0]);
    assert!(warnings[0].contains(&address), "{}", warnings[0]);
}

#[test]
fn the_largest_length_there_is_is_refused_like_any_other() {
    let server = Server::start(&["--prefix", "u64be"]);
    let mut client = server.connect();
    client.send_raw(&u64::MAX.to_be_bytes());
    client.assert_ended();
    let finished = server.stop();
    let warnings = warnings(finished.assert_code(0));
    assert_eq!(warnings.len(), 1, "{finished:#?}");
    assert!(warnings[0].contains("18446744073709551615"), "{warnings:?}");
}

#[test]
fn a_truncated_frame_is_one_line_at_info() {
    for bytes in [&[0, 0][..], &[0, 0, 0, 9], &[0, 0, 0, 9, 1, 2, 3]] {
        let mut server = Server::start_with_log("info", &[]);
        let mut client = server.connect();
        let address = local_address(&client);
        client.send(b"answered all the same");
        client.send_raw(bytes);
        client.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.receive(), b"answered all the same");
        client.assert_ended();

        let line = server.process.stderr_line(&address);
        assert!(line.contains("INFO") && line.contains("inside"), "{line}");
        let finished = server.stop();
        finished.assert_code(0);
        let lines = finished
            .stderr
            .iter()
            .filter(|line| line.contains(&address));
        assert_eq!(lines.count(), 1, "{finished:#?}");
    }
}

#[test]
fn a_reset_is_one_line_at_info() {
    let mut server = Server::start_with_log("info", &[]);
    let mut client = server.connect();
    client.echo(b"hello");
    let address = local_address(&client);
    // Closing with unread bytes is what makes it a reset.
    client.send(b"an answer that nobody reads");
    let mut peeked = [0; 4];
    while client.0.peek(&mut peeked).unwrap() < peeked.len() {}
    client.send_raw(&[0, 0]);
    drop(client);

    let line = server.process.stderr_line(&address);
    assert!(line.contains("INFO"), "{line}");
    server.connect().echo(b"fine");
    let finished = server.stop();
    finished.assert_code(0);
    let lines = finished
        .stderr
        .iter()
        .filter(|line| line.contains(&address));
    assert_eq!(lines.count(), 1, "{finished:#?}");
}
