//! Memory that nobody uses just now.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// Vectors that came back, in the order in which they did.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    idle: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many of them, from the first on, have lain here since the last sweep.
    old: usize,
    /// How many of those since the one before: they are to be freed.
    spare: usize,
}

impl Shelf {
    /// How many vectors lie here.
    pub(super) fn len(&self) -> usize {
        self.idle.len()
    }

    /// How many bytes lie here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of those above `least` bytes, the one closest to `len` that would be at least half
    /// full; rather one that holds them than one that has to grow.
    pub(super) fn take(&mut self, len: usize, least: usize) -> Option<Vec<u8>> {
        let index = self.closest(len, least)?;
        self.remove(index)
    }

    /// The one that came last.
    #[inline]
    pub(super) fn take_last(&mut self) -> Option<Vec<u8>> {
        let bytes = self.idle.pop_back()?;
        self.bytes -= bytes.capacity();
        self.old = self.old.min(self.idle.len());
        self.spare = self.spare.min(self.old);
        Some(bytes)
    }

    #[inline]
    pub(super) fn put(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.capacity();
        self.idle.push_back(bytes);
    }

    /// Has what was not needed since the last sweep freed, a part at a time.
    pub(super) fn sweep(&mut self) {
        self.spare = self.old;
        self.old = self.idle.len();
    }

    /// Whether something of that is left.
    #[inline]
    pub(super) fn has_spare(&self) -> bool {
        self.spare > 0
    }

    /// Frees a part of that, `most` bytes at most; returns how many.
    pub(super) fn free_spare(&mut self, most: usize) -> usize {
        let mut freed = 0;
        while self.has_spare() && freed < most {
            freed += self.shrink_first(most - freed);
        }
        freed
    }

