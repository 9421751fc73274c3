//! Any text is an address or is none, by a plain reading of the rule; what is one
//! survives its own text, as does every address that a socket can have.

#![no_main]

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use readinto::{Address, Prefix};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Text(&'a str),
    V4([u8; 4], u16),
    V6([u8; 16], u16, u32),
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Text(text) => {
        assert_eq!(text.parse().ok(), address(text), "{text:?}");
        assert_eq!(text.parse().ok(), prefix(text), "{text:?}");
        if let Ok(address) = text.parse::<Address>() {
            let shown = address.to_string();
            assert_eq!(shown.parse(), Ok(address), "{shown:?}");
        }
    }
    Input::V4(ip, port) => survives(SocketAddrV4::new(ip.into(), port).into()),
    Input::V6(ip, port, scope) => survives(SocketAddrV6::new(ip.into(), port, 0, scope).into()),
});

/// What a socket says of itself has the text that everybody gives it.
fn survives(socket: SocketAddr) {
    let address = Address::from(socket);
    let shown = address.to_string();
    assert_eq!(shown, socket.to_string());
    assert_eq!(shown.parse(), Ok(address), "{shown:?}");
}

/// `unix:` and a path that the kernel can hold, or a host, a colon and a port.
fn address(text: &str) -> Option<Address> {
    if let Some(path) = text.strip_prefix("unix:") {
        let is_path = (1..=107).contains(&path.len()) && !path.contains('\0');
        // That is the text of a peer that has none.
        return (is_path && path != "(unnamed)").then(|| Address::Unix(path.into()));
    }
    let colon = text.rfind(':')?;
    let host = host(&text[..colon])?.to_owned();
    let port = port(&text[colon + 1..])?;
    Some(Address::Tcp { host, port })
}

/// An IPv6 address in brackets, or any other host without.
fn host(text: &str) -> Option<&str> {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|text| is_v6(text)),
        None => {
            let is_foreign = |c: char| c == ':' || c.is_whitespace();
            (!text.is_empty() && !text.contains(is_foreign)).then_some(text)
        }
    }
}

/// With a scope, if it has one.
fn is_v6(text: &str) -> bool {
    let (ip, scope) = text.split_once('%').unwrap_or((text, "0"));
    ip.parse::<Ipv6Addr>().is_ok() && number(scope).is_some_and(|scope| scope <= u32::MAX.into())
}

fn port(text: &str) -> Option<u16> {
    number(text)?.try_into().ok()
}

/// Digits, and nothing else.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = text.trim_start_matches('0');
    match digits {
        _ if !is_number => None,
        "" => Some(0),
        _ => digits.parse().ok(),
    }
}

fn prefix(text: &str) -> Option<Prefix> {
    Some(match text {
        "u16be" => Prefix::U16Be,
        "u16le" => Prefix::U16Le,
        "u32be" => Prefix::U32Be,
        "u32le" => Prefix::U32Le,
        "u64be" => Prefix::U64Be,
        "u64le" => Prefix::U64Le,
        _ => return None,
    })
}
