//! Numbers in as few bytes as they need: seven bits a byte, the least significant first.

/// Bytes of the longest.
pub(crate) const MOST: usize = 10;

/// Writes `value` at `at`; the position after it.
pub(crate) fn put(into: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        into[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    into[at] = value as u8;
    at + 1
}

/// Reads a number at `at`, and moves on. None where the bytes end, or are no number of 64 bits.
pub(crate) fn take(from: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in from.get(*at..)?.iter().take(MOST).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == MOST - 1 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *at += index + 1;
            return Some(value);
        }
    }
    None
}

/// A difference as a number that is small when the difference is: its sign is in the lowest bit.
pub(crate) fn fold(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The reverse of [`fold`].
pub(crate) fn unfold(folded: u64) -> i64 {
    (folded >> 1) as i64 ^ -((folded & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = [0; MOST];
            let end = put(&mut bytes, 0, value);
            let mut at = 0;
            assert_eq!((take(&bytes[..end], &mut at), at), (Some(value), end));
            assert_eq!(take(&bytes[..end - 1], &mut 0), None, "{value} cut off");
        }
        assert_eq!(take(&[0xff; 10], &mut 0), None);
    }

    #[test]
    fn differences_survive() {
        for difference in [0, 1, -1, 2, -2, i64::MAX, i64::MIN] {
            assert_eq!(unfold(fold(difference)), difference);
        }
        assert_eq!([fold(0), fold(-1), fold(1)], [0, 1, 2]);
    }
}
