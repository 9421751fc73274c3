//! The file of a Unix socket: the kernel makes it, and leaves it behind.
//!
//! A file that nobody listens on any more is replaced. One that somebody does,
//! or that is no socket, is never touched. Our own is removed when we stop.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use readinto::{Address, Handle, Stream};

/// The socket file of a listener of ours; dropping this removes it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode, to know it from one that took its place.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// The file at `path`, which we have just bound.
    pub(crate) fn own(path: &Path) -> SocketFile {
        SocketFile {
            path: path.to_owned(),
            identity: identity(path).ok(),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        match identity(&self.path) {
            Ok(found) if Some(found) == self.identity => {
                if let Err(error) = fs::remove_file(&self.path) {
                    log::warn!("cannot remove {}: {error}", self.path.display());
                }
            }
            _ => log::info!("{} is not ours any more, so it stays", self.path.display()),
        }
    }
}

/// For its owner only.
pub(crate) const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Has files that `make` makes get this mode: there is no moment in which others
/// may connect to a socket that is not for them.
pub(crate) fn with_mode<T>(mode: Mode, make: impl FnOnce() -> T) -> T {
    let before = umask(!mode & Mode::from_bits_truncate(0o777));
    let made = make();
    umask(before);
    made
}

/// Removes the socket file at `path` if nobody listens on it.
///
/// # Errors
///
/// A reason, as a clause, why the path can't be used.
pub(crate) async fn remove_stale(handle: &Handle, path: &Path) -> Result<(), String> {
    let before = identity(path).map_err(|error| error.to_string())?;
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.file_type().is_socket() {
        return Err("there is a file that is no socket; remove it or choose another path".into());
    }
    let address = Address::Unix(path.to_owned());
    let live = "another process listens there; stop it or choose another path";
    match handle
        .timeout(PATIENCE, Stream::connect(handle, &address))
        .await
    {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(Err(error)) => return Err(format!("a socket is there that may be in use: {error}")),
        Ok(Ok(_)) => return Err(live.into()),
        // Its queue of connections is full.
        Err(_) => return Err(live.into()),
    }
    // Somebody else may have replaced it in the meantime.
    if identity(path).ok() != Some(before) {
        return Err(live.into());
    }
    log::info!("replaced the stale socket {}", path.display());
    fs::remove_file(path).map_err(|error| format!("cannot remove the stale socket: {error}"))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// How long a live socket may take to answer a connection.
const PATIENCE: Duration = Duration::from_secs(1);
