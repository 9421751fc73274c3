//! What an error of `accept` means.
//!
//! | verdict | errors |
//! |---|---|
//! | skip: this connection has died | `ECONNABORTED`, `EPROTO`, `ENETDOWN`, `ENETUNREACH`, `EHOSTDOWN`, `EHOSTUNREACH`, `ENONET`, `ENOPROTOOPT`, `EOPNOTSUPP`, `EPERM` (a firewall) |
//! | back off: out of something that may be freed again | `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, `ENOSPC` (epoll's limit of watches) |
//! | fatal: the listener is of no use any more | anything else |
//!
//! The first row is what accept(2) says to treat like "try again": Linux passes
//! errors on that are pending on the new connection.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Skip,
    BackOff,
    Fatal,
}

impl Verdict {
    pub(super) fn of(error: &io::Error) -> Verdict {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if error.raw_os_error() == Some(libc::ENONET) {
            return Verdict::Skip;
        }
        match error.raw_os_error() {
            Some(
                libc::ECONNABORTED
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPERM
                | libc::EPROTO,
            ) => Verdict::Skip,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC) => {
                Verdict::BackOff
            }
            _ => Verdict::Fatal,
        }
    }
}

/// A time without something that accepting takes.
#[derive(Debug)]
pub(super) struct Shortage {
    pause: Cell<Duration>,
    last_report: Cell<Option<Instant>>,
}

impl Shortage {
    pub(super) fn new() -> Shortage {
        Shortage {
            pause: Cell::new(FIRST_PAUSE),
            last_report: Cell::new(None),
        }
    }

    /// How long to wait before the next attempt.
    pub(super) fn next_pause(&self) -> Duration {
        let pause = self.pause.get();
        self.pause.set((2 * pause).min(LONGEST_PAUSE));
        pause
    }

    /// Whether it is time to say so again.
    pub(super) fn is_to_be_reported(&self) -> bool {
        let now = Instant::now();
        let last = self.last_report.get();
        let due = last.is_none_or(|last| now.duration_since(last) >= BETWEEN_REPORTS);
        if due {
            self.last_report.set(Some(now));
        }
        due
    }

    /// Accepting works again.
    pub(super) fn is_over(&self) {
        self.pause.set(FIRST_PAUSE);
    }
}

/// Short, as descriptors may be on their way back already.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Long enough to cost nothing, short enough that nobody gives up waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_verdict() {
        for (errors, verdict) in [
            (
                &[
                    libc::ECONNABORTED,
                    libc::EHOSTDOWN,
                    libc::EHOSTUNREACH,
                    libc::ENETDOWN,
                    libc::ENETUNREACH,
                    libc::ENOPROTOOPT,
                    libc::EOPNOTSUPP,
                    libc::EPERM,
                    libc::EPROTO,
                    #[cfg(any(target_os = "linux", target_os = "android"))]
                    libc::ENONET,
                ][..],
                Verdict::Skip,
            ),
            (
                &[
                    libc::EMFILE,
                    libc::ENFILE,
                    libc::ENOBUFS,
                    libc::ENOMEM,
                    libc::ENOSPC,
                ],
                Verdict::BackOff,
            ),
            (
                &[libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT],
                Verdict::Fatal,
            ),
        ] {
            for &error in errors {
                let error = io::Error::from_raw_os_error(error);
                assert_eq!(Verdict::of(&error), verdict, "{error}");
            }
        }
        assert_eq!(Verdict::of(&io::Error::other("ours")), Verdict::Fatal);
    }

    #[test]
    fn pauses_grow_to_a_second_and_begin_again() {
        let shortage = Shortage::new();
        let pauses: Vec<_> = (0..9).map(|_| shortage.next_pause().as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        shortage.is_over();
        assert_eq!(shortage.next_pause(), FIRST_PAUSE);
    }

    #[test]
    fn a_shortage_is_reported_once() {
        let shortage = Shortage::new();
        assert!(shortage.is_to_be_reported());
        assert!(!shortage.is_to_be_reported());
    }
}
