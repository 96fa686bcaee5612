#![expect(unsafe_code, reason = "hands addresses to the kernel, and clears what no file has")]
//! Transfers of slots and of homes, and how those of homes end.

use crate::PAGE;
use crate::core::{Live, addr_of};
use crate::files::flush::Dirty;
use crate::files::source::{From, Origin};
use pager::{Fill, FillResult, PageNo, PageRange, Pager, Sharing, SlotNo, State};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sys::aio::{Direction, QueueFull};

impl Live {
    /// How many pages from the one in `slot` on may be read together.
    pub(crate) fn span(&self, slot: SlotNo) -> usize {
        self.files.sources.find(slot).map_or(usize::MAX, |source| source.span(slot))
    }

    /// Whether a page may be written together with those from `first` on.
    pub(crate) fn joins(&self, first: SlotNo, next: SlotNo) -> bool {
        if !self.files.is_home(first) {
            return !self.files.is_home(next);
        }
        self.files.sources.join(first, next)
    }

    /// Queues what has been gathered for the operation, from `slot` on.
    ///
    /// # Safety
    /// As [`store::Store::queue`]: the gathered places are the operation's until it ends.
    pub(crate) unsafe fn queue(
        &mut self,
        direction: Direction,
        slot: SlotNo,
        token: u64,
    ) -> Result<(), QueueFull> {
        let op = self.ops.get_mut(token);
        op.bytes = op.frames.len() * PAGE;
        if !self.files.is_home(slot) {
            // SAFETY: the caller's contract.
            return unsafe { self.store.queue(direction, u64::from(slot.0), self.gather.pieces(), token) };
        }
        let Some(source) = self.files.sources.find_mut(slot) else { return Err(QueueFull) };
        let part = match direction {
            Direction::Read => source.part(slot, op.frames.len(), source.end),
            Direction::Write => source.part(slot, op.frames.len(), source.end_now()),
        };
        self.gather.shorten(op.bytes - part.bytes);
        op.bytes = part.bytes;
        let pieces = self.gather.pieces();
        match part.from {
            // SAFETY: the caller's contract; the source stays while a transfer uses it.
            From::File(file) => unsafe {
                self.store.queue_file(direction, file, part.offset, pieces, token)?;
            },
            From::Program(desk) => self.files.calls.post(&desk, op, part.offset, pieces, token)?,
        }
        source.under_way += 1;
        op.home = Some(slot);
        Ok(())
    }

    /// A transfer has ended that used a file.
    pub(crate) fn let_source_go(&mut self, home: SlotNo) {
        let Some(source) = self.files.sources.find_mut(home) else { return };
        source.under_way -= 1;
        if source.under_way == 0 && source.closing.is_some() {
            self.end_source(home);
        }
    }

    /// Forgets a source that no transfer uses.
    pub(crate) fn end_source(&mut self, home: SlotNo) {
        // What is dropped late must not be dropped from who has the addresses next.
        self.pool.drop_stale();
        let source = self.files.sources.remove(home);
        source.iter().for_each(|source| self.forget_lease(source));
        let ended = source.and_then(|source| source.closing);
        ended.into_iter().for_each(|ticket| ticket.end(Ok(())));
    }

    /// Whether what comes from there cannot change while it is in memory.
    pub(crate) fn is_read_only(&self, home: SlotNo) -> bool {
        self.files.sources.find(home).is_some_and(|source| source.sharing == Sharing::ReadOnly)
    }

    /// What a file's last page has past the end of the file is zero: the memory may have been
    /// used before.
    pub(crate) fn clear_tail(&self, token: u64) {
        let op = self.ops.get(token);
        let pages = op.frames.len() * PAGE;
        let place = op.frames.last().and_then(|frame| self.pool.place(*frame));
        if let Some(place) = place.filter(|_| op.bytes < pages) {
            let cleared = pages - op.bytes;
            let start = self.pool.address(place) + PAGE - cleared;
            // SAFETY: the place of the transfer, which has ended, so it is ours alone; fewer
            // bytes than a page are cleared, at its end.
            unsafe { core::ptr::write_bytes(start as *mut u8, 0, cleared) };
        }
    }

