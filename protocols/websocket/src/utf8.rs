//! Text that comes in pieces (§8.1): a character may be split between frames, or between reads.

/// What is not known yet: the begin of a character.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    begun: [u8; 4],
    begun_len: u8,
}

impl Utf8 {
    /// Looks at the next piece. `Err` says how many of its bytes come before the one that makes it no text, which does not
    /// depend on how it is cut.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), usize> {
        let length = piece.len();
        while self.begun_len > 0 {
            let Some((next, rest)) = piece.split_first() else { return Ok(()) };
            let len = usize::from(self.begun_len);
            self.begun[len] = *next;
            match std::str::from_utf8(&self.begun[..=len]) {
                Ok(_) => self.begun_len = 0,
                // Never longer than four bytes: there would be an error by then.
                Err(error) if error.error_len().is_none() => self.begun_len += 1,
                Err(_) => return Err(length - piece.len()),
            }
            piece = rest;
        }
        let Err(error) = std::str::from_utf8(piece) else { return Ok(()) };
        let valid = error.valid_up_to();
        if error.error_len().is_some() {
            let is_begun = |end: &usize| is_begun(&piece[valid..*end]);
            let wrong = (valid + 1..=piece.len()).find(|end| !is_begun(end)).unwrap_or(piece.len());
            return Err(length - piece.len() + wrong - 1);
        }
        let begun = &piece[valid..];
        self.begun[..begun.len()].copy_from_slice(begun);
        self.begun_len = begun.len() as u8;
        Ok(())
    }

    /// Whether the text may end here; the next one begins.
    pub fn end(&mut self) -> bool {
        std::mem::take(&mut self.begun_len) == 0
    }
}

/// Whether these bytes may be the begin of a character.
fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_text(bytes: &[u8], piece: usize) -> bool {
        let mut utf8 = Utf8::default();
        bytes.chunks(piece).all(|part| utf8.push(part).is_ok()) && utf8.end()
    }

    proptest! {
        #[test]
        fn pieces_are_text_when_the_whole_is(mut bytes in prop::collection::vec(any::<u8>(), 0..12), text: String, piece in 1..9_usize) {
            prop_assert!(is_text(text.as_bytes(), piece));
            prop_assert_eq!(is_text(&bytes, piece), std::str::from_utf8(&bytes).is_ok());
            bytes.splice(0..0, text.bytes());
            prop_assert_eq!(is_text(&bytes, piece), std::str::from_utf8(&bytes).is_ok());
        }
    }

    #[test]
    fn what_may_be_text_before_the_mistake_is_counted() {
        assert_eq!(Utf8::default().push(b"abc\xFFd"), Err(3));
        assert_eq!(Utf8::default().push(b"a\xE2\x82bcd"), Err(3));
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"\xE2\x82"), Ok(()));
        assert_eq!(utf8.push(b"\x28"), Err(0));
    }
}
