//! Many peers at once that want to do harm: what they cost, and that a neighbour
//! is served meanwhile. Figures are in docs/testing.md.

mod support;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use socket2::{Domain, Socket, Type};
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
    const PEERS: usize = 1000;
    raise_descriptor_limit();
    let server = Server::start(&["--memory-budget", "16MiB", "--stall-timeout", "500ms"]);
    let mut neighbour = server.connect();
    neighbour.echo(&payload(1000));
    let before = server.process.resident();
    // Long and short frames, as much as goes, until the server reads no more.
    let kinds = [frame(&payload(100_000)), frame(&payload(1000)).repeat(50)];
    let mut deaf: Vec<_> = (0..PEERS)
        .map(|index| {
            let socket = connect_with_little_room(server.address());
            let mut sent = 0;
            fill(&socket, &kinds[index % kinds.len()], &mut sent);
            (socket, sent)
        })
        .collect();
    let mut fill_all = || {
        for (index, (socket, sent)) in deaf.iter_mut().enumerate() {
            fill(socket, &kinds[index % kinds.len()], sent);
        }
    };
    let mut most = 0;
    for _ in 0..20 {
        neighbour.echo(&payload(1000));
        most = most.max(server.process.resident());
        fill_all();
    }
    let held = most - before;
    println!("{held} bytes resident for {PEERS} peers that never read");
    assert!(held < (16 << 20) + PEERS * 8 * 1024, "{held} bytes");
    // Those that had to wait for memory have more to send now.
    wait_for("all to be cut", || {
        fill_all();
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
        let started = Instant::now();
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
        let rate = count as f64 / started.elapsed().as_secs_f64();
        println!("{rate:.0} connections a second");
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

/// A connection as across a network. On loopback, the kernel holds megabytes for each,
/// and a thousand of them are more than it allows for all sockets of the machine.
fn connect_with_little_room(address: &str) -> TcpStream {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_tcp_mss(1448).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// Sends `bytes` again and again, as much as the kernel takes and far more than it
/// keeps, from where it stopped the last time; until the server has cut it.
fn fill(mut socket: &TcpStream, bytes: &[u8], sent: &mut usize) {
    while *sent < 512 * 1024 {
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
