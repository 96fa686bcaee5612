//! Stacks in paged memory, for threads of a program's own making.

use crate::arena::ArenaError;
use crate::paging::{Paging, Range, RangeError};
use crate::resident::{self, ListedStacks, MOST_POOLS};
use engine::PAGE;
use std::sync::{Arc, Mutex, PoisonError};

/// Room for stacks of one size, for coroutines and other threads that the kernel does not
/// know. A stack takes a page of RAM when it is first used, grows by faults to its maximum,
/// and leaves RAM as other pages do when it is idle.
///
/// Below each stack lies a guard, which costs no mapping: a touch there is a bus error
/// (SIGBUS), with a message on standard error, and so is a touch of a page that is new to
/// the stack and lies wholly below the stack pointer by more than 128 bytes and what the kernel needs to call
/// a signal's handler (`AT_MINSIGSTKSZ`, some KiB).
///
/// ```
/// use outcore::Heap;
///
/// let heap = Heap::builder().budget(8 << 20).build()?;
/// let stacks = heap.stacks(1 << 20, 1000)?;
/// let stack = stacks.stack()?;
/// assert_eq!(stack.base() - stack.limit(), (1 << 20) + 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stacks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Before the range: whoever runs on it would be asked where it runs.
    _listed: ListedStacks,
    range: Range,
    /// Bytes of a stack with its guard.
    stride: usize,
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    /// Stacks from this on have never been used.
    fresh: usize,
    /// Others, by number; the one that was freed last is last.
    used: Vec<usize>,
}

/// A stack that nobody else runs on. Dropping it gives its pages back; its heap is there for as
/// long.
#[derive(Debug)]
pub struct Stack {
    stacks: Arc<Inner>,
    number: usize,
}

impl Stacks {
    pub(crate) fn new(paging: &Arc<Paging>, max: usize, count: usize) -> Result<Self, ArenaError> {
        if max == 0 || count == 0 {
            return Err(ArenaError::Empty);
        }
        let refused = |bytes: usize, cause: String| ArenaError::NoAddresses { bytes, cause };
        if !paging.instance().serves_system_calls() {
            let cause = "without access to /dev/userfaultfd the kernel cannot wait for a stack's pages";
            return Err(refused(max, cause.to_owned()));
        }
        let stride = max.checked_next_multiple_of(PAGE).and_then(|max| max.checked_add(PAGE));
        let len = stride.and_then(|stride| stride.checked_mul(count)).filter(|len| *len <= 1 << 46);
        let (Some(stride), Some(len)) = (stride, len) else {
            return Err(refused(max, "no address space is as large".to_owned()));
        };
        let of_range = |error: RangeError| match error {
            RangeError::Forked => ArenaError::Forked,
            other => refused(len, other.to_string()),
        };
        let range = Range::reserve(paging, len).map_err(of_range)?;
        range.make_stacks(stride).map_err(of_range)?;
        let listed = ListedStacks::new(range.addr(), len);
        let listed = listed
            .ok_or_else(|| refused(len, format!("{MOST_POOLS} ranges of stacks are there: drop some")))?;
        let free = Mutex::new(Free { fresh: 0, used: Vec::new() });
        Ok(Self { inner: Arc::new(Inner { _listed: listed, range, stride, free }) })
    }

    /// A stack.
    ///
    /// # Errors
    /// [`ArenaError::Full`] when all are in use, [`ArenaError::NoRoom`] when the store has no
    /// room to promise one more, [`ArenaError::Forked`].
    pub fn stack(&self) -> Result<Stack, ArenaError> {
        let inner = &*self.inner;
        let paging = inner.range.paging();
        if !paging.is_here() {
            return Err(ArenaError::Forked);
        }
        let bytes = inner.stride - PAGE;
        if !paging.promise(bytes) {
            return Err(ArenaError::NoRoom { bytes });
        }
        let count = inner.range.len() / inner.stride;
        let taken = resident::scope(|| {
            let mut free = inner.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.used.pop().or_else(|| {
                let number = free.fresh;
                (number < count).then(|| {
                    free.fresh += 1;
                    let guard = inner.range.addr() + number * inner.stride;
                    paging.instance().address_space().stack(guard + PAGE, bytes);
                    number
                })
            })
        });
        match taken {
            Some(number) => Ok(Stack { stacks: Arc::clone(&self.inner), number }),
            None => {
                paging.renounce(bytes);
                Err(ArenaError::Full { bytes })
            }
        }
    }
}

impl Stack {
    /// The address of its guard, below which it ends.
    pub fn limit(&self) -> usize {
        self.stacks.range.addr() + self.number * self.stacks.stride
    }

    /// Its highest address, exclusive: where it begins.
    pub fn base(&self) -> usize {
        self.limit() + self.stacks.stride
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let stacks = &*self.stacks;
        stacks.range.discard(self.limit() + PAGE, stacks.stride - PAGE);
        if stacks.range.paging().is_here() {
            stacks.range.paging().renounce(stacks.stride - PAGE);
            resident::scope(|| {
                let mut free = stacks.free.lock().unwrap_or_else(PoisonError::into_inner);
                free.used.push(self.number);
            });
        }
    }
}
