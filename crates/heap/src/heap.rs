#![expect(unsafe_code, reason = "shares spans between threads under locks, and copies objects")]
//! The heap.

use crate::cache::ThreadCache;
use crate::class::{CLASSES, LARGEST_SMALL, UNIT, aligned_class, bin_limit, class_of, class_size};
use crate::extents::Extents;
use crate::source::PageSource;
use crate::span::{Kind, Span};
use core::cell::UnsafeCell;
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use sys::lock::Lock;

const PAGE: usize = 4096;
/// What a heap asks its source for.
const WANTED: usize = 1 << 40;
/// Reservations are aligned to this.
const BASE_ALIGN: usize = 2 << 20;
/// An object that had to move to grow gets this many times its size of address space,
/// so that it grows in place from then on.
const HEADROOM: usize = 4;

/// Why a pointer was not freed. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// Outside this heap.
    Foreign,
    /// Inside it, but in no live span, or not where an object begins.
    NotAnObject,
    /// The object is free already.
    AlreadyFree,
}

/// How large a heap is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Spans in use.
    pub spans: usize,
    /// Bytes of these that may be handed out.
    pub span_bytes: usize,
    /// Bytes of metadata about them.
    pub metadata_bytes: usize,
}

struct Locked<T> {
    lock: Lock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached under the lock only.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    const fn new(value: T) -> Self {
        Self { lock: Lock::new(), value: UnsafeCell::new(value) }
    }

    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: under the lock.
        self.lock.hold(|| work(unsafe { &mut *self.value.get() }))
    }
}

/// Spans of a class that have room.
struct Class {
    roomy: Vec<*mut Span>,
}

// SAFETY: spans are reached under their class's lock.
unsafe impl Send for Class {}

/// An allocator over pages of `S`. Usable from any thread; made of atomics and locks
/// that need no initialisation, so that it can be a `static` that is used before `main`.
pub struct Heap<S> {
    source: S,
    start: Lock,
    base: AtomicUsize,
    units: AtomicUsize,
    /// The span of each unit; null where there is none.
    table: AtomicPtr<AtomicUsize>,
    extents: Locked<Option<Extents>>,
    classes: [Locked<Class>; CLASSES],
    spans: AtomicUsize,
    span_bytes: AtomicUsize,
    metadata: AtomicUsize,
}

impl<S> core::fmt::Debug for Heap<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Heap({:?} spans)", self.spans)
    }
}

impl<S: PageSource> Heap<S> {
    /// A heap that reserves its memory at the first allocation.
    pub const fn new(source: S) -> Self {
        Self {
            source,
            start: Lock::new(),
            base: AtomicUsize::new(0),
            units: AtomicUsize::new(0),
            table: AtomicPtr::new(null_mut()),
            extents: Locked::new(None),
            classes: [const { Locked::new(Class { roomy: Vec::new() }) }; CLASSES],
            spans: AtomicUsize::new(0),
            span_bytes: AtomicUsize::new(0),
            metadata: AtomicUsize::new(0),
        }
    }

    /// Reserves the region, once; whether there is one.
    fn begin(&self) -> bool {
        if self.units.load(Ordering::Acquire) != 0 {
            return true;
        }
        self.start.hold(|| {
            if self.units.load(Ordering::Acquire) != 0 {
                return true;
            }
            let Some((base, len)) = self.source.reserve(WANTED) else { return false };
            let units = len / UNIT;
            let table: &'static mut [usize] = vec![0; units].leak();
            self.extents.with(|extents| *extents = Some(Extents::new(units)));
            self.table.store(table.as_mut_ptr().cast(), Ordering::Release);
            self.base.store(base, Ordering::Release);
            self.units.store(units, Ordering::Release);
            true
        })
    }

    fn unit_of(&self, addr: usize) -> Option<usize> {
        let unit = addr.checked_sub(self.base.load(Ordering::Acquire))? / UNIT;
        (unit < self.units.load(Ordering::Acquire)).then_some(unit)
    }

    fn entry(&self, unit: usize) -> &AtomicUsize {
        debug_assert!(unit < self.units.load(Ordering::Relaxed));
        // SAFETY: the table has an entry for every unit and is never freed.
        unsafe { &*self.table.load(Ordering::Acquire).add(unit) }
    }

    fn span_of(&self, addr: usize) -> Result<*mut Span, FreeError> {
        let unit = self.unit_of(addr).ok_or(FreeError::Foreign)?;
        let span = self.entry(unit).load(Ordering::Acquire) as *mut Span;
        if span.is_null() { Err(FreeError::NotAnObject) } else { Ok(span) }
    }

