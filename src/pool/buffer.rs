//! A buffer for one long frame.

use std::collections::TryReserveError;
use std::hint::black_box;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::Pool;

/// Room for one frame, on loan; it goes back when it is dropped.
///
/// It has the frame's length at most, and grows only when the caller says that
/// it is full.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// As long as it has ever been: all of it is initialised. The frame begins behind
    /// [`LEAD`] bytes.
    bytes: Vec<u8>,
    /// The frame's length, which is accounted for.
    len: usize,
    pool: Rc<Pool>,
}

impl Buffer {
    /// One without memory, of `len` bytes that are accounted for.
    pub(super) fn new(len: usize, pool: Rc<Pool>) -> Buffer {
        let bytes = Vec::new();
        Buffer { bytes, len, pool }
    }

    /// Whether it is one for `len` bytes.
    pub(super) fn is_for(&self, len: usize) -> bool {
        self.len == len
    }

    /// Has it begin in memory that was idle.
    pub(super) fn begin_in(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
        let whole = with_lead(self.len);
        if self.pool.budget.is_none() && self.len > FIRST && self.bytes.capacity() < whole {
            // What has come is copied once the frame gets more, so no more of this is used.
            self.bytes.truncate(with_lead((self.len / PROOF).max(PAGE)));
        }
    }

    /// Makes it longer than `filled`, up to the frame's length.
    ///
    /// Room is reserved well ahead, which costs addresses and no memory, and is
    /// touched a little at a time: that is when the kernel makes up the pages.
    /// For 50 MB at once that took 13 ms, in which nobody else was served.
    ///
    /// # Errors
    ///
    /// If the system has no memory.
    pub(crate) fn grow_beyond(&mut self, filled: usize) -> Result<(), TryReserveError> {
        if filled < self.there() || filled == self.len {
            return Ok(());
        }
        self.move_to_idle(filled);
        if filled < self.there() {
            return Ok(());
        }
        let target = self.len.min(filled + filled.clamp(PAGE, STEP));
        if LEAD + target > self.bytes.capacity() {
            let capacity = self.len.min((AHEAD * filled).max(FIRST));
            self.bytes
                .try_reserve_exact(LEAD + capacity - self.bytes.len())?;
        }
        let target = (LEAD + target).min(self.bytes.capacity());
        self.bytes.resize(target, 0);
        Ok(())
    }

    /// Goes on in memory that lies idle, if there is more of that, and as much as what has
    /// arrived deserves.
    fn move_to_idle(&mut self, filled: usize) {
        // Under a budget all of it is accounted for, and was lent at once. Long after the
        // proof, there would be too much to copy.
        if self.pool.budget.is_some() || filled > 2 * (self.len / PROOF).max(FIRST) {
            return;
        }
        let deserved = deserved(self.len, filled);
        let least = self.bytes.capacity();
        if with_lead(deserved) > least
            && let Some(mut bytes) = self.pool.take_idle(deserved, least)
        {
            if deserved < self.len {
                bytes.truncate(with_lead(self.len / PROOF));
            }
            let begun = self.bytes.len().min(with_lead(filled));
            if bytes.len() < begun {
                bytes.resize(begun, 0);
            }
            bytes[..begun].copy_from_slice(&self.bytes[..begun]);
            mem::swap(&mut bytes, &mut self.bytes);
            self.pool.keep_idle(bytes);
        }
    }

    /// How many bytes of the frame there is memory for.
    fn there(&self) -> usize {
        self.bytes.len().saturating_sub(LEAD).min(self.len)
    }

