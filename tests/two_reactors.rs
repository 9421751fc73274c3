//! Reactors don't know of each other: two of them exchange frames, on a thread each or
//! on one.

mod support;

use std::time::Duration;

use readinto::{FrameReader, FrameWriter, Handle, Prefix, Reactor, Stream};
use support::turns::turn_now;
use support::{Transport, assert_same, listen, over_each_transport, pattern, peer_thread, run};

const FRAMES: u64 = 200;

#[test]
fn on_a_thread_each() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        let other = peer_thread(move || {
            run(async |handle| {
                let stream = Stream::connect(&handle, &address).await.unwrap();
                exchange(&handle, stream, Side::Right).await;
            });
        });
        let stream = listener.accept().await.unwrap();
        exchange(&handle, stream, Side::Left).await;
        other.join().await;
    });
}

/// One reactor's task has the other make its turns.
#[test]
fn on_one_thread() {
    let mut right = Reactor::new().unwrap();
    run(async |left| {
        let (listener, _folder) = listen(&left, Transport::Tcp);
        let address = listener.local_address();
        let handle = right.handle();
        let theirs = right.handle().spawn(async move {
            let stream = Stream::connect(&handle, &address).await.unwrap();
            exchange(&handle, stream, Side::Right).await;
        });
        let handle = left.clone();
        let ours = left.spawn(async move {
            let stream = listener.accept().await.unwrap();
            exchange(&handle, stream, Side::Left).await;
        });
        while !(ours.is_finished() && theirs.is_finished()) {
            turn_now(&mut right);
            left.sleep(Duration::ZERO).await;
        }
        ours.await.unwrap();
        theirs.await.unwrap();
    });
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// From none to more bytes than a socket holds.
    fn payload(self, frame: u64) -> Vec<u8> {
        let len = match frame % 20 {
            19 => 3_000_000,
            small => small * small * 50,
        };
        pattern(2 * frame + self as u64, len as usize)
    }
}

/// Sends all frames, and meanwhile reads those of the other side.
async fn exchange(handle: &Handle, stream: Stream, side: Side) {
    let (read, write) = stream.split();
    let sent = handle.spawn(async move {
        let mut writer = FrameWriter::new(write, Prefix::U32Be);
        for frame in 0..FRAMES {
            writer.write(&side.payload(frame)).await.unwrap();
        }
        writer.into_inner().shutdown_write().unwrap();
    });
    let mut reader = FrameReader::new(read, Prefix::U32Be, 4 << 20);
    for frame in 0..FRAMES {
        let got = reader.next().await.unwrap().expect("a frame");
        assert_same(got, &side.other().payload(frame));
    }
    assert_eq!(reader.next().await.unwrap(), None);
    sent.await.unwrap();
}
