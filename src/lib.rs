//! A small single-threaded async runtime for moving bytes in bulk and answering
//! fast.

#![forbid(unsafe_code)]

mod frame;
mod reactor;
mod stream;

pub use frame::{FrameError, FrameReader, FrameWriter, Prefix, PrefixError};
pub use reactor::{
    Builder, Elapsed, Handle, JoinError, JoinHandle, Reactor, Remote, RemoteSpawnError, Sleep, Turn,
};
pub use stream::{
    Address, AddressError, Buffers, Listener, ReadExactInto, ReadHalf, Stream, StreamError,
    WriteAll, WriteHalf,
};
