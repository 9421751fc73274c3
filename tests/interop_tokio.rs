//! Frames go back and forth between this library and code that knows nothing
//! of it: tokio-util's `LengthDelimitedCodec`, in each form that both speak.

mod support;

use std::io;

use bytes::Bytes;
use futures_util::stream;
use futures_util::{SinkExt, StreamExt, future};
use readinto::{Address, FrameError, FrameReader, FrameWriter, Prefix, Stream};
use support::{
    DEADLINE, Transport, assert_same, listen, over_each_transport, pattern, peer_thread, run,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const MAX: usize = 1_000_000;

/// tokio's idea of the same prefix.
fn codec(prefix: Prefix) -> LengthDelimitedCodec {
    let mut builder = LengthDelimitedCodec::builder();
    builder
        .length_field_length(prefix.size())
        .max_frame_length(MAX);
    match prefix {
        Prefix::U16Be | Prefix::U32Be | Prefix::U64Be => builder.big_endian(),
        Prefix::U16Le | Prefix::U32Le | Prefix::U64Le => builder.little_endian(),
        _ => unreachable!("{prefix} is new"),
    };
    builder.new_codec()
}

trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

type TheirFrames = Framed<Box<dyn Socket>, LengthDelimitedCodec>;

/// A runtime of theirs, for one future.
fn in_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { tokio::time::timeout(DEADLINE, future).await };
    runtime.block_on(bounded).expect("tokio's side is stuck")
}

async fn connect_theirs(address: &Address, prefix: Prefix) -> TheirFrames {
    let socket: Box<dyn Socket> = match address {
        Address::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await.unwrap()),
        tcp => {
            let address = tcp.to_string();
            Box::new(tokio::net::TcpStream::connect(address).await.unwrap())
        }
    };
    Framed::new(socket, codec(prefix))
}

/// Lengths that fit `prefix`: the remarkable ones, then some of all sorts.
fn lens(prefix: Prefix) -> Vec<usize> {
    let longest = prefix.max_len().min(MAX as u64) as usize;
    let mut random = fastrand::Rng::with_seed(prefix.size() as u64);
    let mut lens = vec![0, 1, 64, 65_535, MAX, 0, 0];
    lens.extend((0..100).map(|_| random.usize(..100_000)));
    lens.into_iter().map(|len| len.min(longest)).collect()
}

fn payloads(prefix: Prefix) -> Vec<Bytes> {
    let lens = lens(prefix).into_iter().enumerate();
    lens.map(|(seed, len)| pattern(seed as u64, len).into())
        .collect()
}

/// Our server: echoes each frame of one connection until its end.
async fn echo(stream: Stream, prefix: Prefix) -> Result<usize, FrameError> {
    let (read, write) = stream.split();
    let mut reader = FrameReader::new(read, prefix, MAX);
    let mut writer = FrameWriter::new(write, prefix);
    let mut frames = 0;
    while let Some(payload) = reader.next().await? {
        writer.write(payload).await?;
        frames += 1;
    }
    Ok(frames)
}

/// Their client: sends all frames ahead while it takes the answers.
async fn ask_theirs(frames: TheirFrames, payloads: Vec<Bytes>) {
    let (mut sink, mut answers) = frames.split();
    let questions = payloads.clone();
    let asking = async {
        sink.send_all(&mut stream::iter(questions).map(Ok))
            .await
            .unwrap();
        sink.close().await.unwrap();
    };
    let answered = async {
        for payload in &payloads {
            let answer = answers.next().await.expect("an answer").unwrap();
            assert_same(&answer, payload);
        }
        assert!(answers.next().await.is_none(), "the end");
    };
    future::join(asking, answered).await;
}

#[test]
fn their_client_gets_every_frame_back_from_our_server() {
    over_each_transport(async |handle, transport| {
        for &prefix in Prefix::ALL {
            let (listener, _folder) = listen(&handle, transport);
            let address = listener.local_address();
            let sent = payloads(prefix);
            let count = sent.len();
            let client = peer_thread(move || {
                in_tokio(async { ask_theirs(connect_theirs(&address, prefix).await, sent).await });
            });
            let stream = listener.accept().await.unwrap();
            assert_eq!(echo(stream, prefix).await.unwrap(), count, "{prefix}");
            client.join().await;
        }
    });
}

/// Our client: a task sends all frames ahead, another takes the answers.
async fn ask_ours(handle: &readinto::Handle, stream: Stream, prefix: Prefix) {
    let (read, write) = stream.split();
    let asking = handle.spawn(async move {
        let mut writer = FrameWriter::new(write, prefix);
        for payload in payloads(prefix) {
            writer.write(&payload[..]).await.unwrap();
        }
        writer.into_inner().shutdown_write().unwrap();
    });
    let mut reader = FrameReader::new(read, prefix, MAX);
    for payload in payloads(prefix) {
        let answer = reader.next().await.unwrap().expect("an answer");
        assert_same(answer, &payload);
    }
    assert_eq!(reader.next().await.unwrap(), None);
    asking.await.unwrap();
}

#[test]
fn our_client_gets_every_frame_back_from_their_server() {
    run(async |handle| {
        for &prefix in Prefix::ALL {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().into();
            let server = peer_thread(move || in_tokio(serve_theirs(listener, prefix)));
            let stream = Stream::connect(&handle, &address).await.unwrap();
            ask_ours(&handle, stream, prefix).await;
            server.join().await.unwrap();
        }
    });
}

/// Their server, for one connection.
async fn serve_theirs(listener: std::net::TcpListener, prefix: Prefix) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (stream, _) = listener.accept().await?;
    let (sink, frames) = Framed::new(stream, codec(prefix)).split();
    frames
        .map(|frame| frame.map(Bytes::from))
        .forward(sink)
        .await
}

#[test]
fn a_hundred_thousand_small_frames_pass_both_in_order() {
    const FRAMES: u32 = 100_000;
    run(async |handle| {
        let (listener, _) = listen(&handle, Transport::Tcp);
        let address = listener.local_address();
        let client = peer_thread(move || {
            let mut random = fastrand::Rng::with_seed(1);
            let numbered = |number: u32, random: &mut fastrand::Rng| {
                let mut payload = number.to_be_bytes().to_vec();
                payload.resize(random.usize(4..40), number as u8);
                Bytes::from(payload)
            };
            let sent = (0..FRAMES).map(|number| numbered(number, &mut random));
            let sent = sent.collect();
            in_tokio(async {
                ask_theirs(connect_theirs(&address, Prefix::U32Be).await, sent).await;
            });
        });
        let stream = listener.accept().await.unwrap();
        let echoed = echo(stream, Prefix::U32Be).await.unwrap();
        assert_eq!(echoed, FRAMES as usize);
        client.join().await;
    });
}

#[test]
fn their_frame_above_our_limit_is_too_large() {
    run(async |handle| {
        let (listener, _) = listen(&handle, Transport::Tcp);
        let address = listener.local_address();
        let client = peer_thread(move || {
            in_tokio(async {
                let mut frames = connect_theirs(&address, Prefix::U64Le).await;
                frames.send(Bytes::from(vec![0; 1_001])).await.unwrap();
                // Our side hangs up.
                assert!(!matches!(frames.next().await, Some(Ok(_))));
            });
        });
        let stream = listener.accept().await.unwrap();
        let mut reader = FrameReader::new(stream.split().0, Prefix::U64Le, 1_000);
        let error = reader.next().await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLarge {
                len: 1_001,
                max: 1_000,
                ..
            }
        ));
        drop(reader);
        client.join().await;
    });
}
