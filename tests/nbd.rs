//! The example `nbd` keeps to the protocol's specification, whatever a client does
//! to it; and no client is in another's way.

mod support;

use std::io::Read;
use std::net::Shutdown;

use nix::sys::signal::Signal;

use support::nbd::{
    DISC, EINVAL, ENOSPC, FLUSH, OK, READ, Server, TRIM, WRITE, WRITE_ZEROES, request,
};
use support::{assert_same, pattern};
use tempfile::TempDir;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const FUA: u16 = 1;
const NO_HOLE: u16 = 2;

/// Runs `test` against a disk in memory, and against a file.
fn on_each_disk(size: u64, test: impl Fn(&Server)) {
    let memory = Server::start(&["--size", &size.to_string()]);
    test(&memory);
    assert_eq!(memory.stop(), [""; 0]);

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    let file = Server::start(&["--file", path.to_str().unwrap()]);
    test(&file);
    assert_eq!(file.stop(), [""; 0]);
}

#[test]
fn what_is_read_is_what_was_written_last() {
    let size = MIB + 300;
    on_each_disk(size, |server| {
        let mut client = server.client();
        let mut model = vec![0; size as usize];
        let mut random = fastrand::Rng::with_seed(1);
        for step in 0..300 {
            let len = match random.u8(..3) {
                0 => random.usize(1..600),
                1 => random.usize(1..200_000),
                _ => 65_536 * random.usize(1..4),
            };
            let mut start = random.usize(..=model.len() - len);
            if random.bool() {
                start -= start % 65_536;
            }
            let offset = start as u64;
            let within = start..start + len;
            match random.u8(..5) {
                0 | 1 => {
                    let data = pattern(step, len);
                    assert_eq!(client.write(offset, &data), OK);
                    model[within].copy_from_slice(&data);
                }
                2 => {
                    let flags = random.u16(..4);
                    assert_eq!(client.ask(flags, WRITE_ZEROES, offset, len as u32), OK);
                    model[within].fill(0);
                }
                _ => assert_same(&client.read(offset, len), &model[within]),
            }
        }
        assert_same(&client.read(0, model.len()), &model);
    });
}

#[test]
fn a_trim_leaves_all_else_as_it_was() {
    on_each_disk(MIB, |server| {
        let mut client = server.client();
        let data = pattern(1, MIB as usize);
        assert_eq!(client.write(0, &data), OK);
        assert_eq!(client.ask(FUA, TRIM, 1000, 500_000), OK);
        assert_same(&client.read(0, 1000), &data[..1000]);
        assert_same(&client.read(501_000, 500_000), &data[501_000..1_001_000]);
    });
}

#[test]
fn what_cannot_be_done_is_refused_and_the_connection_goes_on() {
    on_each_disk(MIB, |server| {
        let mut client = server.client();
        let far = [(MIB, 1), (MIB - 1, 2), (u64::MAX, 1), (u64::MAX - 4, 5)];
        for (offset, len) in far {
            assert_eq!(client.ask(0, READ, offset, len), EINVAL);
            assert_eq!(client.ask(0, TRIM, offset, len), EINVAL);
            assert_eq!(client.ask(0, WRITE_ZEROES, offset, len), ENOSPC);
            assert_eq!(client.write(offset, &vec![1; len as usize]), ENOSPC);
        }
        for len in [33 * MIB as u32, u32::MAX] {
            assert_eq!(client.ask(0, READ, 0, len), EINVAL);
            assert_eq!(client.ask(0, WRITE_ZEROES, 0, len), ENOSPC);
            assert_eq!(client.ask(0, TRIM, 0, len), EINVAL);
        }
        assert_eq!(client.write(0, &vec![1; 32 * MIB as usize + 1]), EINVAL);
        for command in [READ, WRITE, TRIM, WRITE_ZEROES] {
            assert_eq!(client.ask(0, command, 0, 0), EINVAL, "no bytes at all");
        }
        // 5 and 7 exist, and were not offered.
        for command in [5, 7, 8, u16::MAX] {
            assert_eq!(client.ask(0, command, 0, 512), EINVAL);
        }
        assert_eq!(client.ask(NO_HOLE, READ, 0, 512), EINVAL);
        assert_eq!(client.ask(1 << 4, WRITE_ZEROES, 0, 512), EINVAL);
        client.send(&request(1 << 15, WRITE, 9, 0, 512));
        client.send(&[1; 512]);
        assert_eq!(client.reply(9), EINVAL, "a flag that nobody knows");

        assert_eq!(client.ask(FUA, FLUSH, 0, 0), OK);
        assert_eq!(client.read(0, MIB as usize), vec![0; MIB as usize]);
        client.send(&request(0, DISC, 0, 0, 0));
        assert!(client.is_closed());
    });
}

