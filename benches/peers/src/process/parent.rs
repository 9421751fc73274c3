//! The end of who started us.

use nix::sys::prctl;
use nix::sys::signal::Signal;

/// From now on this process is killed as soon as the thread that has started it has ended,
/// even if that was killed with its process and could drop nothing.
pub(crate) fn end_with_the_parent() {
    // It can't fail for a signal that exists.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}