    /// Makes it as long as the frame, before a byte of that is there.
    ///
    /// What was touched before, but for a little, is used again. Otherwise it is fresh, and
    /// the kernel makes up the pages as they are filled.
    ///
    /// # Errors
    ///
    /// If the system has no memory.
    pub(super) fn make_whole(&mut self) -> Result<(), TryReserveError> {
        let whole = with_lead(self.len);
        let fresh = whole.saturating_sub(self.bytes.len());
        if fresh == 0 {
            return Ok(());
        }
        if fresh <= STEP && self.bytes.capacity() >= whole {
            self.bytes.resize(whole, 0);
            return Ok(());
        }
        let short = mem::take(&mut self.bytes);
        match self.pool.budget {
            None => self.pool.keep_idle(short),
            // There is no room for both.
            Some(_) => drop(short),
        }
        // What takes zeros from the system aborts where there is no room. So that is asked
        // for first, and seen to be used, or nobody would really ask.
        let mut room = Vec::<u8>::new();
        room.try_reserve_exact(whole)?;
        drop(black_box(room));
        self.bytes = vec![0; whole];
        Ok(())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.there() {
            0 => &[],
            there => &self.bytes[LEAD..][..there],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.there() {
            0 => &mut [],
            there => &mut self.bytes[LEAD..][..there],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.keep_idle(mem::take(&mut self.bytes));
        self.pool.buffers.give_back(self.len);
    }
}

/// How long a vector is for a frame of `len` bytes.
pub(super) fn with_lead(len: usize) -> usize {
    // A claim may be as long as a number can be; there is no memory for it then.
    len.saturating_add(LEAD)
}

/// How much idle memory a frame of `len` bytes may have once `filled` of them have arrived.
/// It has been touched, so what a peer only claims must not get it.
pub(super) fn deserved(len: usize, filled: usize) -> usize {
    match filled < len / PROOF {
        true => len.min((AHEAD * filled).max(FIRST)),
        false => len,
    }
}

/// How many bytes lie before the frame.
///
/// On AMD's Zen 3 the kernel's copies (`rep movsb`) are slow, down to a
/// twentieth, if the destination lies 1 to 31 bytes further into its page than the source
/// (glibc's bug 30994). In the kernel, a payload behind a prefix lies 4 or 8 bytes into its
/// page; allocators put what is long at the beginning of a page, or 16 bytes into it. An
/// echo of 1 MB took two and a half times what it takes from 64 bytes on
/// (`docs/benchmarks.md`, "Where a buffer begins"). They are too few to be counted under
/// the budget.
pub(super) const LEAD: usize = 64;

/// What part of a long frame must have arrived before it gets idle memory for all of it. It
/// is copied there.
const PROOF: usize = 64;

/// What is reserved for a frame at first, in bytes.
const FIRST: usize = 64 * 1024;

/// What of that is touched at first: a peer that has sent next to nothing costs
/// next to nothing. From there on, it is about twice what has arrived.
const PAGE: usize = 4 * 1024;

/// How many times what has arrived is reserved. What had arrived may have to be
/// moved then, so not too seldom and not too often.
const AHEAD: usize = 8;

/// How much is touched at once: about what a task receives in a turn.
const STEP: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count_wakes::CountWakes;
    use crate::pool::{Fill, Ticket};
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    fn lend(pool: &Rc<Pool>, len: usize) -> Buffer {
        lend_for(pool, len, Fill::AsItArrives)
    }

    fn lend_for(pool: &Rc<Pool>, len: usize, fill: Fill) -> Buffer {
        let context = Context::from_waker(Waker::noop());
        let (mut ticket, mut polls) = (None, 0);
        loop {
            match pool.poll_buffer(&context, &mut ticket, len, fill) {
                Poll::Ready(buffer) => return buffer,
                Poll::Pending => polls += 1,
            }
            assert!(polls < 100, "no room for {len} bytes");
        }
    }

    fn grow(buffer: &mut Buffer, len: usize) {
        while buffer.len() < len {
            let before = buffer.len();
            buffer.grow_beyond(before).unwrap();
        }
    }

    #[test]
    fn it_grows_a_little_at_a_time_and_reserves_in_proportion() {
        let len = 100_000_000;
        let mut buffer = lend(&Pool::new(None), len);
        let mut moves = 0;
        while buffer.len() < len {
            let (before, capacity) = (buffer.len(), buffer.bytes.capacity());
            buffer.grow_beyond(before).unwrap();
            assert!(buffer.len() > before);
            assert!(buffer.len() - before <= before.clamp(PAGE, STEP));
            assert!(buffer.bytes.capacity() <= LEAD + (AHEAD * before).max(FIRST));
            moves += usize::from(buffer.bytes.capacity() != capacity);
        }
        assert!(moves <= 6, "{moves}");
        buffer.grow_beyond(len).unwrap();
        assert_eq!(buffer.len(), len);
    }

    #[test]
    fn a_frame_that_needs_no_proof_has_all_of_what_lies_idle() {
        let pool = Pool::new(None);
        let mut first = lend(&pool, 40_000);
        grow(&mut first, 40_000);
        drop(first);
        assert!(lend(&pool, 50_000).len() >= 40_000);
        assert!(lend(&pool, 100_000).len() <= PAGE);
    }

    #[test]
    fn under_a_budget_the_last_buffer_is_used_again_at_once() {
        let len = 8_000_000;
        let pool = Pool::new(Some(3 * len / 2));
        let mut first = lend(&pool, len);
        grow(&mut first, len);
        drop(first);
        assert_eq!(lend(&pool, len).len(), len);
    }

    #[test]
    fn a_frame_that_is_well_under_way_stays_where_it_is() {
        let len = 8_000_000;
        for (begun, moves) in [(100_000, true), (2_000_000, false)] {
            let pool = Pool::new(None);
            let [mut first, mut second] = [(); 2].map(|()| lend(&pool, len));
            grow(&mut first, len);
            grow(&mut second, begun);
            drop(first);
            let filled = second.len();
            second.grow_beyond(filled).unwrap();
            assert_eq!(pool.idle_bytes() < len, moves, "{begun}");
        }
    }

    #[test]
    fn under_a_budget_what_is_lent_and_what_is_idle_fit() {
        for fill in [Fill::AsItArrives, Fill::AtOnce] {
            take_turns(
                &[7_000_000, 4_000_000, 2_000_000, 5_000_000, 6_500_000],
                fill,
            );
            // The first is too long for the second, until some of it has gone.
            take_turns(&[9_000_000, 4_000_000, 8_000_000], fill);
        }
    }

    /// Has buffers of these lengths lent one after the other, two at a time if they fit.
    fn take_turns(lens: &[usize], fill: Fill) {
        let pool = Pool::new(Some(16_000_000));
        let mut lent = VecDeque::<Buffer>::new();
        for &len in lens {
            let fits = |lent: &VecDeque<Buffer>| {
                let used = lent.iter().map(|buffer| buffer.len).sum::<usize>();
                lent.len() < 2 && used + len <= 12_000_000
            };
            while !fits(&lent) {
                lent.pop_front();
            }
            let mut buffer = lend_for(&pool, len, fill);
            match fill {
                Fill::AsItArrives => grow(&mut buffer, len),
                Fill::AtOnce => buffer.make_whole().unwrap(),
            }
            lent.push_back(buffer);
            let sizes = lent.iter().map(|buffer| buffer.bytes.capacity());
            let all = sizes.sum::<usize>() + pool.idle_bytes();
            assert!(all <= 12_000_000 + 10 * LEAD, "{all} with {len}, {fill:?}");
        }
    }

    #[test]
    fn under_a_budget_all_of_it_is_used_again_at_once() {
        let len = 6_000_000;
        let pool = Pool::new(Some(16_000_000));
        let context = Context::from_waker(Waker::noop());
        let lend_two = || {
            [(); 2].map(|()| {
                let polled = pool.poll_buffer(&context, &mut None, len, Fill::AtOnce);
                let Poll::Ready(mut buffer) = polled else {
                    panic!("something had to be freed");
                };
                buffer.make_whole().unwrap();
                buffer
            })
        };
        drop(lend_two());
        let again = allocation_counter::measure(|| drop(lend_two()));
        assert!(again.bytes_total < len as u64, "{again:?}");
    }

    #[test]
    fn what_is_too_short_for_a_lease_goes_before_another_comes() {
        let len = 8_000_000;
        let pool = Pool::new(Some(16_000_000));
        let mut begun = lend(&pool, len);
        grow(&mut begun, 5_000_000);
        drop(begun);
        assert!(pool.idle_bytes() >= len);
        let mut whole = lend_for(&pool, len, Fill::AtOnce);
        let change = allocation_counter::measure(|| whole.make_whole().unwrap());
        assert!(change.bytes_max < 1_000_000, "{change:?}");
    }

    #[test]
    fn who_gives_up_while_idle_memory_goes_is_not_in_the_way() {
        let pool = Pool::new(Some(16_000_000));
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(wakes.clone());
        let poll = |ticket: &mut _, len| {
            let context = Context::from_waker(&waker);
            pool.poll_buffer(&context, ticket, len, Fill::AsItArrives)
        };
        grow(&mut lend(&pool, 12_000_000), 12_000_000);
        let (mut first, mut second) = (None, None);
        assert!(poll(&mut first, 4_000_000).is_pending());
        assert!(first.as_ref().is_some_and(|ticket| !ticket.is_queued()));
        assert!(poll(&mut second, 9_000_000).is_pending());
        assert!(second.as_ref().is_some_and(Ticket::is_queued));
        let before = wakes.get();
        drop(first);
        assert_eq!(wakes.get(), before + 1);
        assert!(poll(&mut second, 9_000_000).is_ready());
    }

    #[test]
    fn room_that_was_granted_for_another_frame_is_given_back() {
        let pool = Pool::new(Some(16_000_000));
        let context = Context::from_waker(Waker::noop());
        grow(&mut lend(&pool, 12_000_000), 12_000_000);
        let mut ticket = None;
        let granted = pool.poll_buffer(&context, &mut ticket, 4_000_000, Fill::AsItArrives);
        assert!(granted.is_pending() && ticket.is_some());
        let mut poll = || pool.poll_buffer(&context, &mut ticket, 7_000_000, Fill::AsItArrives);
        let other = loop {
            if let Poll::Ready(other) = poll() {
                break other;
            }
        };
        assert_eq!((other.len, pool.lent_bytes()), (7_000_000, 7_000_000));
    }

    /// Others may take and return memory meanwhile: what they leave is in the way as well.
    #[test]
    fn who_frees_idle_memory_is_served_beside_others() {
        let pool = Pool::new(Some(16_000_000));
        let context = Context::from_waker(Waker::noop());
        let poll = |ticket: &mut _, len| {
            let polled = pool.poll_buffer(&context, ticket, len, Fill::AtOnce);
            polled.map(|mut buffer| buffer.make_whole().unwrap())
        };
        assert!(poll(&mut None, 5_000_000).is_ready());
        let (mut all, mut part) = (None, None);
        let mut polls = 0;
        while poll(&mut all, 12_000_000).is_pending() {
            let _ = poll(&mut part, 5_000_000);
            polls += 1;
            assert!(polls < 10, "starved");
        }
        assert!(polls > 1, "all was freed at once");
    }
}