#[test]
fn a_client_that_announces_much_and_leaves_is_forgotten() {
    let server = Server::start(&["--size", "1MiB"]);
    for (announced, sent) in [(u32::MAX, 100), (MIB as u32, 1000), (4096, 4095)] {
        let mut client = server.client();
        client.send(&request(0, WRITE, 1, 0, announced));
        client.send(&vec![1; sent]);
        client.0.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_closed());
        let complaint = server.complaint();
        assert!(complaint.contains("ended after"), "{complaint}");
    }
    let zeroes = vec![0; MIB as usize];
    assert_same(&server.client().read(0, zeroes.len()), &zeroes);
    assert_eq!(server.stop(), [""; 0]);
}

#[test]
fn a_client_that_stalls_in_a_write_is_in_nobodys_way() {
    on_each_disk(MIB, |server| {
        let data = pattern(1, MIB as usize);
        let mut stalled = server.client();
        stalled.send(&request(0, WRITE, 1, 0, MIB as u32));
        stalled.send(&data[..100_000]);

        // The very same part of the disk.
        let mut client = server.client();
        let others = pattern(2, 4096);
        assert_eq!(client.write(90_000, &others), OK);
        assert_same(&client.read(90_000, 4096), &others);

        stalled.send(&data[100_000..]);
        assert_eq!(stalled.reply(1), OK);
        assert_same(&client.read(0, data.len()), &data);
    });
}

#[test]
fn a_client_that_does_not_take_its_reply_is_in_nobodys_way() {
    let size = 32 * MIB;
    on_each_disk(size, |server| {
        let mut stalled = server.client();
        stalled.send(&request(0, READ, 1, 0, size as u32));
        let mut client = server.client();
        let data = pattern(1, 300_000);
        assert_eq!(client.write(size - 300_000, &data), OK);
        assert_same(&client.read(size - 300_000, 300_000), &data);
        assert_eq!(stalled.reply(1), OK);
        let mut rest = vec![1; size as usize];
        stalled.0.read_exact(&mut rest).unwrap();
        let untouched = size as usize - 300_000;
        assert_same(&rest[..untouched], &vec![0; untouched]);
    });
}

#[test]
fn a_read_of_memory_is_of_one_moment() {
    let server = Server::start(&["--size", "32MiB"]);
    let mut writer = server.client();
    let before = pattern(1, 32 << 20);
    assert_eq!(writer.write(0, &before), OK);

    let mut reader = server.client();
    reader.send(&request(0, READ, 1, 0, 32 << 20));
    assert_eq!(reader.reply(1), OK);
    // Most of it is yet to be sent, as no socket holds that much.
    assert_eq!(writer.write(100, &pattern(2, 32 << 20)[100..]), OK);
    assert_eq!(writer.ask(0, TRIM, 0, 1 << 20), OK);
    let mut read = vec![0; 32 << 20];
    reader.0.read_exact(&mut read).unwrap();
    assert_same(&read, &before);
}

#[test]
fn a_burst_is_answered_in_order() {
    on_each_disk(MIB, |server| {
        let mut client = server.client();
        let mut burst = Vec::new();
        for cookie in 0..256 {
            let offset = 4096 * (cookie / 2);
            match cookie % 2 {
                0 => {
                    burst.extend(request(0, WRITE, cookie, offset, 4096));
                    burst.extend(pattern(cookie, 4096));
                }
                _ => burst.extend(request(0, READ, cookie, offset, 4096)),
            }
        }
        client.send(&burst);
        for cookie in 0..256 {
            assert_eq!(client.reply(cookie), OK);
            if cookie % 2 == 1 {
                assert_same(&client.receive::<4096>(), &pattern(cookie - 1, 4096));
            }
        }
    });
}

