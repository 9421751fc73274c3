//! The limit of any copy: memory to memory, and back.

use std::hint::black_box;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::client::{Job, Wire};

/// The verb `bulk`: a frame and its answer are one copy each.
pub(super) fn bulk(job: &Job) -> io::Result<()> {
    let mut wire = Copying {
        frames: job.payloads.clone(),
        there: vec![0; job.size()],
        back: vec![0; job.size()],
    };
    blocking(job.ship(&mut wire))
}

struct Copying {
    frames: [Vec<u8>; 2],
    there: Vec<u8>,
    back: Vec<u8>,
}

impl Wire for Copying {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        self.there.copy_from_slice(black_box(&self.frames[turn]));
        self.back.copy_from_slice(black_box(&self.there));
        black_box(&self.back);
        Ok(())
    }

    fn answer(&self) -> &[u8] {
        &self.back
    }
}

/// The output of a future that never waits.
pub(super) fn blocking<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("it blocks instead"),
    }
}
