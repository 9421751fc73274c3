//! Deadlines: armed and disarmed around every frame, and seldom fired.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use readinto::{Reactor, Sleep};

criterion_group!(all, arm_and_cancel, fire);

/// How many others are armed meanwhile.
const OTHERS: [u64; 2] = [10, 100_000];

fn arm_and_cancel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer/arm and cancel");
    for others in OTHERS {
        let reactor = Reactor::new().expect("a reactor");
        let armed = arm(&reactor, others);
        group.bench_function(format!("{others} armed"), |bencher| {
            bencher.iter(|| {
                let mut sleep = pin!(reactor.handle().sleep(Duration::from_secs(1800)));
                poll(sleep.as_mut());
            });
        });
        drop(black_box(armed));
    }
    group.finish();
}

/// A thousand that are due, while the others are not.
fn fire(criterion: &mut Criterion) {
    const DUE: u64 = 1000;
    let mut group = criterion.benchmark_group("timer/arm and fire");
    group.throughput(Throughput::Elements(DUE));
    for others in OTHERS {
        let mut reactor = Reactor::new().expect("a reactor");
        let armed = arm(&reactor, others);
        group.bench_function(format!("{others} armed"), |bencher| {
            bencher.iter(|| {
                let due: Vec<_> = (0..DUE)
                    .map(|_| {
                        let mut sleep = Box::pin(reactor.handle().sleep(Duration::ZERO));
                        poll(sleep.as_mut());
                        sleep
                    })
                    .collect();
                reactor.turn(Some(Duration::ZERO)).expect("a turn");
                drop(due);
            });
        });
        drop(black_box(armed));
    }
    group.finish();
}

fn arm(reactor: &Reactor, count: u64) -> Vec<Pin<Box<Sleep>>> {
    (0..count)
        .map(|number| {
            let span = Duration::from_millis(3_600_000 + number * 7919 % 10_007);
            let mut sleep = Box::pin(reactor.handle().sleep(span));
            poll(sleep.as_mut());
            sleep
        })
        .collect()
}

fn poll(sleep: Pin<&mut Sleep>) {
    let pending = sleep.poll(&mut Context::from_waker(Waker::noop()));
    assert!(pending.is_pending());
}
