//! Frames go back and forth between this library and a few lines of Python
//! that use nothing but its standard library.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use readinto::{FrameReader, FrameWriter, Prefix, Stream};
use support::{Transport, assert_same, listen, pattern, peer_thread, run, skipped};

/// Arguments: `client` or `server`, the `struct` format of the length, and for
/// the client a port. It never runs longer than 20 seconds.
const SCRIPT: &str = r#"
import signal, socket, struct, sys, threading

signal.alarm(20)
role, form = sys.argv[1:3]
header = struct.Struct(form)

def exactly(connection, count):
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 20))
        if not part:
            break
        parts += part
    return bytes(parts)

def read_frame(connection):
    head = exactly(connection, header.size)
    if not head:
        return None
    (length,) = header.unpack(head)
    payload = exactly(connection, length)
    assert len(payload) == length, "the stream ended inside of a frame"
    return payload

def write_frame(connection, payload):
    connection.sendall(header.pack(len(payload)) + payload)

def client(port):
    connection = socket.create_connection(("127.0.0.1", port))
    lengths = [0, 1, 64, 65535, 1000000, 0] + [7 * n for n in range(200)]
    payloads = [bytes((n + i) % 251 for i in range(251)) * (n // 251 + 1) for n in lengths]
    payloads = [payload[:n] for payload, n in zip(payloads, lengths)]

    def ask():
        for payload in payloads:
            write_frame(connection, payload)
        connection.shutdown(socket.SHUT_WR)

    asking = threading.Thread(target=ask)
    asking.start()
    for payload in payloads:
        assert read_frame(connection) == payload, "another payload came back"
    assert read_frame(connection) is None, "more than was sent came back"
    asking.join()
    print(len(payloads), "frames came back")

def server():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    connection, _ = listener.accept()
    while True:
        payload = read_frame(connection)
        if payload is None:
            return
        write_frame(connection, payload)

if role == "client":
    client(int(sys.argv[3]))
else:
    server()
"#;

/// The prefixes that Python programs are known to use, and how `struct` calls
/// them.
const FORMS: [(Prefix, &str); 2] = [(Prefix::U32Be, ">I"), (Prefix::U64Le, "<Q")];

const MAX: usize = 1_000_000;

/// Starts the script, or says why not.
fn python(arguments: &[&str]) -> Option<Child> {
    let child = Command::new("python3")
        .args(["-c", SCRIPT])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) => {
            skipped(&format!("cannot run python3: {error}"));
            None
        }
    }
}

/// Waits for the script, and returns what it has printed.
fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_python_client_gets_every_frame_back_from_our_server() {
    run(async |handle| {
        for (prefix, form) in FORMS {
            let (listener, _) = listen(&handle, Transport::Tcp);
            let address = listener.local_address().to_string();
            let port = address.rsplit(':').next().unwrap();
            let Some(client) = python(&["client", form, port]) else {
                return;
            };
            // If it fails, its reason is worth more than ours.
            let client = peer_thread(move || finish(client));
            let served = handle.spawn(async move {
                let (read, write) = listener.accept().await.unwrap().split();
                let mut reader = FrameReader::new(read, prefix, MAX);
                let mut writer = FrameWriter::new(write, prefix);
                let mut frames = 0;
                while let Some(payload) = reader.next().await.unwrap() {
                    writer.write(payload).await.unwrap();
                    frames += 1;
                }
                frames
            });
            assert_eq!(client.join().await, "206 frames came back\n");
            assert_eq!(served.await.unwrap(), 206);
        }
    });
}

#[test]
fn our_client_gets_every_frame_back_from_a_python_server() {
    run(async |handle| {
        for (prefix, form) in FORMS {
            let Some(mut server) = python(&["server", form]) else {
                return;
            };
            let mut port = String::new();
            let mut output = BufReader::new(server.stdout.take().unwrap());
            output.read_line(&mut port).unwrap();
            let server = peer_thread(move || finish(server));
            let address = format!("127.0.0.1:{}", port.trim());
            let address = address.parse().expect("the server printed its port");

            let stream = Stream::connect(&handle, &address).await.unwrap();
            let (read, write) = stream.split();
            let mut reader = FrameReader::new(read, prefix, MAX);
            let mut writer = FrameWriter::new(write, prefix);
            let lens = [0, 1, 64, 65_535, MAX, 0];
            for len in lens.into_iter().chain((0..200).map(|n| 7 * n)) {
                let payload = pattern(len as u64, len);
                writer.write(&payload).await.unwrap();
                let mut mine = vec![0; reader.next_len().await.unwrap().expect("an answer")];
                reader.read_payload_into(&mut mine).await.unwrap();
                assert_same(&mine, &payload);
            }
            writer.into_inner().shutdown_write().unwrap();
            assert_eq!(reader.next().await.unwrap(), None);
            server.join().await;
        }
    });
}
