//! Any text as the value of an option of `readinto-echo`: what the help names is
//! accepted, for what it says; nothing else overflows, wraps or panics.

#![no_main]

#[path = "../../echo/src/allow.rs"]
#[allow(dead_code, reason = "nobody asks whether the list is empty")]
mod allow;
#[path = "../../echo/src/cli.rs"]
#[allow(dead_code, reason = "not every option has a text of its own")]
mod cli;
#[path = "../../echo/src/limit.rs"]
#[allow(dead_code, reason = "nothing is limited here")]
mod limit;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use arbitrary::Arbitrary;
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use readinto::{Address, Prefix};

use allow::AllowList;
use cli::{BenchOptions, Cli, Command, ServeOptions};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    asked: Asked,
    text: &'a str,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Asked {
    Listen,
    Allow,
    Mode,
    Prefix,
    MaxFrame,
    MaxConnections,
    IdleTimeout,
    MemoryBudget,
    BusyPoll,
    FrameSize,
    Threads,
}

fuzz_target!(|input: Input<'_>| {
    let text = input.text;
    match input.asked {
        Asked::Listen => {
            let parsed = serve("listen", text).map(|options| options.listen);
            assert_eq!(parsed, text.parse::<Address>().ok().map(|it| vec![it]));
        }
        Asked::Allow => check_allow(text, serve("allow", text).map(|options| options.allow)),
        Asked::Mode => {
            let parsed = serve("mode", text).map(|options| options.mode.bits());
            assert_eq!(parsed, mode(text), "{text:?}");
        }
        Asked::Prefix => {
            let parsed = serve("prefix", text).map(|options| options.prefix);
            assert_eq!(parsed, text.parse::<Prefix>().ok());
        }
        Asked::MaxFrame => {
            check_size(
                text,
                serve("max-frame", text).map(|options| options.max_frame),
            );
        }
        Asked::MaxConnections => {
            let parsed = serve("max-connections", text).map(|options| options.max_connections);
            assert_eq!(parsed, count(text, u32::MAX), "{text:?}");
        }
        Asked::Threads => {
            let parsed = serve("threads", text).map(|options| options.threads);
            assert_eq!(parsed, count(text, 1024), "{text:?}");
        }
        Asked::IdleTimeout => {
            let limit = serve("idle-timeout", text).map(|options| options.idle_timeout);
            let parsed = limit.map(|limit| limit.duration().unwrap_or_default());
            if let Some(limit) = limit {
                let shown = limit.to_string();
                assert_eq!(shown.parse(), Ok(limit), "{shown:?}");
                assert_eq!(limit.duration().is_none(), text == "none", "{text:?}");
            }
            check_time(text, parsed, Duration::from_nanos(1));
        }
        Asked::MemoryBudget => {
            let parsed = serve("memory-budget", text).and_then(|options| options.memory_budget);
            if parsed.is_some() || size(text).is_none_or(|size| size.bytes >= LEAST_BUDGET) {
                check_size(text, parsed);
            }
            assert!(parsed.is_none_or(|bytes| bytes as u128 >= LEAST_BUDGET));
        }
        Asked::BusyPoll => {
            let parsed = serve("busy-poll", text).map(|options| options.busy_poll);
            check_time(text, parsed, Duration::ZERO);
        }
        Asked::FrameSize => {
            let parsed = bench("frame-size", text).map(|options| options.frame_size);
            // The default prefix holds so much.
            if parsed.is_some() || size(text).is_none_or(|size| size.bytes <= u32::MAX.into()) {
                check_size(text, parsed);
            }
            assert!(parsed.is_none_or(|bytes| bytes <= u32::MAX as usize));
        }
    }
});

fn serve(option: &str, text: &str) -> Option<ServeOptions> {
    match parse("serve", option, text)? {
        Command::Serve(options) => Some(options),
        Command::Bench(_) => panic!("not what was asked for"),
    }
}

fn bench(option: &str, text: &str) -> Option<BenchOptions> {
    match parse("bench", option, text)? {
        Command::Bench(options) => Some(options),
        Command::Serve(_) => panic!("not what was asked for"),
    }
}

fn parse(command: &str, option: &str, text: &str) -> Option<Command> {
    let option = format!("--{option}={text}");
    let arguments = ["readinto-echo", command, &option];
    Cli::checked(arguments).ok().map(|cli| cli.command)
}

fn count(text: &str, most: u32) -> Option<u32> {
    let parsed = text.parse().ok()?;
    (1..=most).contains(&parsed).then_some(parsed)
}

/// A number of bytes, as the help writes it or nearly so.
struct Size {
    bytes: u128,
    /// Digits and a unit, and nothing else.
    is_plain: bool,
}

fn check_size(text: &str, parsed: Option<usize>) {
    assert!(parsed.is_none_or(|bytes| bytes <= isize::MAX as usize));
    match (size(text), parsed) {
        (Some(size), Some(bytes)) => assert_eq!(bytes as u128, size.bytes, "{text:?}"),
        (Some(size), None) => assert!(
            !size.is_plain || size.bytes > isize::MAX as u128,
            "{text:?} is refused"
        ),
        (None, Some(bytes)) => {
            // A fraction or an exponent.
            if let Some(about) = rough_size(text) {
                let error = (bytes as f64 - about).abs();
                assert!(error <= 1.0 + about * 1e-12, "{text:?} is {bytes}");
            }
        }
        (None, None) => {}
    }
}