    /// A read of a file has failed. Pages that were read together are read again alone, so
    /// that one bad block costs one page; what nobody waits for is left at home.
    pub(crate) fn finish_failed_read(&mut self, pager: &mut Pager, token: u64, error: Errno) {
        let alone = self.ops.get(token).frames.len() == 1;
        for index in 0..self.ops.get(token).frames.len() {
            let frame = self.ops.get(token).frames[index];
            self.drop_place(frame);
            let page = pager.page_of(frame);
            let (slot, wanted) = match pager.state(page) {
                State::Filling { frame: own, slot, wanted } if own == frame => (slot, wanted),
                _ => {
                    let freed = pager.fill_done(frame, FillResult::Bad);
                    debug_assert_eq!(freed, Fill::Freed);
                    continue;
                }
            };
            if wanted && alone && !self.has_become_shorter(slot) {
                if pager.fill_done(frame, FillResult::Bad) == Fill::Poison(page) {
                    self.report_lost(page, slot, token, error);
                    self.poison(pager, page);
                }
                continue;
            }
            pager.fill_refused(frame);
            if wanted {
                self.defer(page);
            }
        }
    }

    /// Whether the file now ends inside of this page, and did not before: it can be read then.
    fn has_become_shorter(&mut self, home: SlotNo) -> bool {
        let Some(source) = self.files.sources.find_mut(home) else { return false };
        let end = source.origin.file().map(|file| rustix::fs::seek(&file.buffered, SeekFrom::End(0)));
        let Some(Ok(end)) = end else { return false };
        let offset = source.offset_of(home);
        let inside = offset < end && end < (offset + PAGE as u64).min(source.end);
        if inside {
            source.end = end;
        }
        inside
    }

    fn report_lost(&self, page: PageNo, home: SlotNo, token: u64, error: Errno) {
        let Some(source) = self.files.sources.find(home) else { return };
        let offset = source.offset_of(home);
        let file = match &source.origin {
            Origin::File(file) => file,
            Origin::Program(desk) => {
                let (name, page) = (desk.name(), offset / PAGE as u64);
                let cause = desk.failure(token).unwrap_or_else(|| error.to_string());
                return self.voice.say(&format!(
                    "page {page} of {name} (from byte {offset} on) cannot be had: {cause}. \
                     Touching it is a bus error (SIGBUS)."
                ));
            }
        };
        let ends = rustix::fs::seek(&file.buffered, SeekFrom::End(0)).unwrap_or(u64::MAX);
        let cause = if offset >= ends {
            format!("the file has become shorter: it ends at byte {ends}")
        } else {
            format!("reading failed ({error})")
        };
        self.voice.say(&format!(
            "the page at byte {offset} of a mapped file cannot be had: {cause}. \
             Touching it is a bus error (SIGBUS); it is page {:#x} of the pager's.",
            addr_of(page)
        ));
    }

    /// A write of a file has failed: what is dirty stays in memory until somebody flushes.
    pub(crate) fn note_failed_write(&mut self, home: SlotNo, token: u64, error: Errno) {
        let Some(source) = self.files.sources.find_mut(home) else { return };
        let first = source.latched.replace(error).is_none();
        let offset = source.offset_of(home);
        if let (true, Origin::Program(desk)) = (first, &source.origin) {
            let cause = desk.failure(token).unwrap_or_else(|| error.to_string());
            self.voice.say(&format!(
                "{} did not take back the bytes from {offset} on: {cause}. What is dirty stays in memory, \
                 where it may take more than the budget, until the map is flushed.",
                desk.name()
            ));
        } else if first {
            self.voice.say(&format!(
                "writing a mapped file at byte {offset} failed ({error}); what is dirty stays in memory, \
                 where it may take more than the budget, until the map is flushed."
            ));
        }
    }

    /// Why write-back to a page's home has stopped, if it has.
    pub(crate) fn latched(&self, slot: SlotNo) -> Option<Errno> {
        if !self.files.is_home(slot) {
            return None;
        }
        self.files.sources.find(slot).and_then(|source| source.latched)
    }

    /// Lets write-back be tried again where it had stopped.
    pub(crate) fn unlatch(&mut self, range: PageRange) -> Dirty {
        let mut dirty = Dirty::Never;
        self.files.sources.each(|source| {
            if source.pages.intersection(range).count > 0 {
                source.latched = None;
                if source.sharing == Sharing::Shared {
                    dirty = Dirty::Perhaps;
                }
            }
        });
        dirty
    }
}
