//! What the bytes mean: a length, then as many bytes of payload.

mod error;
mod prefix;
mod reader;
mod writer;

pub use error::FrameError;
pub use prefix::{Prefix, PrefixError};
pub use reader::FrameReader;
pub use writer::{FrameWriter, WriteFrame};
