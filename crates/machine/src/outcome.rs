//! What one operation did.

use crate::disk::Direction;
use pager::FrameNo;
use pager::space::{Access, Prot};
use std::fmt;

/// What an operation returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ret {
    /// Done, or nothing to return.
    Zero,
    /// Not done.
    MinusOne,
    /// No address.
    Null,
    /// An address.
    Address(u64),
    /// Bytes that were read.
    Bytes(Vec<u8>),
}

/// The value as the logs have it, without quotes.
impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("0"),
            Self::MinusOne => f.write_str("-1"),
            Self::Null => f.write_str("null"),
            Self::Address(addr) => write!(f, "{addr:#x}"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// One entry of the page table: page, rights and frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PteLine {
    /// The number of a page of the arena, or the address of another one.
    pub page: PageName,
    /// The rights.
    pub prot: Prot,
    /// The frame, which counts only with rights.
    pub frame: FrameNo,
}

/// How a page is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageName {
    /// By its number in the arena.
    Arena(u64),
    /// By its address.
    Address(u64),
}

/// `0:rw:3`, `1:-:-`, `0x7fff0000:r:0`.
impl fmt::Display for PteLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.page {
            PageName::Arena(number) => write!(f, "{number}:")?,
            PageName::Address(addr) => write!(f, "{addr:#x}:")?,
        }
        if self.prot == Prot::NONE { f.write_str("-:-") } else { write!(f, "{}:{}", self.prot, self.frame.0) }
    }
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its number in the run, from 1.
    pub n: u64,
    /// Its line in the script.
    pub line: u32,
    /// Its word.
    pub op: &'static str,
    /// The whole operation, as a script has it.
    pub text: String,
    /// The process that did it; after a `switch`, the new one.
    pub pid: Option<u32>,
    /// What it returned.
    pub ret: Ret,
    /// Whether its process died of it.
    pub dead: bool,
    /// Its faults: where, how, and 0 or −1.
    pub faults: Vec<(u64, Access, i8)>,
    /// The transfers that were made: which way, the file's name or `swap`, block.
    pub io: Vec<(Direction, Vec<u8>, u64)>,
    /// The current process's valid pages.
    pub ptes: Vec<PteLine>,
    /// Why it could not be done at all.
    pub error: Option<String>,
    /// Why it returned what it did, for people.
    pub reason: Option<String>,
    /// What `dump` and `stats` say.
    pub report: Option<String>,
}
