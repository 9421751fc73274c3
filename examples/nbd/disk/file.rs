//! A disk that is a file, or a block device.
//!
//! There is no readiness to wait for in a file: reading, writing, and above all
//! flushing it stop the thread, and with it all clients, for as long as the kernel
//! takes. So after each such call others have their turn, and long requests go in
//! pieces.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use readinto::{Handle, StreamError};

use crate::protocol::{ErrorCode, Request};
use crate::wire::Wire;

pub(crate) struct FileDisk {
    handle: Handle,
    file: File,
    size: u64,
}

impl FileDisk {
    pub(crate) fn open(handle: Handle, path: &Path) -> io::Result<FileDisk> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        // The metadata of a block device know no length.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(FileDisk { handle, file, size })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn send(
        &self,
        request: &Request,
        wire: &mut Wire,
        buffer: &mut [u8],
    ) -> io::Result<Result<(), ErrorCode>> {
        let header = request.reply(Ok(()));
        let mut promised = false;
        for (offset, len) in pieces(request, buffer.len()) {
            let piece = &mut buffer[..len];
            match self.after(self.file.read_exact_at(piece, offset)).await {
                Ok(()) if promised => wire.send(&[piece]).await?,
                Ok(()) => wire.send(&[&header[..], piece]).await?,
                Err(error) if promised => return Err(error),
                Err(error) => return Ok(Err(error_code(&error))),
            }
            promised = true;
        }
        Ok(Ok(()))
    }

    pub(crate) async fn receive(
        &self,
        request: &Request,
        wire: &mut Wire,
        buffer: &mut [u8],
    ) -> Result<Result<(), ErrorCode>, StreamError> {
        let mut written = Ok(());
        for (offset, len) in pieces(request, buffer.len()) {
            let piece = &mut buffer[..len];
            // All of the payload, also if the file takes no more of it.
            wire.receive(piece).await?;
            if written.is_ok() {
                written = self.after(self.file.write_all_at(piece, offset)).await;
            }
        }
        Ok(written.map_err(|error| error_code(&error)))
    }

    pub(crate) async fn zero(&self, request: &Request) -> Result<(), ErrorCode> {
        for (offset, len) in pieces(request, ZEROES.len()) {
            let written = self.file.write_all_at(&ZEROES[..len], offset);
            self.after(written)
                .await
                .map_err(|error| error_code(&error))?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&self) -> Result<(), ErrorCode> {
        let flushed = self.after(self.file.sync_data()).await;
        flushed.map_err(|error| error_code(&error))
    }

    /// Gives others their turn after a call, and passes on what came of it.
    ///
    /// The reactor counts what sockets move, and does not know of files.
    async fn after<T>(&self, called: T) -> T {
        self.handle.sleep(Duration::ZERO).await;
        called
    }
}

/// What a client is told of an error, which goes to standard error in full.
fn error_code(error: &io::Error) -> ErrorCode {
    eprintln!("the file: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            ErrorCode::NoSpace
        }
        _ => ErrorCode::Io,
    }
}

/// What a request touches, in pieces of at most `len` bytes: each one's offset and
/// length.
fn pieces(request: &Request, len: usize) -> impl Iterator<Item = (u64, usize)> + use<> {
    let (start, end) = (request.offset, request.offset + u64::from(request.len));
    (start..end)
        .step_by(len)
        .map(move |offset| (offset, len.min((end - offset) as usize)))
}

static ZEROES: [u8; 256 * 1024] = [0; 256 * 1024];