    /// Whether `addr` lies in the heap's region.
    pub fn owns(&self, addr: usize) -> bool {
        self.units.load(Ordering::Acquire) != 0 && self.unit_of(addr).is_some()
    }

    /// The region up to the highest address used so far: start, length.
    pub fn region(&self) -> (usize, usize) {
        let top = self.extents.with(|extents| extents.as_ref().map_or(0, Extents::top));
        (self.base.load(Ordering::Acquire), top * UNIT)
    }

    /// How large it is now.
    pub fn stats(&self) -> HeapStats {
        HeapStats {
            spans: self.spans.load(Ordering::Relaxed),
            span_bytes: self.span_bytes.load(Ordering::Relaxed),
            metadata_bytes: self.metadata.load(Ordering::Relaxed),
        }
    }

    /// `size` bytes at a multiple of `align`, a power of two; null when there are none.
    pub fn alloc(&self, cache: Option<&mut ThreadCache>, size: usize, align: usize) -> *mut u8 {
        if size > isize::MAX as usize || !self.begin() {
            return null_mut();
        }
        let class = match (size, align) {
            (..=LARGEST_SMALL, ..=16) => Some(class_of(size)),
            (_, ..=PAGE) => aligned_class(size, align),
            _ => None,
        };
        match class {
            Some(class) => self.alloc_small(cache, class),
            None => self.alloc_large(size, align, 1),
        }
    }

    /// As [`Self::alloc`], and all zero.
    pub fn alloc_zeroed(&self, cache: Option<&mut ThreadCache>, size: usize, align: usize) -> *mut u8 {
        let object = self.alloc(cache, size, align);
        // Large objects are made of pages that are zero.
        let small = !object.is_null() && self.usable_size(object).is_some_and(|size| size <= LARGEST_SMALL);
        if small {
            // SAFETY: the object has that many bytes.
            unsafe { ptr::write_bytes(object, 0, size) };
        }
        object
    }

    fn alloc_small(&self, cache: Option<&mut ThreadCache>, class: usize) -> *mut u8 {
        let Some(cache) = cache else {
            let mut one = [0];
            self.fill(class, &mut one);
            return one[0] as *mut u8;
        };
        let bin = &mut cache.bins[class];
        if bin.len == 0 {
            let wanted = bin_limit(class).div_ceil(2);
            bin.len = self.fill(class, &mut bin.objects[..wanted]);
            // The lowest address is handed out first.
            bin.objects[..bin.len].reverse();
            if bin.len == 0 {
                return null_mut();
            }
        }
        bin.len -= 1;
        bin.objects[bin.len] as *mut u8
    }

    /// Allocates objects of a class, as many as there are places for if memory
    /// allows; how many.
    fn fill(&self, class: usize, places: &mut [usize]) -> usize {
        let size = class_size(class);
        self.classes[class].with(|state| {
            for (filled, place) in places.iter_mut().enumerate() {
                let Some(span) = self.roomy_span(state, class) else { return filled };
                // SAFETY: under the class's lock.
                let span = unsafe { &mut *span };
                let Kind::Small { used, objects, bitmap, position, .. } = &mut span.kind else {
                    unreachable!("a class has small spans")
                };
                let Some(object) = bitmap.take() else { unreachable!("a roomy span has room") };
                *used += 1;
                if used == objects {
                    *position = None;
                    state.roomy.pop();
                }
                *place = span.start + object * size;
            }
            places.len()
        })
    }

    /// The last of the class's spans with room, or a new one.
    fn roomy_span(&self, state: &mut Class, class: usize) -> Option<*mut Span> {
        if let Some(span) = state.roomy.last() {
            return Some(*span);
        }
        let span = self.new_span(crate::class::span_units(class), 1, |start| Span::small(start, class))?;
        // SAFETY: new, and under the class's lock.
        if let Kind::Small { position, .. } = unsafe { &mut (*span).kind } {
            *position = Some(0);
        }
        state.roomy.push(span);
        Some(span)
    }

    /// A span of `units`, entered in the table.
    fn new_span(&self, units: usize, align: usize, make: impl FnOnce(usize) -> Span) -> Option<*mut Span> {
        let first = self.extents.with(|extents| extents.as_mut()?.take(units, align))?;
        let span = make(self.base.load(Ordering::Acquire) + first * UNIT);
        let bytes = span.promised();
        if !self.source.promise(bytes) {
            self.extents.with(|extents| extents.as_mut().map(|extents| extents.give(first, units)));
            return None;
        }
        self.spans.fetch_add(1, Ordering::Relaxed);
        self.span_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.metadata.fetch_add(span.metadata_bytes(), Ordering::Relaxed);
        let span = Box::into_raw(Box::new(span));
        (first..first + units).for_each(|unit| self.entry(unit).store(span as usize, Ordering::Release));
        Some(span)
    }