#[test]
fn a_reply_does_not_wait_for_the_next_request() {
    on_each_disk(MIB, |server| {
        let mut client = server.client();
        let next = request(0, WRITE, 2, 0, 4096);
        for cut in [1, 27, 28] {
            client.send(&request(0, READ, 1, 0, 512));
            client.send(&next[..cut]);
            assert_eq!(client.reply(1), OK);
            assert_eq!(client.receive::<512>(), [0; 512]);
            client.send(&next[cut..]);
            client.send(&[0; 4096]);
            assert_eq!(client.reply(2), OK);
        }
    });
}

#[test]
fn zeroes_have_no_payload_and_so_no_limit_but_the_disk() {
    on_each_disk(66 * MIB, |server| {
        let mut client = server.client();
        for offset in [0, 33 * MIB, 66 * MIB - 4096] {
            assert_eq!(client.write(offset, &[7; 4096]), OK);
        }
        let len = 66 * MIB as u32 - 1;
        assert_eq!(client.ask(FUA, WRITE_ZEROES, 0, len), OK);
        assert_eq!(client.read(0, 4096), [0; 4096]);
        assert_eq!(client.read(33 * MIB, 4096), [0; 4096]);
        let end = client.read(66 * MIB - 4096, 4096);
        assert_same(&end[..4095], &[0; 4095]);
        assert_eq!(end[4095], 7);
    });
}

#[test]
fn a_disk_in_memory_costs_what_was_written() {
    let server = Server::start(&["--size", "1PiB"]);
    let mut client = server.client();
    let before = server.resident_bytes();
    let end = (1 << 50) - 1000;
    assert_eq!(client.read(end, 1000), [0; 1000]);
    assert_eq!(client.write(end, &[5; 1000]), OK);
    assert_eq!(client.read(end, 1000), [5; 1000]);
    assert_eq!(client.ask(0, WRITE_ZEROES, 0, 32 << 20), OK);
    assert_eq!(client.ask(0, TRIM, 1, u32::MAX), OK);
    let more = server.resident_bytes().saturating_sub(before);
    assert!(more < 2 * MIB, "{} KiB more", more / KIB);

    // What was trimmed is used again.
    for start in [0, 64 * MIB, 128 * MIB] {
        for megabyte in 0..64 {
            let offset = start + megabyte * MIB;
            assert_eq!(client.write(offset, &[1; MIB as usize]), OK);
        }
        assert_eq!(client.ask(0, TRIM, start, 64 * MIB as u32), OK);
    }
    let more = server.resident_bytes().saturating_sub(before);
    assert!(more < 80 * MIB, "{} KiB more", more / KIB);
}

#[test]
fn a_file_holds_what_was_flushed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, pattern(1, 100_000)).unwrap();
    let server = Server::start(&["--file", path.to_str().unwrap()]);
    let mut client = server.client();
    assert_same(&client.read(0, 100_000), &pattern(1, 100_000));
    assert_eq!(client.write(0, &pattern(2, 100_000)), OK);
    assert_eq!(client.ask(0, FLUSH, 0, 0), OK);
    assert_same(&std::fs::read(&path).unwrap(), &pattern(2, 100_000));

    // Nobody can read what is not there any more; the connection lives.
    std::fs::File::create(&path).unwrap();
    assert_eq!(client.ask(0, READ, 0, 512), 5);
    let complaint = server.complaint();
    assert!(complaint.starts_with("the file: "), "{complaint}");
    assert_eq!(client.ask(0, FLUSH, 0, 0), OK);
}

#[test]
fn a_flush_reaches_the_file_and_its_failure_the_client() {
    // It cannot be flushed, and it is empty.
    let server = Server::start(&["--file", "/dev/null"]);
    let mut client = server.client();
    assert_eq!(client.ask(0, FLUSH, 0, 0), 5);
    assert!(server.complaint().starts_with("the file: "));
    drop(client);
    server.signal(Signal::SIGTERM);
    let (code, complaints) = server.finish();
    assert_eq!(code, Some(1));
    assert!(
        complaints.join("\n").contains("not flushed"),
        "{complaints:?}"
    );
}