fn size(text: &str) -> Option<Size> {
    let (number, factor) = without_unit(text);
    let digits: String = number.chars().filter(|c| !" _".contains(*c)).collect();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let mut bytes = 0_u128;
    for digit in digits.bytes().filter(|_| is_number) {
        let digit = (digit - b'0').into();
        bytes = bytes.saturating_mul(10).saturating_add(digit);
    }
    is_number.then(|| Size {
        bytes: bytes.saturating_mul(factor),
        is_plain: digits.len() == number.len() && digits.len() < 20,
    })
}

fn rough_size(text: &str) -> Option<f64> {
    let (number, factor) = without_unit(text);
    let digits: String = number.chars().filter(|c| !" _".contains(*c)).collect();
    Some(digits.parse::<f64>().ok()? * factor as f64)
}

/// The text before the unit, and how many bytes that is.
fn without_unit(text: &str) -> (&str, u128) {
    let rest = text.strip_suffix(['b', 'B']).unwrap_or(text);
    let (rest, base) = match rest.strip_suffix(['i', 'I']) {
        Some(rest) => (rest, 1024_u128),
        None => (rest, 1000),
    };
    for (power, letter) in (1..).zip(["kK", "mM", "gG", "tT", "pP", "eE"]) {
        if let Some(number) = rest.strip_suffix(|c| letter.contains(c)) {
            return (number, base.pow(power));
        }
    }
    (rest, 1)
}

/// `least` is the shortest time that is one.
fn check_time(text: &str, parsed: Option<Duration>, least: Duration) {
    let none = (text == "none").then_some(0);
    match (none.or_else(|| nanoseconds(text)), parsed) {
        (Some(expected), Some(time)) => assert_eq!(time.as_nanos(), expected, "{text:?}"),
        (Some(expected), None) => assert!(
            expected < least.as_nanos() || expected > CENTURY,
            "{text:?} is refused"
        ),
        (None, _) => {}
    }
}

/// The sum of numbers with units, as in `1m30s`.
fn nanoseconds(text: &str) -> Option<u128> {
    let mut sum = 0_u128;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(is_digit).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.len() - behind.trim_start_matches(|c| !is_digit(c)).len();
        let (unit, behind) = behind.split_at(letters);
        let unit = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        sum += u128::from(number) * unit;
        rest = behind;
    }
    (!text.is_empty()).then_some(sum)
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Octal digits for what owner, group and others may do.
fn mode(text: &str) -> Option<u32> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let digits = text.trim_start_matches('0');
    if !is_octal || digits.len() > 3 {
        return None;
    }
    Some(
        digits
            .bytes()
            .fold(0, |mode, digit| mode * 8 + u32::from(digit - b'0')),
    )
}

fn check_allow(text: &str, parsed: Option<Vec<IpNet>>) {
    let Some((ip, len)) = network(text) else {
        return assert_eq!(parsed, None, "{text:?}");
    };
    let parsed = parsed.unwrap_or_else(|| panic!("{text:?} is refused"));
    let list = AllowList::new(&parsed);
    // Its first address, and those that differ in one bit.
    let (first, width) = match ip {
        IpAddr::V4(_) => (96, 32),
        IpAddr::V6(_) => (0, 128),
    };
    assert!(list.admits(&peer(ip)), "{text:?} and {ip}");
    for bit in 0..width {
        let flipped = Ipv6Addr::from_bits(bits(ip) ^ (1 << (127 - first - bit)));
        let other = match ip {
            IpAddr::V4(_) => flipped.to_canonical(),
            IpAddr::V6(_) => flipped.into(),
        };
        // An IPv4 peer is in the networks of IPv4 only.
        if ip.to_canonical().is_ipv4() == other.to_canonical().is_ipv4() {
            assert_eq!(
                list.admits(&peer(other)),
                bit >= len,
                "{text:?} and {other}"
            );
        }
    }
}

fn peer(ip: IpAddr) -> Address {
    std::net::SocketAddr::new(ip, 1).into()
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first address of a network, and how many bits all of them have in common.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        Some(len) if len.bytes().all(|byte| byte.is_ascii_digit()) => len.parse().ok()?,
        Some(_) => return None,
        None => most,
    };
    if len > most {
        return None;
    }
    let len = 128 - most + len;
    let first = bits(ip) & !u128::MAX.checked_shr(len).unwrap_or(0);
    Some(match Ipv6Addr::from_bits(first).to_canonical() {
        // An IPv6 network may have nothing but IPv4 in it.
        IpAddr::V4(v4) => (v4.into(), len - 96),
        v6 => (v6, len),
    })
}

const SECOND: u128 = 1_000_000_000;

/// Whatever is shorter than this must be accepted, in nanoseconds.
const CENTURY: u128 = 100 * 365 * 24 * 3600 * SECOND;

/// In bytes.
const LEAST_BUDGET: u128 = 128 * 1024;
