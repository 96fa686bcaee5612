//! Blocks: pieces of a trace that can be read by themselves.

use crate::check;

/// What a block begins with.
pub(crate) const MARK: [u8; 4] = *b"OCTB";
/// Bytes before the payload.
pub(crate) const HEAD_BYTES: usize = 40;
/// No block has a longer payload.
pub(crate) const MOST_PAYLOAD: usize = 1 << 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Events of a process.
    Events,
    /// The files that a process has mapped for execution, as text.
    Modules,
    /// A process's numbers at its end, as text.
    Summary,
    /// Something that this version does not know.
    Unknown(u8),
}

impl BlockKind {
    fn byte(self) -> u8 {
        match self {
            Self::Events => b'E',
            Self::Modules => b'M',
            Self::Summary => b'S',
            Self::Unknown(byte) => byte,
        }
    }

    fn of(byte: u8) -> Self {
        match byte {
            b'E' => Self::Events,
            b'M' => Self::Modules,
            b'S' => Self::Summary,
            other => Self::Unknown(other),
        }
    }
}

/// What is said of a block before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// What it holds.
    pub kind: BlockKind,
    /// Whose it is.
    pub pid: u32,
    /// How many events it has.
    pub events: u32,
    /// Events that were lost before it, because there was no room for them.
    pub dropped: u64,
    /// When it begins, in ticks.
    pub time: u64,
}

/// The head of a block with this payload, as bytes.
pub(crate) fn head(head: &BlockHead, payload: &[u8]) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..4].copy_from_slice(&MARK);
    bytes[4] = head.kind.byte();
    bytes[8..12].copy_from_slice(&head.pid.to_le_bytes());
    bytes[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[16..20].copy_from_slice(&head.events.to_le_bytes());
    bytes[20..28].copy_from_slice(&head.dropped.to_le_bytes());
    bytes[28..36].copy_from_slice(&head.time.to_le_bytes());
    let check = check::of(&[&bytes[..36], payload]);
    bytes[36..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// What the bytes of a head say: its meaning, the payload's length, and the check. None for other bytes.
pub(crate) fn parse(bytes: &[u8; HEAD_BYTES]) -> Option<(BlockHead, usize, u32)> {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let len = word(12) as usize;
    let whole = bytes[..4] == MARK && bytes[5..8] == [0; 3] && len <= MOST_PAYLOAD;
    let head = BlockHead {
        kind: BlockKind::of(bytes[4]),
        pid: word(8),
        events: word(16),
        dropped: long(20),
        time: long(28),
    };
    whole.then_some((head, len, word(36)))
}
