//! What server and members say to each other: words in packets of a fixed size.

use crate::shared::VERSION;

/// Words of a packet, the first of which says what the others are.
pub(crate) const WORDS: usize = 16;
pub(crate) const BYTES: usize = WORDS * 8;

/// Bytes of a notice; more are cut off.
pub(crate) const MOST_TEXT: usize = 1024;

const HELLO: u64 = 0x616e_6572_6165_636f;
const WELCOME: u64 = HELLO + 1;
const JOIN: u64 = 2;
const DONE: u64 = 3;
const STATS: u64 = 4;
const DISCARD: u64 = 5;
const LEAVE: u64 = 6;
const BUDGET: u64 = 7;

/// How a server answers a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Come in; the memory's descriptor is with it.
    Admitted,
    /// The arena is another user's.
    NotOurs,
    /// There are as many members as there may be.
    Full,
    /// It does not know this version.
    OtherVersion,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A member's first: its version.
    Hello { version: u64 },
    /// The server's answer: its version, and the arena's bytes.
    Welcome { version: u64, verdict: Verdict, len: u64 },
    /// Here is my view; its userfaultfd is with it.
    Join { addr: u64 },
    /// What was asked has been done, or why not.
    Done { errno: u64 },
    /// Tell me the numbers.
    AskStats,
    /// These are they.
    Stats([u64; Self::NUMBERS]),
    /// Drop these pages.
    Discard { first: u64, pages: u64 },
    /// I have no view any more.
    Leave,
    /// A starter's second: the ledger of the budget that is shared is with it.
    Budget,
}

impl Packet {
    /// Numbers in [`Self::Stats`].
    pub(crate) const NUMBERS: usize = 11;

    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut words = [0; WORDS];
        match self {
            Self::Hello { version } => words[..2].copy_from_slice(&[HELLO, version]),
            Self::Welcome { version, verdict, len } => {
                words[..4].copy_from_slice(&[WELCOME, version, verdict as u64, len]);
            }
            Self::Join { addr } => words[..2].copy_from_slice(&[JOIN, addr]),
            Self::Done { errno } => words[..2].copy_from_slice(&[DONE, errno]),
            Self::AskStats => words[0] = STATS,
            Self::Stats(numbers) => {
                words[..2].copy_from_slice(&[STATS, 1]);
                words[2..2 + Self::NUMBERS].copy_from_slice(&numbers);
            }
            Self::Discard { first, pages } => words[..3].copy_from_slice(&[DISCARD, first, pages]),
            Self::Leave => words[0] = LEAVE,
            Self::Budget => words[0] = BUDGET,
        }
        let mut bytes = [0; BYTES];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = u64::to_ne_bytes(word);
        }
        bytes
    }

    /// None for what is no packet of this version, whoever has sent it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let mut words = [0; WORDS];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_ne_bytes(*place);
        }
        Some(match words[0] {
            // Of other versions, only the number is known.
            HELLO => Self::Hello { version: words[1] },
            WELCOME => Self::Welcome {
                version: words[1],
                verdict: match words[2] {
                    _ if words[1] != VERSION => Verdict::OtherVersion,
                    0 => Verdict::Admitted,
                    1 => Verdict::NotOurs,
                    2 => Verdict::Full,
                    3 => Verdict::OtherVersion,
                    _ => return None,
                },
                len: words[3],
            },
            JOIN => Self::Join { addr: words[1] },
            DONE => Self::Done { errno: words[1] },
            STATS if words[1] == 0 => Self::AskStats,
            STATS => {
                let mut numbers = [0; Self::NUMBERS];
                numbers.copy_from_slice(&words[2..2 + Self::NUMBERS]);
                Self::Stats(numbers)
            }
            DISCARD => Self::Discard { first: words[1], pages: words[2] },
            LEAVE => Self::Leave,
            BUDGET => Self::Budget,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_back_and_others_are_none() {
        let mut numbers = [0; Packet::NUMBERS];
        numbers.iter_mut().zip(7..).for_each(|(number, value)| *number = value);
        for packet in [
            Packet::Hello { version: 9 },
            Packet::Welcome { version: VERSION, verdict: Verdict::Full, len: 3 },
            Packet::Join { addr: 4096 },
            Packet::Done { errno: 5 },
            Packet::AskStats,
            Packet::Stats(numbers),
            Packet::Discard { first: 1, pages: 2 },
            Packet::Leave,
            Packet::Budget,
        ] {
            assert_eq!(Packet::from_bytes(&packet.to_bytes()), Some(packet));
        }
        let other = Packet::Welcome { version: VERSION + 1, verdict: Verdict::Admitted, len: 3 };
        let read = Packet::from_bytes(&other.to_bytes());
        assert!(matches!(read, Some(Packet::Welcome { verdict: Verdict::OtherVersion, .. })));
        assert_eq!(Packet::from_bytes(&[0; BYTES]), None);
        assert_eq!(Packet::from_bytes(&[0xff; BYTES]), None);
        assert_eq!(Packet::from_bytes(&[1; 7]), None);
    }
}