    /// As [`take`](Self::take), but no more than `len` bytes, and none while more than
    /// `room` lie here beside that.
    ///
    /// # Errors
    ///
    /// If more has to be freed for that than `most` bytes, which have been.
    pub(super) fn take_within(
        &mut self,
        len: usize,
        least: usize,
        room: usize,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Crowded> {
        let mut left = most;
        let mut taken = self.take(len, least);
        if let Some(bytes) = &mut taken {
            let surplus = bytes.capacity().saturating_sub(len);
            left -= cut(bytes, surplus.min(left));
        }
        while self.bytes > room && left > 0 {
            left -= self.shrink_first(left.min(self.bytes - room));
        }
        let fits = taken.as_ref().is_none_or(|bytes| bytes.capacity() <= len);
        if fits && self.bytes <= room {
            return Ok(taken);
        }
        if let Some(bytes) = taken {
            self.put(bytes);
        }
        Err(Crowded)
    }

    fn closest(&self, len: usize, least: usize) -> Option<usize> {
        let mut best = None;
        for (index, bytes) in self.idle.iter().enumerate().rev() {
            let size = bytes.capacity();
            if size > least && size / 2 <= len {
                let fit = (size >= len, Reverse(size.abs_diff(len)));
                if best.is_none_or(|(so_far, _)| fit > so_far) {
                    best = Some((fit, index));
                }
                if size == len {
                    // As most are, if the frames are all of one length.
                    break;
                }
            }
        }
        best.map(|(_, index)| index)
    }

    /// Frees the one that came first, or so many `bytes` of it if it is longer; returns how
    /// many.
    fn shrink_first(&mut self, bytes: usize) -> usize {
        let idle = &mut self.idle[0];
        let size = idle.capacity();
        if size <= bytes {
            drop(self.remove(0));
            return size;
        }
        let freed = cut(idle, bytes);
        self.bytes -= freed;
        freed
    }

    fn remove(&mut self, index: usize) -> Option<Vec<u8>> {
        let bytes = self.idle.remove(index)?;
        self.bytes -= bytes.capacity();
        self.old -= usize::from(index < self.old);
        self.spare -= usize::from(index < self.spare);
        Some(bytes)
    }
}

/// Something has to be freed first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// Frees the last of `idle`, so many `bytes`; returns how many.
///
/// Most allocators leave the rest where it is. With one that copies it, this is dear.
fn cut(idle: &mut Vec<u8>, bytes: usize) -> usize {
    let size = idle.capacity();
    if bytes > 0 {
        idle.truncate(size - bytes);
        idle.shrink_to(size - bytes);
    }
    size - idle.capacity()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = 1_000_000;

    fn sweep(shelf: &mut Shelf) {
        shelf.sweep();
        while shelf.has_spare() {
            assert!(shelf.free_spare(STEP) > 0);
        }
    }

    fn shelf(sizes: &[usize]) -> Shelf {
        let mut shelf = Shelf::default();
        for &size in sizes {
            shelf.put(Vec::with_capacity(size));
        }
        shelf
    }

    #[test]
    fn the_closest_that_would_be_half_full_is_taken() {
        let sizes = [100_000, 40_000, 60_000, 20_000];
        for (len, expected) in [
            (50_000, Some(60_000)),
            (60_001, Some(100_000)),
            (200_000, Some(100_000)),
            (10_000, Some(20_000)),
            (9_000, None),
        ] {
            let taken = shelf(&sizes).take(len, 0);
            assert_eq!(taken.map(|bytes| bytes.capacity()), expected, "{len}");
        }
        let taken = shelf(&sizes).take(50_000, 60_000);
        assert_eq!(taken.map(|bytes| bytes.capacity()), Some(100_000));
        assert_eq!(shelf(&sizes).take(50_000, 100_000), None);
    }

    #[test]
    fn a_sweep_frees_what_was_not_needed_since_the_last() {
        let mut shelf = shelf(&[100, 200, 300]);
        sweep(&mut shelf);
        assert_eq!(shelf.bytes(), 600, "they have only just come");
        let needed = shelf.take(200, 0).unwrap();
        shelf.put(needed);
        sweep(&mut shelf);
        assert_eq!(shelf.bytes(), 200);
        sweep(&mut shelf);
        assert_eq!(shelf.bytes(), 0);
    }

    #[test]
    fn those_below_the_last_are_not_needed() {
        let mut shelf = shelf(&[1, 2, 3, 4]);
        sweep(&mut shelf);
        // Two at once are needed, again and again.
        for _ in 0..3 {
            let [last, before] = [(); 2].map(|()| shelf.take_last().unwrap());
            shelf.put(before);
            shelf.put(last);
        }
        sweep(&mut shelf);
        assert_eq!(shelf.bytes(), 7);
        sweep(&mut shelf);
        assert_eq!(shelf.bytes(), 0);
        assert_eq!(shelf.take_last(), None);
    }

    #[test]
    fn no_more_is_freed_at_once_than_is_asked_for() {
        let sizes = [5 * STEP / 2, STEP / 2, STEP / 4];
        let mut shelf = shelf(&sizes);
        shelf.sweep();
        shelf.sweep();
        let mut left = sizes.iter().sum::<usize>();
        while shelf.has_spare() {
            assert_eq!(shelf.free_spare(STEP), left.min(STEP));
            left = left.saturating_sub(STEP);
            assert_eq!(shelf.bytes(), left);
        }
        assert_eq!((shelf.bytes(), shelf.idle.len()), (0, 0));
    }

    #[test]
    fn what_is_needed_once_more_is_not_freed() {
        let mut shelf = shelf(&[3 * STEP]);
        shelf.sweep();
        shelf.sweep();
        shelf.free_spare(STEP);
        let needed = shelf.take(2 * STEP, 0).unwrap();
        assert!(!shelf.has_spare());
        shelf.put(needed);
        assert_eq!(shelf.free_spare(STEP), 0);
        assert_eq!(shelf.bytes(), 2 * STEP);
    }

    #[test]
    fn sizes_that_take_turns_are_all_kept() {
        let mut shelf = shelf(&[20_000, 100_000_000]);
        for _ in 0..3 {
            sweep(&mut shelf);
            for len in [20_000, 100_000_000] {
                let bytes = shelf.take(len, 0).unwrap();
                shelf.put(bytes);
            }
        }
        assert_eq!(shelf.bytes(), 100_020_000);
    }

    fn take_all_at_once(shelf: &mut Shelf, len: usize, room: usize) -> Option<usize> {
        let taken = shelf.take_within(len, 0, room, usize::MAX).unwrap();
        taken.map(|bytes| bytes.capacity())
    }

    #[test]
    fn the_oldest_make_room() {
        let mut shelf = shelf(&[300, 100, 200, 400]);
        assert_eq!(take_all_at_once(&mut shelf, 300, 700), Some(300));
        assert_eq!(shelf.bytes(), 700, "there was room");
        assert_eq!(take_all_at_once(&mut shelf, 50, 600), Some(50));
        assert_eq!(shelf.bytes(), 600);
        assert_eq!(shelf.take_within(1000, 999, 450, usize::MAX), Ok(None));
        let kept = shelf.idle.iter().map(Vec::capacity).collect::<Vec<_>>();
        assert_eq!(kept, [50, 400], "no more than is in the way");
    }

    #[test]
    fn room_is_made_a_part_at_a_time() {
        let mut shelf = shelf(&[5 * STEP, 3 * STEP]);
        let mut steps = vec![shelf.bytes() / STEP];
        let taken = loop {
            match shelf.take_within(2 * STEP, 0, STEP, STEP) {
                Ok(taken) => break taken,
                Err(Crowded) => steps.push(shelf.bytes() / STEP),
            }
        };
        // The second is cut to what is wanted, the first to what there is room for.
        assert_eq!(steps, [8, 7, 6, 5, 4]);
        assert_eq!(taken.unwrap().capacity(), 2 * STEP);
        assert_eq!(shelf.bytes(), STEP);
    }

    #[test]
    fn what_is_too_short_to_be_taken_makes_room() {
        let mut shelf = shelf(&[100]);
        assert_eq!(shelf.take_within(150, 149, 0, STEP), Ok(None));
        assert_eq!(shelf.bytes(), 0);
    }
}
