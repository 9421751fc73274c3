//! A future may be dropped at any time, by a timeout or by hand, and what
//! that means is what the documentation says.

mod support;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use readinto::{
    Elapsed, FrameReader, FrameWriter, JoinError, Prefix, ReadHalf, Stream, StreamError,
};
use socket2::{SockRef, Socket};
use support::{
    Transport, arrived, arrived_on, assert_same, connect_blocking, drained, drop_once, framed,
    listen, over_each_transport, pattern, run, stream_and_peer, yield_now,
};

/// Long enough to be a timeout, short enough to wait for.
const SHORT: Duration = Duration::from_millis(5);

const PREFIX: Prefix = Prefix::U32Be;

#[test]
fn a_timeout_drops_a_read_and_poisons_it_if_bytes_had_moved() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut buf = [0; 10];

        // Nothing had come: nothing is lost.
        let late = handle
            .timeout(SHORT, stream.read_exact_into(&mut buf))
            .await;
        assert!(matches!(late, Err(Elapsed { after: SHORT, .. })));
        peer.write_all(b"0123456789").unwrap();
        stream.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"0123456789");

        peer.write_all(b"012").unwrap();
        arrived(&stream, 3).await;
        let late = handle
            .timeout(SHORT, stream.read_exact_into(&mut buf))
            .await;
        assert!(late.is_err());
        assert!(matches!(
            stream.read_exact_into(&mut buf).await,
            Err(StreamError::Poisoned {
                moved: 3,
                wanted: 10,
                ..
            })
        ));
    });
}

#[test]
fn a_timeout_that_is_not_reached_changes_nothing() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut buf = [0; 10];
        for _ in 0..10 {
            peer.write_all(b"0123456789").unwrap();
            let read = stream.read_exact_into(&mut buf);
            let in_time = handle.timeout(Duration::from_secs(3600), read).await;
            in_time.unwrap().unwrap();
            assert_eq!(&buf, b"0123456789");
        }
    });
}

/// How a read of a frame is given up.
#[derive(Clone, Copy, Debug)]
enum GiveUp {
    ByTimeout,
    ByHand,
}

/// Which futures are given up.
#[derive(Clone, Copy, Debug)]
enum Way {
    Next,
    IntoMine,
}

/// A reader that has read what of a frame has come, in the end of a stream
/// whose peer will send the rest.
struct Interrupted {
    reader: FrameReader,
    mine: Option<Vec<u8>>,
}

impl Interrupted {
    fn new(half: ReadHalf) -> Interrupted {
        Interrupted {
            reader: FrameReader::new(half, PREFIX, 200_000),
            mine: None,
        }
    }

    async fn read(&mut self, way: Way) -> Vec<u8> {
        match way {
            Way::Next => self.reader.next().await.unwrap().unwrap().to_vec(),
            Way::IntoMine => {
                if self.mine.is_none() {
                    let len = self.reader.next_len().await.unwrap().unwrap();
                    self.mine = Some(vec![0; len]);
                }
                let mine = self.mine.as_mut().unwrap();
                self.reader.read_payload_into(mine).await.unwrap();
                self.mine.take().unwrap()
            }
        }
    }
}

#[test]
fn a_frame_is_whole_however_often_its_reading_was_given_up() {
    const LEN: usize = 100_000;
    // Nowhere, in the prefix, behind it, in the payload beyond the buffer
    // that a reader begins with.
    const PLACES: [usize; 6] = [0, 1, 3, 4, 4 + 10, 4 + 70_000];
    over_each_transport(async |handle, transport| {
        for way in [Way::Next, Way::IntoMine] {
            for give_up in [GiveUp::ByTimeout, GiveUp::ByHand] {
                let (stream, mut peer) = stream_and_peer(&handle, transport).await;
                let payload = pattern(5, LEN);
                let frame = framed(PREFIX, &payload);
                let mut is_drained = drained(&stream);
                let mut frames = Interrupted::new(stream.split().0);
                let mut sent = 0;
                for place in PLACES {
                    peer.write_all(&frame[sent..place]).unwrap();
                    arrived_on(frames.reader.get_ref().socket(), place - sent).await;
                    sent = place;
                    match give_up {
                        GiveUp::ByHand => {
                            drop_once(frames.read(way), &mut is_drained).await;
                        }
                        GiveUp::ByTimeout => {
                            let late = handle.timeout(SHORT, frames.read(way)).await;
                            assert!(late.is_err(), "{way:?} at {place}");
                        }
                    }
                    assert_eq!(frames.reader.is_mid_frame(), place > 0);
                }
                peer.write_all(&frame[sent..]).unwrap();
                peer.write_all(&framed(PREFIX, b"next")).unwrap();
                assert!(frames.read(way).await == payload, "{way:?}, {give_up:?}");
                assert_eq!(frames.read(way).await, b"next");
            }
        }
    });
}

