//! What the writing verb sends: one slice, or several as if they were joined.

/// What [`write_all`](super::WriteHalf::write_all) sends: one borrowed slice, or a
/// list of them that leave in order, as if they were joined.
///
/// A list saves the copy that joining would cost, and the system call that a
/// write for each part would: a header and its payload go out together. Up to 16
/// parts leave in one call.
///
/// # Examples
///
/// ```
/// use readinto::Buffers;
///
/// assert_eq!(Buffers::from(b"one slice").len(), 9);
/// assert_eq!(Buffers::from(&[&b"several"[..], b", ", b"in order"]).len(), 17);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a>(Parts<'a>);

#[derive(Clone, Copy, Debug)]
enum Parts<'a> {
    One(&'a [u8]),
    Many(&'a [&'a [u8]]),
}

impl<'a> Buffers<'a> {
    /// The length of all parts together, in bytes.
    ///
    /// # Examples
    ///
    /// See [`Buffers`].
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Parts::One(part) => part.len(),
            Parts::Many(parts) => parts.iter().map(|part| part.len()).sum(),
        }
    }

    /// Whether there is not a single byte to send.
    ///
    /// # Examples
    ///
    /// See [`Buffers`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn parts(&self) -> &[&'a [u8]] {
        match &self.0 {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Many(parts) => parts,
        }
    }
}

impl<'a> From<&'a [u8]> for Buffers<'a> {
    fn from(part: &'a [u8]) -> Self {
        Buffers(Parts::One(part))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Buffers<'a> {
    fn from(part: &'a [u8; N]) -> Self {
        Buffers(Parts::One(part))
    }
}

impl<'a> From<&'a Vec<u8>> for Buffers<'a> {
    fn from(part: &'a Vec<u8>) -> Self {
        Buffers(Parts::One(part))
    }
}

impl<'a> From<&'a [&'a [u8]]> for Buffers<'a> {
    fn from(parts: &'a [&'a [u8]]) -> Self {
        Buffers(Parts::Many(parts))
    }
}

impl<'a, const N: usize> From<&'a [&'a [u8]; N]> for Buffers<'a> {
    fn from(parts: &'a [&'a [u8]; N]) -> Self {
        Buffers(Parts::Many(parts))
    }
}
