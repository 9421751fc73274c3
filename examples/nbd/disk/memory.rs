//! A disk in memory, of extents that are there once they have been written.
//!
//! Nobody ever waits for a lock, since there is none. A read takes hold of the
//! extents as they are, and sends those, whatever is written meanwhile. A write
//! receives a whole extent into memory that nobody else knows, which then takes
//! the place of the old extent; what is less than an extent is received aside,
//! and copied. So a client that stalls in the middle of either, or dies, is in
//! nobody's way, and each extent is either written or not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use readinto::{Handle, StreamError};

use crate::protocol::Request;
use crate::wire::Wire;

pub(crate) struct MemoryDisk {
    handle: Handle,
    size: u64,
    /// By their number. The rest is zeroes.
    extents: RefCell<BTreeMap<u64, Extent>>,
    /// An extent whose place was taken, for the next that is written.
    spare: RefCell<Option<Extent>>,
}

/// The bytes of an extent, and of all who are just sending it.
type Extent = Rc<Vec<u8>>;

impl MemoryDisk {
    pub(crate) fn new(handle: Handle, size: u64) -> MemoryDisk {
        MemoryDisk {
            handle,
            size,
            extents: RefCell::default(),
            spare: RefCell::default(),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) async fn send(&self, request: &Request, wire: &mut Wire) -> Result<(), StreamError> {
        let pieces: Vec<_> = pieces(request)
            .map(|(number, within)| (self.extents.borrow().get(&number).cloned(), within))
            .collect();
        let header = request.reply(Ok(()));
        let mut parts = vec![&header[..]];
        parts.extend(pieces.iter().map(|(extent, within)| match extent {
            Some(extent) => &extent[within.clone()],
            None => &ZEROES[within.clone()],
        }));
        wire.send(&parts).await
    }

    pub(crate) async fn receive(
        &self,
        request: &Request,
        wire: &mut Wire,
        buffer: &mut [u8],
    ) -> Result<(), StreamError> {
        for (number, within) in pieces(request) {
            if within.len() == EXTENT {
                let mut fresh = self.fresh();
                wire.receive(&mut fresh).await?;
                let old = self.extents.borrow_mut().insert(number, Rc::new(fresh));
                *self.spare.borrow_mut() = old;
            } else {
                let piece = &mut buffer[..within.len()];
                wire.receive(piece).await?;
                let mut extents = self.extents.borrow_mut();
                let extent = extents
                    .entry(number)
                    .or_insert_with(|| Rc::new(vec![0; EXTENT]));
                // Copies the extent if somebody is just sending it.
                Rc::make_mut(extent)[within].copy_from_slice(piece);
            }
        }
        Ok(())
    }

    pub(crate) async fn zero(&self, request: &Request) {
        for (index, (number, within)) in pieces(request).enumerate() {
            if index % ZEROED_AT_ONCE == 0 {
                // The reactor counts what sockets move, and here is nothing to count.
                self.handle.sleep(Duration::ZERO).await;
            }
            let mut extents = self.extents.borrow_mut();
            if within.len() == EXTENT {
                extents.remove(&number);
            } else if let Some(extent) = extents.get_mut(&number) {
                Rc::make_mut(extent)[within].fill(0);
            }
        }
    }

    /// Memory for an extent that will be overwritten.
    fn fresh(&self) -> Vec<u8> {
        let spare = self.spare.borrow_mut().take();
        spare
            .and_then(|extent| Rc::try_unwrap(extent).ok())
            .unwrap_or_else(|| vec![0; EXTENT])
    }
}

/// The extents that a request touches, and which part of each.
fn pieces(request: &Request) -> impl Iterator<Item = (u64, Range<usize>)> + use<> {
    let (start, end) = (request.offset, request.offset + u64::from(request.len));
    (start / SIZE..end.div_ceil(SIZE)).map(move |number| {
        let from = start.saturating_sub(number * SIZE);
        let to = (end - number * SIZE).min(SIZE);
        (number, from as usize..to as usize)
    })
}

/// The length of an extent in bytes.
const EXTENT: usize = 64 * 1024;
const SIZE: u64 = EXTENT as u64;

static ZEROES: [u8; EXTENT] = [0; EXTENT];

/// How many extents a client may zero before others have their turn.
const ZEROED_AT_ONCE: usize = 64;
