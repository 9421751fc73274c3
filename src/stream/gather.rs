//! What a write sends, and how far it has got: a head, and what follows it, joined by
//! the system call and not by a copy.

use std::io::{self, IoSlice};

use socket2::Socket;

use super::buffers::Buffers;

/// A short head that the operation owns, the body that it borrows, and how far
/// the two have been sent.
#[derive(Debug)]
pub(crate) struct Gather<'a> {
    head: [u8; MAX_HEAD],
    head_len: usize,
    body: Buffers<'a>,
    /// Of head and body together.
    len: usize,
    /// How many bytes are sent.
    written: usize,
    /// The first part that is not sent yet.
    part: usize,
    /// How many bytes of that part are.
    within: usize,
}

impl<'a> Gather<'a> {
    pub(crate) fn new(head: [u8; MAX_HEAD], head_len: usize, body: Buffers<'a>) -> Gather<'a> {
        let mut gather = Gather {
            head,
            head_len,
            len: head_len + body.len(),
            body,
            written: 0,
            part: 0,
            within: 0,
        };
        gather.advance(0);
        gather
    }

    /// How many bytes there are in all.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes are sent.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// How many bytes of what is left one system call can take.
    pub(super) fn within_one_call(&self) -> usize {
        self.window().map(<[u8]>::len).sum()
    }

    /// Sends up to `chunk` bytes of what is left, in one call.
    pub(super) fn send(&self, socket: &Socket, chunk: usize) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        let mut left = chunk;
        for part in self.window() {
            let part = &part[..part.len().min(left)];
            slices[count] = IoSlice::new(part);
            count += 1;
            left -= part.len();
            if left == 0 {
                break;
            }
        }
        match &slices[..count] {
            // A plain send is the cheaper system call.
            [slice] => socket.send_with_flags(slice, SEND_FLAGS),
            slices => socket.send_vectored_with_flags(slices, SEND_FLAGS),
        }
    }

    /// Moves on by `bytes`, and then past parts that are empty.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        self.within += bytes;
        while let Some(len) = self.part(self.part).map(<[u8]>::len)
            && self.within >= len
        {
            self.within -= len;
            self.part += 1;
        }
    }

    /// The head is part 0, the body's first part is 1.
    fn part(&self, index: usize) -> Option<&[u8]> {
        match index {
            0 => Some(&self.head[..self.head_len]),
            _ => self.body.parts().get(index - 1).copied(),
        }
    }

    /// The parts that are left and that one system call can take.
    fn window(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.within;
        (self.part..self.part + MAX_SLICES).map_while(move |index| {
            let part = self.part(index)?;
            Some(&part[std::mem::take(&mut skip)..])
        })
    }
}

/// How many parts go into one system call; a longer list takes several.
const MAX_SLICES: usize = 16;

/// The longest head, in bytes: a number of 64 bits.
pub(super) const MAX_HEAD: usize = size_of::<u64>();

/// Keeps `SIGPIPE` from killing a program that has not ignored it.
#[cfg(not(target_vendor = "apple"))]
pub(super) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const SEND_FLAGS: libc::c_int = 0;
