//! Connections that end abruptly, in whatever state, leave nothing behind: no
//! descriptor, no task, no memory.
//!
//! Both ends are tasks of one reactor, so both have to clean up. Alone in its
//! process, since it counts the descriptors of all of it.

mod support;

use std::fs;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use readinto::{Address, FrameReader, FrameWriter, Handle, Listener, Prefix, Reactor, Stream};

use support::turns::drive;
use support::{Transport, listen, pattern, yield_now};

#[test]
fn abrupt_ends_leave_no_descriptor_no_task_and_no_memory() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let listeners = Transport::ALL.map(|transport| listen(&handle, transport));
    let (listeners, _folders): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
    let addresses: Vec<_> = listeners.iter().map(Listener::local_address).collect();
    for listener in listeners {
        drop(handle.spawn(serve(handle.clone(), listener)));
    }
    let bytes: Rc<[u8]> = pattern(7, LONG).into();
    let mut round = |seed| {
        let round = end_abruptly(&handle, &addresses, &bytes, seed);
        drive(&mut reactor, round);
    };

    let descriptors = open_descriptors();
    let first = allocation_counter::measure(|| round(1));
    assert_eq!(open_descriptors(), descriptors);
    let second = allocation_counter::measure(|| round(2));
    assert_eq!(open_descriptors(), descriptors);
    eprintln!(
        "the first round kept {} bytes, the second {} more, of {} that it took",
        first.bytes_current, second.bytes_current, second.bytes_total
    );
    // Tables and idle buffers that grew are no leak; a piece for each
    // connection is, however small, and so is a buffer of a long frame.
    assert!(second.count_current < CONNECTIONS / 100, "{second:?}");
    assert!(second.bytes_current < LONG as i64 / 10, "{second:?}");
    assert_eq!(handle.tasks(), addresses.len());
}

/// Makes all connections, some at a time, and waits until both ends are gone.
async fn end_abruptly(handle: &Handle, addresses: &[Address], bytes: &Rc<[u8]>, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let servers = addresses.len();
    for _ in 0..CONNECTIONS / AT_A_TIME {
        let clients: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                let address = addresses[random.usize(..servers)].clone();
                let client = connect_and_end(handle.clone(), address, bytes.clone(), random.fork());
                handle.spawn(client)
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        while handle.tasks() > servers {
            yield_now().await;
        }
    }
}

/// Connects, gets somewhere, and ends with a FIN or with a reset.
async fn connect_and_end(handle: Handle, address: Address, bytes: Rc<[u8]>, mut random: Rng) {
    let mut stream = Stream::connect(&handle, &address).await.unwrap();
    let is_tcp = matches!(address, Address::Tcp { .. });
    if is_tcp && random.bool() {
        stream.socket().set_linger(Some(Duration::ZERO)).unwrap();
    }
    let len = if random.u8(..20) == 0 {
        LONG
    } else {
        random.usize(..SHORT)
    };
    let payload = &bytes[..len];
    let header = (len as u32).to_be_bytes();
    let part = random.usize(..=len);
    match random.u8(..9) {
        0 => {}
        1 => stream
            .write_all(&header[..random.usize(1..4)])
            .await
            .unwrap(),
        2 => stream
            .write_all(&[&header[..], &payload[..part]])
            .await
            .unwrap(),
        3 => {
            // Ends its own side only, and waits for the server to do likewise.
            stream
                .write_all(&[&header[..], &payload[..part]])
                .await
                .unwrap();
            stream.shutdown_write().unwrap();
            while stream.read_exact_into(&mut [0; 64]).await.is_ok() {}
        }
        4 => {
            // Leaves the answer unread, or the server in the middle of it.
            stream.write_all(&[&header[..], payload]).await.unwrap();
        }
        5 => {
            // Leaves in the middle of the answer.
            stream.write_all(&[&header[..], payload]).await.unwrap();
            let mut answer = vec![0; part];
            stream.read_exact_into(&mut answer).await.unwrap();
        }
        6 => {
            // Is dropped in the middle of a write, unless that is done first.
            let frame = [&header[..], payload];
            let write = stream.write_all(&frame);
            let some_turns = Duration::from_micros(random.u64(..2000));
            let _ = handle.timeout(some_turns, write).await;
        }
        7 => {
            // Is dropped waiting for an answer to half a question.
            stream.write_all(&header[..2]).await.unwrap();
            let mut byte = [0];
            let read = stream.read_exact_into(&mut byte);
            let _ = handle.timeout(Duration::from_micros(100), read).await;
        }
        _ => {
            let mut answer = vec![0; header.len() + len];
            let (mut read, mut write) = stream.split();
            let bytes = bytes.clone();
            let writing = handle.spawn(async move {
                write
                    .write_all(&[&header[..], &bytes[..len]])
                    .await
                    .unwrap();
                write
            });
            read.read_exact_into(&mut answer).await.unwrap();
            drop((read, writing.await.unwrap()));
            return;
        }
    }
    for _ in 0..random.u8(..4) {
        yield_now().await;
    }
}

/// Echoes whatever comes, each connection in a task of its own.
async fn serve(handle: Handle, listener: Listener) {
    loop {
        let stream = listener.accept().await.unwrap();
        drop(handle.spawn(async move {
            let (read, write) = stream.split();
            let mut questions = FrameReader::new(read, Prefix::U32Be, LONG);
            let mut answers = FrameWriter::new(write, Prefix::U32Be);
            // However it ends, it ends this connection only.
            while let Ok(Some(question)) = questions.next().await {
                if answers.write(question).await.is_err() {
                    return;
                }
            }
        }));
    }
}

fn open_descriptors() -> usize {
    let folder = fs::read_dir("/proc/self/fd").expect("Linux's list of descriptors");
    folder.count()
}

const CONNECTIONS: i64 = 1500;

/// How many are open at once: with both ends, far below the usual limit of
/// 1024 descriptors.
const AT_A_TIME: i64 = 50;

/// The length of most frames, and of those that no socket's buffers hold.
const SHORT: usize = 100_000;
const LONG: usize = 10 << 20;
