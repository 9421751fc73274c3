//! The versions of what this program itself was built from.

use std::process::Command;

use crate::report::Version;

/// readinto, the other rows in Rust, and the compiler.
pub(super) fn of_this_program() -> Vec<Version> {
    let mut versions: Vec<_> = CRATES
        .iter()
        .flat_map(|&name| locked(LOCK, name).map(|version| Version::new(name, version)))
        .collect();
    // The one that cargo would use now; it is most likely the one that it used.
    let rustc = Command::new("rustc").arg("--version").output();
    if let Ok(output) = rustc
        && let Some(version) = String::from_utf8_lossy(&output.stdout).split(' ').nth(1)
    {
        versions.push(Version::new("rustc", version));
    }
    versions
}

/// The versions of a package in the lock file: most often one.
fn locked<'a>(lock: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
    lock.split("[[package]]").filter_map(move |entry| {
        let field = |key: &str| {
            entry.lines().find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')
            })
        };
        (field("name")? == name).then(|| field("version"))?
    })
}

const LOCK: &str = include_str!("../../../../Cargo.lock");

const CRATES: [&str; 8] = [
    "readinto",
    "tokio",
    "tokio-util",
    "smol",
    "monoio",
    "compio",
    "mio",
    "socket2",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_a_row_is_in_the_lock_file() {
        for name in CRATES {
            let versions: Vec<_> = locked(LOCK, name).collect();
            assert!(!versions.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_name_is_matched_as_a_whole() {
        let lock = "[[package]]\nname = \"tokio-util\"\nversion = \"1.0.0\"\n\
                    [[package]]\nname = \"tokio\"\nversion = \"2.0.0\"\n";
        let versions: Vec<_> = locked(lock, "tokio").collect();
        assert_eq!(versions, ["2.0.0"]);
    }
}
