//! Many peers at once that want to do harm: what they cost, and that a neighbour
//! is served meanwhile. Figures are in docs/testing.md.

mod support;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;

use support::{Server, frame, payload, raise_descriptor_limit, wait_for};

#[test]
fn peers_that_announce_200_mib_and_send_3_bytes_cost_a_few_kib_each() {
    const PEERS: usize = 500;
    raise_descriptor_limit();
    let server = Server::start(&[]);
    let mut neighbour = server.connect();
    neighbour.echo(&payload(1000));
    let before = server.process.resident();
    let claim = [&(200_u32 << 20).to_be_bytes()[..], b"abc"].concat();
    let claims: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut client = server.connect();
            client.send_raw(&claim);
            client
        })
        .collect();
    for _ in 0..100 {
        neighbour.echo(&payload(1000));
    }
    wait_for("all to be accepted", || {
        (server.process.open_files() > PEERS).then_some(())
    });
    neighbour.echo(&payload(1000));
    let each = (server.process.resident() - before) / PEERS;
    println!("{each} bytes resident for each claim");
    assert!(each < 16 * 1024, "{each} bytes each");
    drop(claims);
    server.stop().assert_code(0);
}

/// They can hold all of the budget, and then others wait; but not for longer than
/// the stall timeout.
#[test]
fn peers_that_send_and_never_read_stay_within_the_budget_and_are_cut() {
    const PEERS: usize = 300;
    raise_descriptor_limit();
    let server = Server::start(&["--memory-budget", "16MiB", "--stall-timeout", "2s"]);
    let mut neighbour = server.connect();
    neighbour.echo(&payload(1000));
    let before = server.process.resident();
    // Long and short frames, as much as goes, until the server reads no more.
    let kinds = [frame(&payload(100_000)), frame(&payload(1000)).repeat(50)];
    let mut deaf: Vec<_> = (0..PEERS)
        .map(|index| {
            let client = server.connect();
            client.0.set_nonblocking(true).unwrap();
            let mut sent = 0;
            fill(&client.0, &kinds[index % kinds.len()], &mut sent);
            (client, sent)
        })
        .collect();
    let mut most = 0;
    for _ in 0..20 {
        neighbour.echo(&payload(1000));
        most = most.max(server.process.resident());
        for (index, (client, sent)) in deaf.iter_mut().enumerate() {
            fill(&client.0, &kinds[index % kinds.len()], sent);
        }
    }
    let held = most - before;
    println!("{held} bytes resident for {PEERS} peers that never read");
    assert!(held < (16 << 20) + PEERS * 16 * 1024, "{held} bytes");
    wait_for("all to be cut", || {
        (server.process.open_files() < PEERS / 10).then_some(())
    });
    neighbour.echo(&payload(100_000));
    drop(deaf);
    server.stop().assert_code(0);
}

#[test]
fn peers_that_come_and_go_leave_nothing_behind() {
    const PEERS: usize = 5000;
    let server = Server::start(&[]);
    let mut neighbour = server.connect();
    neighbour.echo(&payload(1000));
    let files = server.process.open_files();
    let address = server.address();
    let mut storm = |count: usize| {
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    for _ in 0..count / 2 {
                        drop(TcpStream::connect(address));
                    }
                });
            }
            for _ in 0..100 {
                neighbour.echo(&payload(1000));
            }
        });
    };
    storm(PEERS);
    wait_for("the first to be closed", || {
        (server.process.open_files() == files).then_some(())
    });
    let before = server.process.resident();
    storm(PEERS);
    wait_for("the others to be closed", || {
        (server.process.open_files() == files).then_some(())
    });
    let grown = server.process.resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes");
    server.stop().assert_code(0);
}

/// Sends `bytes` again and again, as much as the kernel takes, from where it
/// stopped the last time; until the server has cut it.
fn fill(mut socket: &TcpStream, bytes: &[u8], sent: &mut usize) {
    loop {
        match socket.write(&bytes[*sent % bytes.len()..]) {
            Ok(count) => *sent += count,
            Err(error) => {
                let expected = [
                    ErrorKind::WouldBlock,
                    ErrorKind::ConnectionReset,
                    ErrorKind::BrokenPipe,
                ];
                assert!(expected.contains(&error.kind()), "{error}");
                return;
            }
        }
    }
}
