//! The OSCORE option's value (§6.1): the compressed COSE object without its ciphertext.

use super::context::{ID_BYTES_MAX, NUMBER_MAX};
use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// A Partial IV as it is sent: a number in the fewest bytes, one at least (§5).
pub type PartialIv = SmallVec<[u8; 8]>;

/// What the OSCORE option says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompressedCose {
    /// The sender's sequence number; there in every request.
    pub partial_iv: Option<u64>,
    /// Which Sender ID protects it (kid); there in every request.
    pub kid: Option<Bytes>,
    /// In which ID Context (kid context).
    pub kid_context: Option<Bytes>,
}

/// The three low bits: how long the Partial IV is.
const PARTIAL_IV_LENGTH: u8 = 0b0000_0111;
const PARTIAL_IV_BYTES_MAX: usize = 5;
/// There is a kid.
const HAS_KID: u8 = 0b0000_1000;
/// There is a kid context.
const HAS_KID_CONTEXT: u8 = 0b0001_0000;
/// For others to define: whoever does not know them has to refuse.
const RESERVED: u8 = 0b1110_0000;

impl CompressedCose {
    /// Reads the option's value; `None` when it is none.
    pub fn decode(value: &Bytes) -> Option<Self> {
        let mut rest = value.clone();
        if rest.is_empty() {
            return Some(Self::default());
        }
        let flags = rest.get_u8();
        let partial_iv_bytes = usize::from(flags & PARTIAL_IV_LENGTH);
        // Nothing to say is said by an empty value (§6.1).
        if flags == 0 || flags & RESERVED != 0 || partial_iv_bytes > PARTIAL_IV_BYTES_MAX {
            return None;
        }
        let mut cose = Self::default();
        if partial_iv_bytes > 0 {
            let partial_iv = take(&mut rest, partial_iv_bytes)?;
            // One number has one form, or the nonce and the additional data of one message were ambiguous.
            if partial_iv_bytes > 1 && partial_iv[0] == 0 {
                return None;
            }
            cose.partial_iv = Some(partial_iv.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        }
        if flags & HAS_KID_CONTEXT != 0 {
            let length = usize::from(*rest.first()?);
            rest.advance(1);
            cose.kid_context = Some(take(&mut rest, length)?);
        }
        match flags & HAS_KID != 0 {
            true if rest.len() <= ID_BYTES_MAX => cose.kid = Some(rest),
            false if rest.is_empty() => {}
            _ => return None,
        }
        Some(cose)
    }

    /// Writes the option's value.
    pub fn encode(&self) -> Bytes {
        let partial_iv = self.partial_iv.map(partial_iv).unwrap_or_default();
        let mut flags = partial_iv.len() as u8;
        flags |= if self.kid.is_some() { HAS_KID } else { 0 };
        flags |= if self.kid_context.is_some() { HAS_KID_CONTEXT } else { 0 };
        let mut value = Vec::new();
        if flags != 0 {
            value.push(flags);
        }
        value.extend_from_slice(&partial_iv);
        if let Some(kid_context) = &self.kid_context {
            value.push(kid_context.len() as u8);
            value.extend_from_slice(kid_context);
        }
        value.extend_from_slice(self.kid.as_deref().unwrap_or_default());
        value.into()
    }
}

/// A sequence number as a Partial IV.
pub fn partial_iv(number: u64) -> PartialIv {
    debug_assert!(number <= NUMBER_MAX, "sequence numbers end before they need more than five bytes");
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    PartialIv::from_slice(&bytes[start..])
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (rest.len() >= length).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of §6.3 and Appendix C.
    #[test]
    fn the_examples_are_read_and_written() {
        let cose = |partial_iv, kid: Option<&'static [u8]>, kid_context: Option<&'static [u8]>| CompressedCose {
            partial_iv,
            kid: kid.map(Bytes::from_static),
            kid_context: kid_context.map(Bytes::from_static),
        };
        for (value, expected) in [
            (&b""[..], cose(None, None, None)),
            (b"\x09\x05\x25", cose(Some(5), Some(b"\x25"), None)),
            (b"\x09\x00", cose(Some(0), Some(b""), None)),
            (b"\x19\x05\x08Dep.", cose(Some(5), None, None)),
            (b"\x19\x05\x04Dep.\x25", cose(Some(5), Some(b"\x25"), Some(b"Dep."))),
            (b"\x01\x07", cose(Some(7), None, None)),
        ] {
            let value = Bytes::from_static(value);
            if value.len() == 7 {
                // The context is cut short.
                assert_eq!(CompressedCose::decode(&value), None);
                continue;
            }
            assert_eq!(CompressedCose::decode(&value).as_ref(), Some(&expected));
            assert_eq!(expected.encode(), value);
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for value in
            [&b"\x00"[..], b"\x06123456", b"\x07", b"\x29\x01", b"\x02\x00\x01", b"\x01", b"\x10", b"\x01\x01x"]
        {
            assert_eq!(CompressedCose::decode(&Bytes::from_static(value)), None, "{value:02x?}");
        }
        assert_eq!(CompressedCose::decode(&Bytes::from_static(b"\x08twelve bytes")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_not(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let value = Bytes::from(value);
            if let Some(cose) = CompressedCose::decode(&value) {
                prop_assert_eq!(cose.encode(), value);
            }
        }
    }
}