    /// Drops a span's pages and gives its units back.
    fn drop_span(&self, span: *mut Span) {
        // SAFETY: no object of the span is live and no class lists it, so this is
        // the only way to it.
        let span = unsafe { Box::from_raw(span) };
        let first = (span.start - self.base.load(Ordering::Acquire)) / UNIT;
        (first..first + span.units).for_each(|unit| self.entry(unit).store(0, Ordering::Release));
        let (start, bytes) = match span.kind {
            Kind::Small { .. } => (span.start, span.units * UNIT),
            Kind::Large { addr, len } => (addr, len),
        };
        self.source.discard(start, bytes);
        self.source.renounce(span.promised());
        self.spans.fetch_sub(1, Ordering::Relaxed);
        self.span_bytes.fetch_sub(span.promised(), Ordering::Relaxed);
        self.metadata.fetch_sub(span.metadata_bytes(), Ordering::Relaxed);
        self.extents.with(|extents| extents.as_mut().map(|extents| extents.give(first, span.units)));
    }

    fn alloc_large(&self, size: usize, align: usize, headroom: usize) -> *mut u8 {
        let make = || {
            let len = size.max(1).checked_next_multiple_of(PAGE)?;
            let over_align = if align > BASE_ALIGN { align } else { 0 };
            let bytes = len.checked_mul(headroom)?.checked_add(over_align)?;
            let align_units = (align.min(BASE_ALIGN) / UNIT).max(1);
            self.new_span(bytes.div_ceil(UNIT), align_units, |start| {
                let addr = start.next_multiple_of(align.max(UNIT));
                Span { start, units: bytes.div_ceil(UNIT), kind: Kind::Large { addr, len } }
            })
        };
        match make() {
            // SAFETY: just made, and not yet known to anybody else.
            Some(span) => match unsafe { &(*span).kind } {
                Kind::Large { addr, .. } => *addr as *mut u8,
                Kind::Small { .. } => unreachable!("made as a large span"),
            },
            None if headroom > 1 => self.alloc_large(size, align, 1),
            None => null_mut(),
        }
    }

    /// Bytes that may be used of an object; none if it is not one.
    pub fn usable_size(&self, object: *mut u8) -> Option<usize> {
        let span = self.span_of(object as usize).ok()?;
        // SAFETY: a live span; its class, and a large object's length, change only
        // through calls about this object.
        match unsafe { &(*span).kind } {
            Kind::Small { class, .. } => Some(class_size(*class)),
            Kind::Large { len, .. } => Some(*len),
        }
    }

    /// Frees an object without touching it.
    ///
    /// # Errors
    /// See [`FreeError`]. An object in some thread's cache is taken for allocated: a
    /// double free of it is found when the cache is flushed, or not at all.
    ///
    /// # Safety
    /// Nobody uses the object any more.
    pub unsafe fn free(&self, cache: Option<&mut ThreadCache>, object: *mut u8) -> Result<(), FreeError> {
        let addr = object as usize;
        let span = self.span_of(addr)?;
        // SAFETY: a live span; start and class never change.
        let (start, kind) = unsafe { ((*span).start, &(*span).kind) };
        let class = match kind {
            Kind::Small { class, .. } => *class,
            Kind::Large { addr: object, .. } if *object == addr => {
                self.drop_span(span);
                return Ok(());
            }
            Kind::Large { .. } => return Err(FreeError::NotAnObject),
        };
        if !(addr - start).is_multiple_of(class_size(class)) {
            return Err(FreeError::NotAnObject);
        }
        let Some(cache) = cache else { return self.give_back(class, &[addr]) };
        let bin = &mut cache.bins[class];
        if bin.len > 0 && bin.objects[bin.len - 1] == addr {
            return Err(FreeError::AlreadyFree);
        }
        let mut result = Ok(());
        let limit = bin_limit(class);
        if bin.len == limit {
            // The older half: what was freed last is likely to be in RAM.
            let older = limit.div_ceil(2);
            result = self.give_back(class, &bin.objects[..older]);
            bin.objects.copy_within(older..limit, 0);
            bin.len -= older;
        }
        bin.objects[bin.len] = addr;
        bin.len += 1;
        result
    }

    /// Returns objects of a class to their spans; spans that empty are dropped, but
    /// for the last with room.
    fn give_back(&self, class: usize, objects: &[usize]) -> Result<(), FreeError> {
        let mut result = Ok(());
        let mut empty: [*mut Span; crate::cache::BIN] = [null_mut(); crate::cache::BIN];
        let mut emptied = 0;
        self.classes[class].with(|state| {
            for addr in objects {
                match self.give_back_one(state, class, *addr) {
                    Ok(None) => {}
                    Ok(Some(span)) => {
                        empty[emptied] = span;
                        emptied += 1;
                    }
                    Err(error) => result = Err(error),
                }
            }
        });
        empty[..emptied].iter().for_each(|span| self.drop_span(*span));
        result
    }

