//! Frames from one end of a connection to the other, both on one thread.

use criterion::{Criterion, Throughput, criterion_group};
use readinto::{FrameReader, FrameWriter, Handle, Listener, Prefix, Reactor, Stream};

criterion_group!(all, prefixes, in_place, through_the_pool);

const SIZES: [usize; 7] = [
    64,
    1_000,
    16_000,
    64_000,
    1_000_000,
    20_000_000,
    100_000_000,
];

/// Frames of no bytes in bursts: what a prefix costs at both ends.
fn prefixes(criterion: &mut Criterion) {
    const BURST: u64 = 1000;
    let mut group = criterion.benchmark_group("frame/prefix only");
    group.throughput(Throughput::Elements(BURST));
    for &prefix in Prefix::ALL {
        let (mut reactor, mut ends) = Ends::connected(prefix);
        group.bench_function(prefix.to_string(), |bencher| {
            bencher.iter(|| {
                let Ends { writer, reader } = &mut ends;
                let moved = reactor.block_on(async {
                    for _ in 0..BURST {
                        writer.feed(b"").await?;
                    }
                    writer.flush().await?;
                    for _ in 0..BURST {
                        reader.next().await?;
                    }
                    Ok::<(), readinto::FrameError>(())
                });
                moved.expect("a turn").expect("frames");
            });
        });
    }
    group.finish();
}

/// Into the caller's buffer.
fn in_place(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/in place");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.sample_size(samples(size));
        let (mut reactor, mut ends) = Ends::connected(Prefix::U32Be);
        let (payload, mut buffer) = (vec![7; size], vec![0; size]);
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| {
                let Ends { writer, reader } = &mut ends;
                let moved = reactor.block_on(async {
                    let writing = writer.write(&payload);
                    let reading = async {
                        reader.next_len().await?;
                        reader.read_payload_into(&mut buffer).await
                    };
                    futures_util::future::try_join(writing, reading).await
                });
                moved.expect("a turn").expect("a frame");
            });
        });
    }
    group.finish();
}

/// Into memory that the reactor lends.
fn through_the_pool(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/through the pool");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.sample_size(samples(size));
        let (mut reactor, mut ends) = Ends::connected(Prefix::U32Be);
        let payload = vec![7; size];
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| {
                let Ends { writer, reader } = &mut ends;
                let moved = reactor.block_on(async {
                    let writing = writer.write(&payload);
                    let reading = async { reader.next().await.map(|frame| frame.map(<[u8]>::len)) };
                    futures_util::future::try_join(writing, reading).await
                });
                let ((), len) = moved.expect("a turn").expect("a frame");
                assert_eq!(len, Some(size));
            });
        });
    }
    group.finish();
}

/// Both ends of a connection.
struct Ends {
    writer: FrameWriter,
    reader: FrameReader,
}

impl Ends {
    fn connected(prefix: Prefix) -> (Reactor, Ends) {
        let mut reactor = Reactor::new().expect("a reactor");
        let handle = reactor.handle();
        let (here, there) = reactor.block_on(connect(&handle)).expect("a turn");
        let ends = Ends {
            writer: FrameWriter::new(here.split().1, prefix),
            reader: FrameReader::new(there.split().0, prefix, 100_000_000),
        };
        (reactor, ends)
    }
}

async fn connect(handle: &Handle) -> (Stream, Stream) {
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(handle, &address).expect("a free port");
    let here = Stream::connect(handle, &listener.local_address()).await;
    let there = listener.accept().await;
    (here.expect("a connection"), there.expect("a connection"))
}

fn samples(size: usize) -> usize {
    match size {
        0..=1_000_000 => 100,
        _ => 10,
    }
}
