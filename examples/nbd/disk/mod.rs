//! What is served: a disk in memory, or a file.

mod file;
mod memory;

use std::io;
use std::path::Path;

use readinto::Handle;

use crate::protocol::{ErrorCode, Request};
use crate::wire::Wire;
use file::FileDisk;
use memory::MemoryDisk;

/// A disk that connections share.
///
/// Requests are within its bounds. Where a stream is involved, the outer error is
/// that of the connection, and the inner one is to be sent to the client.
pub(crate) enum Disk {
    Memory(MemoryDisk),
    File(FileDisk),
}

impl Disk {
    pub(crate) fn in_memory(handle: Handle, size: u64) -> Disk {
        Disk::Memory(MemoryDisk::new(handle, size))
    }

    pub(crate) fn open(handle: Handle, path: &Path) -> io::Result<Disk> {
        FileDisk::open(handle, path).map(Disk::File)
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Disk::Memory(memory) => memory.size(),
            Disk::File(file) => file.size(),
        }
    }

    /// Sends the reply to a read, unless it fails.
    pub(crate) async fn send(
        &self,
        request: &Request,
        wire: &mut Wire,
        buffer: &mut [u8],
    ) -> io::Result<Result<(), ErrorCode>> {
        match self {
            Disk::Memory(memory) => Ok(Ok(memory.send(request, wire).await?)),
            Disk::File(file) => file.send(request, wire, buffer).await,
        }
    }

    /// Receives the payload of a write.
    pub(crate) async fn receive(
        &self,
        request: &Request,
        wire: &mut Wire,
        buffer: &mut [u8],
    ) -> io::Result<Result<(), ErrorCode>> {
        match self {
            Disk::Memory(memory) => Ok(Ok(memory.receive(request, wire, buffer).await?)),
            Disk::File(file) => Ok(file.receive(request, wire, buffer).await?),
        }
    }

    pub(crate) async fn zero(&self, request: &Request) -> Result<(), ErrorCode> {
        match self {
            Disk::Memory(memory) => {
                memory.zero(request).await;
                Ok(())
            }
            Disk::File(file) => file.zero(request).await,
        }
    }

    /// Gives up data that the client has no more use for. A hint; a file ignores it.
    pub(crate) async fn trim(&self, request: &Request) -> Result<(), ErrorCode> {
        match self {
            Disk::Memory(_) => self.zero(request).await,
            Disk::File(_) => Ok(()),
        }
    }

    /// Has all that was written survive a crash, as far as a disk can.
    pub(crate) async fn flush(&self) -> Result<(), ErrorCode> {
        match self {
            Disk::Memory(_) => Ok(()),
            Disk::File(file) => file.flush().await,
        }
    }
}