    fn give_back_one(
        &self,
        state: &mut Class,
        class: usize,
        addr: usize,
    ) -> Result<Option<*mut Span>, FreeError> {
        let pointer = self.span_of(addr)?;
        // SAFETY: under the class's lock.
        let span = unsafe { &mut *pointer };
        let Kind::Small { used, bitmap, position, .. } = &mut span.kind else {
            return Err(FreeError::NotAnObject);
        };
        if !bitmap.free((addr - span.start) / class_size(class)) {
            return Err(FreeError::AlreadyFree);
        }
        *used -= 1;
        let index = *position.get_or_insert_with(|| {
            state.roomy.push(pointer);
            state.roomy.len() - 1
        });
        if *used > 0 || state.roomy.len() == 1 {
            return Ok(None);
        }
        state.roomy.swap_remove(index);
        if let Some(moved) = state.roomy.get(index) {
            // SAFETY: a span of this class, under its lock, and not the one above.
            if let Kind::Small { position, .. } = unsafe { &mut (**moved).kind } {
                *position = Some(index);
            }
        }
        Ok(Some(pointer))
    }

    /// Changes an object's size, in place where that is possible. Null, and the
    /// object is as before, when there is no memory.
    ///
    /// # Errors
    /// If `object` is not one.
    ///
    /// # Safety
    /// As [`Self::free`] for the old address, unless null is returned.
    pub unsafe fn realloc(
        &self,
        mut cache: Option<&mut ThreadCache>,
        object: *mut u8,
        size: usize,
    ) -> Result<*mut u8, FreeError> {
        let span = self.span_of(object as usize)?;
        if size > isize::MAX as usize {
            return Ok(null_mut());
        }
        // SAFETY: a live span; a large object's length is its user's, who is the caller.
        let (old, headroom) = match unsafe { &mut (*span).kind } {
            Kind::Small { class, .. } => {
                let old = class_size(*class);
                if size <= old && size > old / 2 {
                    return Ok(object);
                }
                (old, 1)
            }
            Kind::Large { addr, len } => {
                // SAFETY: as above.
                let end = unsafe { (*span).start + (*span).units * UNIT };
                if size > LARGEST_SMALL
                    && let Some(wanted) = size.checked_next_multiple_of(PAGE)
                    && wanted <= end - *addr
                    && self.resize_large(*addr, len, wanted)
                {
                    return Ok(object);
                }
                (*len, HEADROOM)
            }
        };
        let new = if size > LARGEST_SMALL && size > old {
            self.alloc_large(size, UNIT, headroom)
        } else {
            self.alloc(cache.as_deref_mut(), size, 16)
        };
        if !new.is_null() {
            // SAFETY: both objects have at least the smaller size.
            unsafe {
                ptr::copy_nonoverlapping(object, new, old.min(size));
                self.free(cache, object)?;
            }
        }
        Ok(new)
    }

    /// Sets a large object's length within its span; false when memory is refused.
    fn resize_large(&self, addr: usize, len: &mut usize, wanted: usize) -> bool {
        if wanted > *len {
            if !self.source.promise(wanted - *len) {
                return false;
            }
            self.span_bytes.fetch_add(wanted - *len, Ordering::Relaxed);
        } else if wanted < *len {
            self.source.discard(addr + wanted, *len - wanted);
            self.source.renounce(*len - wanted);
            self.span_bytes.fetch_sub(*len - wanted, Ordering::Relaxed);
        }
        *len = wanted;
        true
    }

    /// Returns everything that a thread kept to the heap.
    ///
    /// # Errors
    /// The last object that was freed twice.
    pub fn flush(&self, cache: &mut ThreadCache) -> Result<(), FreeError> {
        let mut result = Ok(());
        for (class, bin) in cache.bins.iter_mut().enumerate() {
            let len = core::mem::take(&mut bin.len);
            if len > 0 {
                result = self.give_back(class, &bin.objects[..len]).and(result);
            }
        }
        result
    }

    /// Takes every lock, so that a fork finds the heap whole.
    pub fn lock_for_fork(&self) {
        self.start.lock();
        self.classes.iter().for_each(|class| class.lock.lock());
        self.extents.lock.lock();
    }

    /// Ends [`Self::lock_for_fork`], in parent and child.
    pub fn unlock_after_fork(&self) {
        self.extents.lock.unlock();
        self.classes.iter().rev().for_each(|class| class.lock.unlock());
        self.start.unlock();
    }
}
