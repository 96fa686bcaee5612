//! Writing what is dirty before its frames are needed.
//!
//! Pages of views that can be written are mapped write-protected, unless what brought them in
//! was a write, and the kernel lifts that by itself when they are written (userfaultfd's
//! `WP_ASYNC`, Linux 6.7). So what is mapped and not protected is what may be dirty. It is
//! counted now and then, a part at a time; above the limit, runs of it are flushed in the order
//! of their addresses until half the limit is left. Whether such a page is really to be written,
//! its digest says, as it does at eviction. Where the kernel has no such thing, what is dirty is
//! written at eviction, by flushes and when maps end.

use crate::PAGE;
use crate::core::{Live, page_of};
use core::time::Duration;
use pager::{PageRange, Pager};
use std::time::Instant;

/// One frame in so many may be dirty.
const DIRTY_SHARE: u32 = 4;
/// One frame in so many is written after a look: all of them in a second or two.
const STEP_SHARE: u32 = 16;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of addresses between two looks at the clock.
const PIECE: usize = 64 << 20;
/// Faults do not wait for longer than this and one piece.
const LONGEST_LOOK: Duration = Duration::from_micros(500);
/// Runs that are being written at once.
const AT_ONCE: usize = 4;

/// What is known of what is dirty.
#[derive(Debug, Default)]
pub(crate) struct WriteBack {
    tracks: bool,
    last_look: Option<Instant>,
    /// Where the next look goes on.
    at: usize,
    /// Pages found dirty since a look began at the first view, and before that.
    counted: u64,
    dirty: u64,
    /// To be written, the last first.
    runs: Vec<PageRange>,
}

impl WriteBack {
    /// The userfaultfd of views can tell what has been written.
    pub(crate) fn begin(&mut self) {
        self.tracks = true;
    }

    pub(crate) fn tracks(&self) -> bool {
        self.tracks
    }
}

fn limit(pager: &Pager) -> u64 {
    u64::from(pager.frame_limit() / DIRTY_SHARE)
}

impl Live {
    /// Whether it must be looked again even if nothing happens.
    pub(crate) fn may_be_dirty(&self, pager: &Pager) -> bool {
        self.files.write_back.tracks
            && u64::from(pager.frames_resident()) > limit(pager)
            && self.files.views.writable().next().is_some()
    }

    /// Looks for dirty pages when it is time, and begins to write them.
    pub(crate) fn write_back(&mut self, pager: &Pager) {
        if !self.may_be_dirty(pager) {
            self.files.write_back.dirty = 0;
            self.files.write_back.runs.clear();
            return;
        }
        while self.cleanings() < AT_ONCE {
            let Some(run) = self.files.write_back.runs.pop() else { break };
            self.begin_cleaning(run);
        }
        let now = Instant::now();
        let last = self.files.write_back.last_look;
        let is_due = last.is_none_or(|last| now.duration_since(last) >= LOOK_EVERY);
        if is_due && self.files.write_back.runs.is_empty() && self.cleanings() == 0 {
            self.look(pager, now);
            self.files.write_back.last_look = Some(Instant::now());
        }
    }

    fn look(&mut self, pager: &Pager, start: Instant) {
        let limit = limit(pager);
        let most = if self.files.write_back.dirty > limit {
            (self.files.write_back.dirty - limit / 2).min(u64::from(pager.frame_limit() / STEP_SHARE))
        } else {
            0
        };
        let mut taken = 0;
        loop {
            let at = self.files.write_back.at;
            let views = &self.files.views;
            let next = views.writable().find(|part| part.addr + part.pages.count as usize * PAGE > at);
            let Some(part) = next else {
                let state = &mut self.files.write_back;
                (state.dirty, state.counted, state.at) = (state.counted, 0, 0);
                break;
            };
            let from = at.max(part.addr);
            let to = (part.addr + part.pages.count as usize * PAGE).min(from + PIECE);
            let WriteBack { counted, runs, .. } = &mut self.files.write_back;
            let scanned = self.pagemap.scan_written(from, to, |start, end| {
                let pages = ((end - start) / PAGE) as u64;
                let count = pages.min(most - taken);
                if count > 0 {
                    let first = part.pages.start.plus(page_of(start).0 - page_of(part.addr).0);
                    runs.push(PageRange { start: first, count });
                    taken += count;
                }
                *counted += pages - count;
            });
            if scanned.is_err() {
                // Without PAGEMAP_SCAN nothing is known.
                self.files.write_back.tracks = false;
                return;
            }
            self.files.write_back.at = to;
            if start.elapsed() > LONGEST_LOOK {
                break;
            }
        }
        let state = &mut self.files.write_back;
        state.dirty = state.dirty.saturating_sub(taken);
        state.runs.reverse();
    }
}
