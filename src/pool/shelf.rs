//! Buffers that nobody uses just now.

use std::cmp::Reverse;

/// Vectors that came back, the last one on top.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    idle: Vec<Idle>,
    bytes: usize,
}

#[derive(Debug)]
struct Idle {
    bytes: Vec<u8>,
    /// It has come since the last sweep.
    is_new: bool,
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
            is_new: true,
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

    /// Frees what has lain here since the last sweep.
    pub(super) fn sweep(&mut self) {
        self.idle.retain(|idle| idle.is_new);
        self.bytes = self.idle.iter().map(|idle| idle.bytes.capacity()).sum();
        for idle in &mut self.idle {
            idle.is_new = false;
        }
    }

    fn remove(&mut self, index: usize) -> Vec<u8> {
        let idle = self.idle.remove(index);
        self.bytes -= idle.bytes.capacity();
        idle.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        shelf.sweep();
        assert_eq!(shelf.bytes(), 600, "they have only just come");
        let needed = shelf.take(200, 0).unwrap();
        shelf.put(needed);
        shelf.sweep();
        assert_eq!(shelf.bytes(), 200);
        shelf.sweep();
        assert_eq!(shelf.bytes(), 0);
    }

    #[test]
    fn sizes_that_take_turns_are_all_kept() {
        let mut shelf = shelf(&[20_000, 100_000_000]);
        for _ in 0..3 {
            shelf.sweep();
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
