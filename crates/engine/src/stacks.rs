//! Stacks that grow by faults.
//!
//! A range is cut into stacks of one size, each with a page at its lower end that is no part
//! of it. That page is in no area, and takes no mapping of its own: a touch there, or one too
//! far below the stack pointer, is a bus error. So is a touch of a stack that nobody has.
//!
//! How far below: what the calling convention lets a function use there, and what the kernel
//! writes when it delivers a signal, which it does before it moves the stack pointer. (Linux
//! had such a rule for its own stacks until 4.20.)

use crate::core::{Live, addr_of, page_of};
use core::fmt::Write as _;
use pager::{PageNo, PageRange, Pager, State};
use rustix::fs::{Mode, OFlags};

/// What the x86-64 calling convention lets a function use below its stack pointer.
const RED_ZONE: usize = 128;

/// A range of stacks.
#[derive(Clone, Copy, Debug)]
struct Cut {
    range: PageRange,
    /// Pages of a stack with its guard.
    stride: u64,
}

/// All ranges of stacks, and pages that are to be bus errors as soon as the kernel allows.
#[derive(Debug)]
pub(crate) struct Stacks {
    cuts: Vec<Cut>,
    condemned: Vec<PageNo>,
    /// Bytes that may be touched below a stack pointer.
    reach: usize,
}

impl Stacks {
    pub(crate) fn new() -> Self {
        let reach = RED_ZONE + rustix::param::linux_minsigstksz();
        Self { cuts: Vec::new(), condemned: Vec::new(), reach }
    }

    /// Whether the page is of a range of stacks.
    pub(crate) fn has(&self, page: PageNo) -> bool {
        self.find(page).is_some()
    }

    pub(crate) fn add(&mut self, range: PageRange, stride: u64) {
        self.cuts.push(Cut { range, stride });
    }

    /// What is in `range` is gone.
    pub(crate) fn remove(&mut self, range: PageRange) {
        self.cuts.retain(|cut| cut.range.intersection(range).count < cut.range.count);
        self.forgive(range);
    }

    /// Stacks there are given back: what was touched too early may be touched.
    pub(crate) fn forgive(&mut self, range: PageRange) {
        self.condemned.retain(|page| !range.contains(*page));
    }

    fn find(&self, page: PageNo) -> Option<Cut> {
        self.cuts.iter().find(|cut| cut.range.contains(page)).copied()
    }
}

impl Live {
    /// Whether a touch by `thread` is outside of the stack that it should be in; then it is
    /// made a bus error.
    pub(crate) fn refuse_growth(&mut self, pager: &Pager, page: PageNo, thread: u32) -> bool {
        let Some(cut) = self.stacks.find(page) else { return false };
        let offset = (page.0 - cut.range.start.0) % cut.stride;
        let stack = PageRange { start: PageNo(page.0 - offset), count: cut.stride };
        let what = if offset == 0 {
            "overflows"
        } else if pager.area(page).is_none() {
            "is touched that nobody has,"
        } else if pager.state(page) == State::Untouched && self.is_below(page, stack, thread) {
            "is touched far below its stack pointer"
        } else {
            return false;
        };
        self.voice.say(&format!(
            "a stack {what} at {:#x}, in thread {thread}: a bus error (SIGBUS). Make its maximum larger, or what it holds smaller.",
            addr_of(page)
        ));
        self.stacks.condemned.push(page);
        self.condemn(pager, page);
        true
    }

    /// Whether `page` is to be a bus error, which it is then.
    pub(crate) fn condemn(&mut self, pager: &Pager, page: PageNo) -> bool {
        let Some(place) = self.stacks.condemned.iter().position(|condemned| *condemned == page) else {
            return false;
        };
        if self.poison(pager, page) {
            self.stacks.condemned.swap_remove(place);
        }
        true
    }

    /// Whether the whole page is below what the thread, which waits for it and runs on that
    /// stack, may touch. Others may prepare a stack; and where the kernel does not say, it is
    /// not so.
    fn is_below(&self, page: PageNo, stack: PageRange, thread: u32) -> bool {
        // A stack that holds nothing yet begins at its end.
        let runs_on = |pointer: usize| stack.contains(page_of(pointer.saturating_sub(1)));
        stack_pointer(thread)
            .filter(|pointer| runs_on(*pointer))
            .is_some_and(|pointer| page < page_of(pointer.saturating_sub(self.stacks.reach)))
    }
}

/// Of a thread of this process that is waiting: the last but one number of
/// `/proc/self/task/N/syscall`, see proc(5). Does not allocate.
fn stack_pointer(thread: u32) -> Option<usize> {
    let mut path = Path::default();
    write!(path, "/proc/self/task/{thread}/syscall").ok()?;
    let path = core::ffi::CStr::from_bytes_until_nul(&path.bytes).ok()?;
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0u8; 256];
    let read = rustix::io::read(&file, &mut text).ok()?;
    let text = core::str::from_utf8(&text[..read]).ok()?;
    let pointer = text.split_ascii_whitespace().rev().nth(1)?;
    usize::from_str_radix(pointer.strip_prefix("0x")?, 16).ok()
}

/// A path that ends with a zero byte.
struct Path {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Path {
    fn default() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }
}

impl core::fmt::Write for Path {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes[..63].get_mut(self.len..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
