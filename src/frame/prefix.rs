//! The length that stands before each frame.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// How a frame's length is written before its payload.
///
/// The length counts the bytes of the payload, not its own.
///
/// | name | bytes | used by |
/// |---|---|---|
/// | `u16be` | 2 | Netty, Erlang's `{packet, 2}` |
/// | `u32be` (default) | 4 | tokio-util's `LengthDelimitedCodec`, Twisted's `Int32StringReceiver`, Erlang's `{packet, 4}`, Netty |
/// | `u16le`, `u32le`, `u64be`, `u64le` | 2, 4, 8, 8 | |
///
/// # Examples
///
/// ```
/// use readinto::Prefix;
///
/// let prefix: Prefix = "u16le".parse()?;
/// assert_eq!(prefix, Prefix::U16Le);
/// assert_eq!(prefix.size(), 2);
/// assert_eq!(prefix.max_len(), 65_535);
/// assert_eq!(Prefix::default().to_string(), "u32be");
/// # Ok::<(), readinto::PrefixError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prefix {
    /// Two bytes, most significant first.
    U16Be,
    /// Two bytes, least significant first.
    U16Le,
    /// Four bytes, most significant first.
    #[default]
    U32Be,
    /// Four bytes, least significant first.
    U32Le,
    /// Eight bytes, most significant first.
    U64Be,
    /// Eight bytes, least significant first.
    U64Le,
}

const _: () = {
    assert!(Prefix::U16Be.size() == 2 && Prefix::U16Le.size() == 2);
    assert!(Prefix::U32Be.size() == 4 && Prefix::U32Le.size() == 4);
    assert!(Prefix::U64Be.size() == MAX_PREFIX && Prefix::U64Le.size() == MAX_PREFIX);
};

/// The longest prefix, in bytes.
pub(crate) const MAX_PREFIX: usize = 8;

impl Prefix {
    /// All of them.
    pub const ALL: &'static [Prefix] = &[
        Prefix::U16Be,
        Prefix::U16Le,
        Prefix::U32Be,
        Prefix::U32Le,
        Prefix::U64Be,
        Prefix::U64Le,
    ];

    /// How many bytes it takes on the wire.
    ///
    /// # Examples
    ///
    /// See [`Prefix`].
    #[inline]
    #[must_use]
    pub const fn size(self) -> usize {
        // Of each length there are two, and the short ones come first.
        2 << (self as usize / 2)
    }

    /// The longest payload that it can announce, in bytes.
    ///
    /// # Examples
    ///
    /// See [`Prefix`].
    #[must_use]
    pub const fn max_len(self) -> u64 {
        match self {
            Prefix::U16Be | Prefix::U16Le => u16::MAX as u64,
            Prefix::U32Be | Prefix::U32Le => u32::MAX as u64,
            Prefix::U64Be | Prefix::U64Le => u64::MAX,
        }
    }

    /// The length as it goes on the wire, in the first [`size`](Prefix::size)
    /// bytes; `None` if the prefix can't hold it.
    pub(crate) fn encode(self, len: u64) -> Option<[u8; MAX_PREFIX]> {
        if len > self.max_len() {
            return None;
        }
        let mut head = [0; MAX_PREFIX];
        self.put(len, &mut head);
        Some(head)
    }

    /// Writes a length that it can hold to the front of `place`, which has room for it.
    #[inline]
    pub(crate) fn put(self, len: u64, place: &mut [u8]) {
        match self {
            Prefix::U16Be => place[..2].copy_from_slice(&(len as u16).to_be_bytes()),
            Prefix::U16Le => place[..2].copy_from_slice(&(len as u16).to_le_bytes()),
            Prefix::U32Be => place[..4].copy_from_slice(&(len as u32).to_be_bytes()),
            Prefix::U32Le => place[..4].copy_from_slice(&(len as u32).to_le_bytes()),
            Prefix::U64Be => place[..8].copy_from_slice(&len.to_be_bytes()),
            Prefix::U64Le => place[..8].copy_from_slice(&len.to_le_bytes()),
        }
    }

    /// The length that stands at the beginning of `bytes`, if they are enough.
    #[inline]
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<u64> {
        Some(match self {
            Prefix::U16Be => u16::from_be_bytes(*bytes.first_chunk()?).into(),
            Prefix::U16Le => u16::from_le_bytes(*bytes.first_chunk()?).into(),
            Prefix::U32Be => u32::from_be_bytes(*bytes.first_chunk()?).into(),
            Prefix::U32Le => u32::from_le_bytes(*bytes.first_chunk()?).into(),
            Prefix::U64Be => u64::from_be_bytes(*bytes.first_chunk()?),
            Prefix::U64Le => u64::from_le_bytes(*bytes.first_chunk()?),
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Prefix::U16Be => "u16be",
            Prefix::U16Le => "u16le",
            Prefix::U32Be => "u32be",
            Prefix::U32Le => "u32le",
            Prefix::U64Be => "u64be",
            Prefix::U64Le => "u64le",
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        Prefix::ALL
            .iter()
            .copied()
            .find(|prefix| prefix.name() == text)
            .ok_or_else(|| PrefixError {
                text: text.to_owned(),
            })
    }
}

/// The text is not the name of a [`Prefix`].
///
/// # Examples
///
/// See [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixError {
    text: String,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a length prefix (expected u16, u32 or u64 with be or le, as in u32be)",
            self.text
        )
    }
}

impl Error for PrefixError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same in the plainest way, to compare with.
    fn naive(prefix: Prefix, len: u64) -> Option<Vec<u8>> {
        match prefix {
            Prefix::U16Be => Some(u16::try_from(len).ok()?.to_be_bytes().into()),
            Prefix::U16Le => Some(u16::try_from(len).ok()?.to_le_bytes().into()),
            Prefix::U32Be => Some(u32::try_from(len).ok()?.to_be_bytes().into()),
            Prefix::U32Le => Some(u32::try_from(len).ok()?.to_le_bytes().into()),
            Prefix::U64Be => Some(len.to_be_bytes().into()),
            Prefix::U64Le => Some(len.to_le_bytes().into()),
        }
    }

    proptest! {
        #[test]
        fn encoding_is_the_standard_librarys(len: u64, shift in 0_u32..64) {
            let len = len >> shift;
            for &prefix in Prefix::ALL {
                let encoded = prefix.encode(len);
                let bytes = encoded.map(|bytes| bytes[..prefix.size()].to_vec());
                prop_assert_eq!(bytes, naive(prefix, len));
                if let Some(encoded) = encoded {
                    prop_assert_eq!(prefix.decode(&encoded), Some(len));
                    let short = &encoded[..prefix.size() - 1];
                    prop_assert_eq!(prefix.decode(short), None);
                }
            }
        }
    }

    #[test]
    fn a_name_parses_to_what_it_names() {
        for &prefix in Prefix::ALL {
            assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
        let error = "u8".parse::<Prefix>().unwrap_err().to_string();
        assert!(
            error.contains("\"u8\"") && error.contains("u32be"),
            "{error}"
        );
    }
}
