//! Who may connect.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use readinto::Address;

/// The networks that connections are accepted from; all, if none is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowList(Vec<IpNet>);

impl AllowList {
    pub(crate) fn new(networks: &[IpNet]) -> AllowList {
        AllowList(networks.to_vec())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `peer` is in one of them. A peer on a Unix socket always is: the
    /// mode of its file has decided that.
    pub(crate) fn admits(&self, peer: &Address) -> bool {
        if self.0.is_empty() {
            return true;
        }
        match peer {
            Address::Tcp { host, .. } => ip_of(host).is_some_and(|ip| self.contains(ip)),
            Address::Unix(_) => true,
            _ => false,
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

/// The address of a host, as IPv4 where an IPv6 socket only wraps it.
pub(crate) fn ip_of(host: &str) -> Option<IpAddr> {
    // A link-local one comes with its scope.
    let ip = host.split('%').next().unwrap_or(host);
    ip.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// A network as 10.0.0.0/8, or a single address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let parsed = match text.split_once('/') {
        Some((ip, len)) => ip.parse().ok().zip(prefix_len(len)),
        None => text.parse().ok().map(|ip| (ip, width(ip))),
    };
    // The standard parser of addresses takes no octet for octal.
    parsed
        .and_then(|(ip, len)| IpNet::new(ip, len).ok())
        .map(|network| to_canonical(network.trunc()))
        .ok_or_else(|| "expected a network as in 10.0.0.0/8 or fe80::/10, or an address".into())
}

fn prefix_len(text: &str) -> Option<u8> {
    // Rust parses `+8` as a number.
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn width(ip: IpAddr) -> u8 {
    IpNet::from(ip).max_prefix_len()
}

/// As IPv4 where all of it only wraps that, since so are its peers.
fn to_canonical(network: IpNet) -> IpNet {
    let wrapped = match network {
        IpNet::V4(_) => None,
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96)),
    };
    match wrapped {
        Some((ip, len)) => Ipv4Net::new_assert(ip, len).into(),
        None => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(networks: &[&str], peer: &str) -> bool {
        let networks: Vec<_> = networks.iter().map(|text| network(text).unwrap()).collect();
        AllowList::new(&networks).admits(&peer.parse().unwrap())
    }

    #[test]
    fn those_in_a_network_are_admitted_and_others_are_not() {
        for (networks, peer, expected) in [
            (&[][..], "203.0.113.9:1", true),
            (&["10.0.0.0/8"], "10.255.0.1:1", true),
            (&["10.0.0.0/8"], "11.0.0.1:1", false),
            (&["10.1.2.3/8"], "10.9.9.9:1", true),
            (&["192.0.2.7"], "192.0.2.7:1", true),
            (&["192.0.2.7"], "192.0.2.8:1", false),
            (&["192.0.2.7", "::1"], "[::1]:1", true),
            (&["10.0.0.0/8"], "[::ffff:10.0.0.1]:1", true),
            (&["10.0.0.0/8"], "[::1]:1", false),
            (&["::ffff:10.0.0.0/104"], "10.0.0.1:1", true),
            (&["::ffff:10.0.0.0/104"], "[::ffff:10.0.0.1]:1", true),
            (&["::ffff:10.0.0.0/104"], "11.0.0.1:1", false),
            (&["::ffff:192.0.2.7"], "192.0.2.7:1", true),
            (&["fe80::/10"], "[fe80::1%2]:1", true),
            (&["0.0.0.0/0"], "[::1]:1", false),
            (&["10.0.0.0/8"], "unix:/run/echo", true),
        ] {
            assert_eq!(admits(networks, peer), expected, "{networks:?} {peer}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "host",
            "10.0.0.0/8/8",
            "10.0.0.0/+8",
            "010.0.0.0/8",
            "::/129",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
