//! What the parts cost on their own: `cargo bench --bench micro`.
//!
//! Each guards something that a whole workload would hide; `docs/benchmarks.md`
//! says what. Compare a figure with that of the commit before, on one machine.

mod frames;
mod tasks;
mod timers;

criterion::criterion_main!(tasks::all, timers::all, frames::all);
