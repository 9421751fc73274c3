//! What the bytes mean: a length, then as many bytes of payload.

mod error;
mod prefix;
mod reader;
mod watch;
mod writer;

pub use error::{FrameError, TimeLimit};
pub use prefix::{Prefix, PrefixError};
pub use reader::FrameReader;
pub use writer::{FrameWriter, WriteFrame};
