//! A network that is no network: two namespaces with a cable between them, so
//! that nothing leaves the machine. It takes `ip` and the right to make them.

use std::fs::File;
use std::process::{self, Command};

use nix::sched::{CloneFlags, setns};

use super::skipped;

/// The address of the left end.
pub(crate) const LEFT: &str = "10.77.0.1";
/// The address of the right end.
pub(crate) const RIGHT: &str = "10.77.0.2";

/// Two namespaces and a cable; gone when it is dropped.
pub(crate) struct Network {
    pub(crate) left: Namespace,
    pub(crate) right: Namespace,
}

/// A host of that network.
#[derive(Clone)]
pub(crate) struct Namespace(String);

impl Network {
    /// Makes one with this name; says why and returns `None` where it can't.
    pub(crate) fn set_up(name: &str) -> Option<Network> {
        let namespace = |side| Namespace(format!("readinto-{}-{name}-{side}", process::id()));
        let network = Network {
            left: namespace("left"),
            right: namespace("right"),
        };
        let (left, right) = (&network.left.0, &network.right.0);
        let steps = [
            format!("netns add {left}"),
            format!("netns add {right}"),
            format!("-n {left} link add cable type veth peer name cable netns {right}"),
            format!("-n {left} address add {LEFT}/24 dev cable"),
            format!("-n {right} address add {RIGHT}/24 dev cable"),
            format!("-n {left} link set cable up"),
            format!("-n {left} link set lo up"),
            format!("-n {right} link set cable up"),
        ];
        for step in steps {
            if let Err(reason) = ip(&step) {
                skipped(&format!(
                    "no network of namespaces here (ip {step}: {reason})"
                ));
                return None;
            }
        }
        Some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for Namespace(name) in [&self.left, &self.right] {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

impl Namespace {
    /// Moves this thread, and the sockets that it opens, into the namespace.
    pub(crate) fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("it is there");
        setns(file, CloneFlags::CLONE_NEWNET).expect("what made it may enter it");
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
