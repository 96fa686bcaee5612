//! Transfers under way, by token.

use crate::PAGE;
use crate::files::FlushId;
use pager::{FrameNo, SlotNo};
use std::time::Instant;
use sys::aio::{MAX_PIECES, Piece};

/// Transfers that may be under way at once.
pub(crate) const MAX_OPS: usize = 128;
/// Pages of one transfer.
pub(crate) const MAX_OP_PAGES: usize = 256;

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Pages read into their frames.
    Fill {
        /// Whether a thread waits for them.
        demand: bool,
    },
    /// Pages written from their frames.
    Write,
}

#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) purpose: Purpose,
    pub(crate) frames: Vec<FrameNo>,
    pub(crate) started: Instant,
    pub(crate) bytes: usize,
    /// The first home, if it is a file's bytes that are transferred.
    pub(crate) home: Option<SlotNo>,
    /// The flush that a write is part of.
    pub(crate) flush: Option<FlushId>,
    /// The program's own code makes it, which may take for ever.
    pub(crate) by_program: bool,
}

/// A fixed set of transfers; nothing is allocated after it is made.
#[derive(Debug)]
pub(crate) struct Ops {
    ops: Vec<Op>,
    free: Vec<usize>,
}

impl Ops {
    pub(crate) fn new() -> Self {
        let op = || Op {
            purpose: Purpose::Fill { demand: false },
            frames: Vec::with_capacity(MAX_OP_PAGES),
            started: Instant::now(),
            bytes: 0,
            home: None,
            flush: None,
            by_program: false,
        };
        Self { ops: (0..MAX_OPS).map(|_| op()).collect(), free: (0..MAX_OPS).collect() }
    }

    pub(crate) fn under_way(&self) -> usize {
        MAX_OPS - self.free.len()
    }

    /// How many more can be started.
    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    /// A transfer to fill in, and its token.
    pub(crate) fn start(&mut self, purpose: Purpose) -> Option<(u64, &mut Op)> {
        let index = self.free.pop()?;
        let op = &mut self.ops[index];
        op.purpose = purpose;
        op.frames.clear();
        op.started = Instant::now();
        op.bytes = 0;
        op.home = None;
        op.flush = None;
        op.by_program = false;
        Some((index as u64, op))
    }

    pub(crate) fn get(&self, token: u64) -> &Op {
        &self.ops[token as usize]
    }

    pub(crate) fn get_mut(&mut self, token: u64) -> &mut Op {
        &mut self.ops[token as usize]
    }

    pub(crate) fn end(&mut self, token: u64) {
        debug_assert!(!self.free.contains(&(token as usize)));
        self.free.push(token as usize);
    }
}

/// The memory of one transfer, gathered page by page.
#[derive(Debug)]
pub(crate) struct Gather {
    pieces: Vec<(usize, usize)>,
    out: Vec<Piece>,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::with_capacity(MAX_PIECES), out: Vec::with_capacity(MAX_PIECES) }
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
    }

    /// Adds a page; false when it would need a piece too many.
    pub(crate) fn push(&mut self, addr: usize) -> bool {
        if let Some((start, len)) = self.pieces.last_mut()
            && *start + *len == addr
        {
            *len += PAGE;
            return true;
        }
        let room = self.pieces.len() < MAX_PIECES;
        if room {
            self.pieces.push((addr, PAGE));
        }
        room
    }

    /// Leaves out so many bytes at the end, fewer than a page.
    pub(crate) fn shorten(&mut self, by: usize) {
        if let Some((_, len)) = self.pieces.last_mut() {
            *len -= by;
        }
    }

    pub(crate) fn pieces(&mut self) -> &[Piece] {
        self.out.clear();
        self.out.extend(self.pieces.iter().map(|(addr, len)| Piece::new(*addr, *len)));
        &self.out
    }
}
