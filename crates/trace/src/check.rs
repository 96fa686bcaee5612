//! CRC-32 (ISO-HDLC), to tell blocks that are whole from others.

const POLYNOMIAL: u32 = 0xedb8_8320;

/// For four bytes at once.
static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut index = 0;
    while index < 256 {
        let mut power = 1;
        while power < 4 {
            let before = tables[power - 1][index];
            tables[power][index] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            power += 1;
        }
        index += 1;
    }
    tables
}

/// The check of `parts`, one after the other.
pub(crate) fn of(parts: &[&[u8]]) -> u32 {
    let mut state = u32::MAX;
    for part in parts {
        let (words, rest) = part.as_chunks::<4>();
        for word in words {
            let [a, b, c, d] = (state ^ u32::from_le_bytes(*word)).to_le_bytes().map(usize::from);
            state = TABLES[3][a] ^ TABLES[2][b] ^ TABLES[1][c] ^ TABLES[0][d];
        }
        for byte in rest {
            state = state >> 8 ^ TABLES[0][(state as u8 ^ byte) as usize];
        }
    }
    !state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_is_known() {
        assert_eq!(of(&[b"123456789"]), 0xcbf4_3926);
        assert_eq!(of(&[b"1234", b"", b"56789"]), 0xcbf4_3926);
        assert_eq!(of(&[]), 0);
    }
}
