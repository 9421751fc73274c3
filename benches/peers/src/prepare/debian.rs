//! Debian's packages, where this runs as root and apt-get is there.

use std::cell::RefCell;
use std::process::Command;

use nix::unistd::geteuid;

use super::Workshop;
use crate::process::Failure;

/// What has been tried already.
#[derive(Debug, Default)]
pub(super) struct Debian {
    lists: RefCell<Lists>,
}

#[derive(Clone, Debug, Default)]
enum Lists {
    #[default]
    Unread,
    Fresh,
    Unreachable(String),
}

impl Debian {
    /// Installs the packages; an error says why that is not possible.
    pub(super) fn install(&self, workshop: &Workshop, packages: &[&str]) -> Result<(), Failure> {
        if !geteuid().is_root() {
            return Err(Failure::Unavailable(format!(
                "install {} yourself, or run this as root",
                packages.join(" ")
            )));
        }
        self.read_lists(workshop)?;
        workshop
            .progress
            .stage(&format!("installing {}", packages.join(" ")));
        let mut install = apt_get();
        install.args(["install", "-y", "--no-install-recommends"]);
        workshop.run(install.args(packages)).map(drop)
    }

    /// Once is enough.
    fn read_lists(&self, workshop: &Workshop) -> Result<(), Failure> {
        let lists = self.lists.borrow().clone();
        match lists {
            Lists::Fresh => Ok(()),
            Lists::Unreachable(reason) => Err(Failure::Unavailable(reason)),
            Lists::Unread => {
                workshop.progress.stage("reading the lists of packages");
                let outcome = workshop.run(apt_get().arg("update"));
                *self.lists.borrow_mut() = match &outcome {
                    Ok(_) => Lists::Fresh,
                    Err(failure) => Lists::Unreachable(failure.to_string()),
                };
                outcome.map(drop)
            }
        }
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}
