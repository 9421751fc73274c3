//! Both directions move at the same time: two ends that send each other more
//! than all buffers hold do not wait for each other for ever.

mod support;

use std::rc::Rc;

use futures_util::future;
use readinto::{FrameReader, FrameWriter, Handle, JoinHandle, Prefix, Stream};
use support::{assert_same, connected_pair, over_each_transport, pattern};

const FRAMES: usize = 4;

/// Several times what the kernel holds for one connection.
const LEN: usize = 16 << 20;

const PREFIX: Prefix = Prefix::U32Be;

/// What one end sends; each frame is the tail of the same bytes.
#[derive(Clone)]
struct Payloads(Rc<Vec<u8>>);

impl Payloads {
    fn new(seed: u64) -> Payloads {
        Payloads(Rc::new(pattern(seed, LEN + 8 * FRAMES)))
    }

    fn get(&self, number: usize) -> &[u8] {
        &self.0[8 * number..]
    }
}

async fn send(mut writer: FrameWriter, payloads: Payloads) {
    for number in 0..FRAMES {
        writer.write(payloads.get(number)).await.unwrap();
    }
}

async fn receive(mut reader: FrameReader, payloads: Payloads) {
    for number in 0..FRAMES {
        let payload = reader.next().await.unwrap().expect("a frame");
        assert_same(payload, payloads.get(number));
    }
}

fn framed_halves(stream: Stream) -> (FrameReader, FrameWriter) {
    let (read, write) = stream.split();
    let reader = FrameReader::new(read, PREFIX, LEN + 8 * FRAMES);
    (reader, FrameWriter::new(write, PREFIX))
}

/// One end with a task for each half.
fn two_tasks(
    handle: &Handle,
    stream: Stream,
    to_send: &Payloads,
    to_receive: &Payloads,
) -> [JoinHandle<()>; 2] {
    let (reader, writer) = framed_halves(stream);
    [
        handle.spawn(send(writer, to_send.clone())),
        handle.spawn(receive(reader, to_receive.clone())),
    ]
}

#[test]
fn both_ends_send_more_than_all_buffers_hold() {
    let (ours, theirs) = (Payloads::new(1), Payloads::new(2));
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let here = two_tasks(&handle, here, &ours, &theirs);
        let there = two_tasks(&handle, there, &theirs, &ours);
        for task in here.into_iter().chain(there) {
            task.await.unwrap();
        }
    });
}

#[test]
fn one_task_can_drive_both_halves() {
    let (ours, theirs) = (Payloads::new(3), Payloads::new(4));
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let there = two_tasks(&handle, there, &theirs, &ours);
        let (reader, writer) = framed_halves(here);
        future::join(send(writer, ours.clone()), receive(reader, theirs.clone())).await;
        for task in there {
            task.await.unwrap();
        }
    });
}

#[test]
fn an_echo_by_store_and_forward_keeps_up_with_a_client_that_sends_ahead() {
    let payloads = Payloads::new(5);
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let echo = handle.spawn(async move {
            let (mut reader, mut writer) = framed_halves(there);
            while let Some(payload) = reader.next().await.unwrap() {
                writer.write(payload).await.unwrap();
            }
        });
        let client = two_tasks(&handle, here, &payloads, &payloads);
        for task in client {
            task.await.unwrap();
        }
        echo.await.unwrap();
    });
}

#[test]
fn the_two_verbs_alone_do_not_wait_for_each_other() {
    let (ours, theirs) = (pattern(6, LEN), pattern(7, LEN));
    over_each_transport(async |handle, transport| {
        let (here, there) = connected_pair(&handle, transport).await;
        let exchange = async |stream: Stream, to_send: &[u8], to_receive: &[u8]| {
            let (mut read, mut write) = stream.split();
            let mut buf = vec![0; to_receive.len()];
            let both = future::join(write.write_all(to_send), read.read_exact_into(&mut buf));
            let (written, read) = both.await;
            written.unwrap();
            read.unwrap();
            assert_same(&buf, to_receive);
        };
        future::join(
            exchange(here, &ours, &theirs),
            exchange(there, &theirs, &ours),
        )
        .await;
    });
}
