//! x
mod support;
use readinto::{FrameWriter, Prefix};
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};
use support::*;
#[test]
fn x() {
    run(async |handle| {
        for len in [100_000usize] {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Unix).await;
            stream.socket().set_send_buffer_size(32 << 10).unwrap();
            let reading = peer_thread(move || {
                let mut answer = vec![0; 4 + len];
                for i in 0..30 {
                    thread::sleep(Duration::from_millis(66));
                    let s = Instant::now();
                    peer.read_exact(&mut answer).unwrap();
                    if s.elapsed() > Duration::from_millis(100) {
                        eprintln!("read {i} took {:?}", s.elapsed());
                    }
                }
            });
            let half = stream.split().1;
            let mut answers = FrameWriter::new(half, Prefix::U32Be);
            for i in 0..30 {
                let p = pattern(1, len);
                let s = Instant::now();
                answers.feed(&p).await.unwrap();
                if s.elapsed() > Duration::from_millis(150) {
                    eprintln!("feed {i} took {:?}", s.elapsed());
                }
            }
            answers.flush().await.unwrap();
            reading.join().await;
        }
    });
}