#[test]
fn a_payload_begun_by_next_can_be_finished_in_the_callers_buffer() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let payload = pattern(6, 100_000);
        let frame = framed(PREFIX, &payload);
        peer.write_all(&frame[..70_004]).unwrap();
        arrived(&stream, 70_004).await;
        let drained = drained(&stream);
        let mut reader = FrameReader::new(stream.split().0, PREFIX, 200_000);
        drop_once(reader.next(), drained).await;

        peer.write_all(&frame[70_004..]).unwrap();
        let mut mine = vec![0; reader.next_len().await.unwrap().unwrap()];
        reader.read_payload_into(&mut mine).await.unwrap();
        assert!(mine == payload);
    });
}

#[test]
fn a_timeout_while_writing_poisons_the_writer_only() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let (read, write) = stream.split();
        let mut writer = FrameWriter::new(write, PREFIX);
        let mut reader = FrameReader::new(read, PREFIX, 100);
        let payload = vec![0; 64 << 20];
        let late = handle.timeout(SHORT, writer.write(&payload)).await;
        assert!(late.is_err());
        assert!(writer.write(b"next").await.is_err());
        peer.write_all(&framed(PREFIX, b"hello")).unwrap();
        assert_eq!(reader.next().await.unwrap(), Some(&b"hello"[..]));
    });
}

#[test]
fn an_aborted_task_closes_its_socket_in_the_middle_of_a_read() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        peer.write_all(b"012").unwrap();
        arrived(&stream, 3).await;
        let mut is_drained = drained(&stream);
        let reading = handle.spawn(async move {
            let result = stream.read_exact_into(&mut [0; 10]).await;
            panic!("there is nothing to complete {result:?}");
        });
        while !is_drained() {
            yield_now().await;
        }
        drop(is_drained);
        reading.abort();
        assert!(matches!(reading.await, Err::<(), _>(JoinError::Aborted)));
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the end");
        assert_eq!(handle.tasks(), 0);
    });
}

#[test]
fn an_aborted_task_closes_its_socket_in_the_middle_of_a_write() {
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        let payload = pattern(7, 64 << 20);
        let writing = handle.spawn(async move {
            let result = stream.write_all(&payload).await;
            panic!("nobody reads, and yet {result:?}");
        });
        arrived_on(SockRef::from(&peer), 1).await;
        writing.abort();
        assert!(matches!(writing.await, Err::<(), _>(JoinError::Aborted)));

        // What was sent is still there, then comes the end.
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(!received.is_empty());
        assert_same(&received, &pattern(7, 64 << 20)[..received.len()]);
    });
}

#[test]
fn a_dropped_accept_loses_no_connection() {
    over_each_transport(async |handle, transport| {
        let (listener, _folder) = listen(&handle, transport);
        let late = handle.timeout(SHORT, listener.accept()).await;
        assert!(late.is_err());
        let mut turns = 0..3;
        drop_once(listener.accept(), || turns.next().is_none()).await;

        let mut peer = connect_blocking(&listener.local_address());
        drop(listener.accept());
        let mut stream = listener.accept().await.unwrap();
        peer.write_all(b"hello").unwrap();
        let mut buf = [0; 5];
        stream.read_exact_into(&mut buf).await.unwrap();
        assert_eq!(&buf, b"hello");
    });
}

#[test]
fn the_loser_of_a_race_leaves_no_waker_behind() {
    // Each round drops a read that is parked and parks another one from a
    // task of its own: the wake-up must go to that one.
    over_each_transport(async |handle, transport| {
        let (mut stream, mut peer) = stream_and_peer(&handle, transport).await;
        for round in 0..50_u8 {
            let mut turns = 0..2;
            drop_once(stream.read_exact_into(&mut [0; 1]), || {
                turns.next().is_none()
            })
            .await;
            let reading = handle.spawn(async move {
                let mut buf = [0; 1];
                stream.read_exact_into(&mut buf).await.unwrap();
                (stream, buf[0])
            });
            yield_now().await;
            peer.write_all(&[round]).unwrap();
            let got;
            (stream, got) = reading.await.unwrap();
            assert_eq!(got, round);
        }
    });
}

#[test]
fn dropping_the_reactor_drops_its_tasks_and_closes_their_sockets() {
    let dropped = Rc::new(Cell::new(false));
    let in_task = SetOnDrop(dropped.clone());
    let mut peer = run(async |handle| {
        let (mut stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
        drop(handle.spawn(async move {
            let _in_task = in_task;
            let result = stream.read_exact_into(&mut [0; 1]).await;
            panic!("nothing was sent, and yet {result:?}");
        }));
        yield_now().await;
        peer
    });
    assert!(dropped.get());
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the end");
}

struct SetOnDrop(Rc<Cell<bool>>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_stream_that_outlives_its_reactor_says_so() {
    let (mut stream, mut peer): (Stream, Socket) =
        run(async |handle| stream_and_peer(&handle, Transport::Tcp).await);
    run(async |_handle| {
        let mut buf = [0; 5];
        match stream.read_exact_into(&mut buf).await {
            Err(StreamError::Io { moved, source, .. }) => {
                assert_eq!(moved, 0);
                assert_eq!(source.kind(), ErrorKind::NotConnected);
            }
            other => panic!("{other:?} instead of an error"),
        }
        // What needs no waiting still works.
        stream.write_all(b"hello").await.unwrap();
        peer.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"hello");
    });
}
