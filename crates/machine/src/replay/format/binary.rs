//! Eight bytes a number, the least significant first, in whatever pieces they come.

use super::{Sink, TraceError};

const WORD: usize = 8;

#[derive(Default)]
pub(super) struct Reader {
    /// The first bytes of a number whose rest is yet to come.
    part: [u8; WORD],
    part_len: usize,
    before: u64,
}

impl Reader {
    /// Reads on.
    pub(super) fn take(&mut self, mut bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), TraceError> {
        self.before += bytes.len() as u64;
        if self.part_len > 0 {
            let (rest, after) = bytes.split_at(bytes.len().min(WORD - self.part_len));
            self.part[self.part_len..self.part_len + rest.len()].copy_from_slice(rest);
            self.part_len += rest.len();
            if self.part_len < WORD {
                return Ok(());
            }
            sink(u64::from_le_bytes(self.part))?;
            bytes = after;
        }
        let (words, rest) = bytes.as_chunks::<WORD>();
        for word in words {
            sink(u64::from_le_bytes(*word))?;
        }
        self.part[..rest.len()].copy_from_slice(rest);
        self.part_len = rest.len();
        Ok(())
    }

    /// Checks that nothing is cut off.
    pub(super) fn finish(self) -> Result<(), TraceError> {
        if self.part_len == 0 { Ok(()) } else { Err(TraceError::Torn { bytes: self.before }) }
    }
}
