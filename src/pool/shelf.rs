//! Buffers that nobody uses just now.

use std::cmp::Reverse;

/// Vectors that came back, the last one on top.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    idle: Vec<Idle>,
    bytes: usize,
    /// How many of them are to be freed.
    spare: usize,
}

#[derive(Debug)]
struct Idle {
    bytes: Vec<u8>,
    age: Age,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It has come since the last sweep.
    New,
    /// Since the one before.
    Old,
    /// Earlier: it is to be freed.
    Spare,
}

impl Shelf {
    /// How many bytes lie here.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of those above `least` bytes, the one closest to `len` that would be at least half
    /// full; rather one that holds them than one that has to grow.
    pub(super) fn take(&mut self, len: usize, least: usize) -> Option<Vec<u8>> {
        let sizes = self.idle.iter().map(|idle| idle.bytes.capacity());
        let (index, _) = sizes
            .enumerate()
            .filter(|&(_, size)| size > least && size / 2 <= len)
            .max_by_key(|&(_, size)| (size >= len, Reverse(size.abs_diff(len))))?;
        Some(self.remove(index))
    }

    pub(super) fn put(&mut self, bytes: Vec<u8>) {
        self.bytes += bytes.capacity();
        self.idle.push(Idle {
            bytes,
            age: Age::New,
        });
    }

    /// Frees the one that has lain here longest, if there is any.
    pub(super) fn free_one(&mut self) -> bool {
        let any = !self.idle.is_empty();
        if any {
            drop(self.remove(0));
        }
        any
    }

    /// Has what has lain here since the last sweep freed, a part at a time.
    pub(super) fn sweep(&mut self) {
        for idle in &mut self.idle {
            idle.age = match idle.age {
                Age::New => Age::Old,
                Age::Old | Age::Spare => Age::Spare,
            };
        }
        let spare = self.idle.iter().filter(|idle| idle.age == Age::Spare);
        self.spare = spare.count();
    }

    /// Whether something of that is left.
    pub(super) fn has_spare(&self) -> bool {
        self.spare > 0
    }

    /// Frees a part of that: of a gigabyte, it takes the system 70 ms to take it back.
    pub(super) fn free_spare(&mut self) {
        let mut left = STEP;
        while self.has_spare() && left > 0 {
            let is_spare = |idle: &Idle| idle.age == Age::Spare;
            let Some(index) = self.idle.iter().rposition(is_spare) else {
                return;
            };
            let size = self.idle[index].bytes.capacity();
            if size > left {
                let bytes = &mut self.idle[index].bytes;
                bytes.truncate(size - left);
                bytes.shrink_to(size - left);
                self.bytes -= size - bytes.capacity();
                return;
            }
            left -= size;
            drop(self.remove(index));
        }
    }

    fn remove(&mut self, index: usize) -> Vec<u8> {
        let idle = self.idle.remove(index);
        self.bytes -= idle.bytes.capacity();
        self.spare -= usize::from(idle.age == Age::Spare);
        idle.bytes
    }
}

/// How much is freed at once, in bytes: about 150 µs.
const STEP: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(shelf: &mut Shelf) {
        shelf.sweep();
        while shelf.has_spare() {
            shelf.free_spare();
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
    fn no_more_is_freed_at_once_than_takes_no_time() {
        let sizes = [5 * STEP / 2, STEP / 2, STEP / 4];
        let mut shelf = shelf(&sizes);
        shelf.sweep();
        shelf.sweep();
        let mut left = sizes.iter().sum::<usize>();
        while shelf.has_spare() {
            shelf.free_spare();
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
        shelf.free_spare();
        let needed = shelf.take(2 * STEP, 0).unwrap();
        assert!(!shelf.has_spare());
        shelf.put(needed);
        shelf.free_spare();
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

    #[test]
    fn what_is_freed_for_others_is_the_oldest() {
        let mut shelf = shelf(&[10, 20]);
        assert!(shelf.free_one());
        assert_eq!(shelf.bytes(), 20);
        assert!(shelf.free_one());
        assert!(!shelf.free_one());
    }
}
