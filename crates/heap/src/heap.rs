#![expect(unsafe_code, reason = "shares spans between threads, and clears and copies objects")]
//! The heap: which span an address belongs to, and the choice between small and large.

use crate::cache::ThreadCache;
use crate::class::{CLASSES, LARGEST_SMALL, UNIT, aligned_class, class_of, class_size};
use crate::extents::Extents;
use crate::locked::Locked;
use crate::shelves::Shelves;
use crate::source::PageSource;
use crate::span::{Kind, Span};
use crate::warm::Warm;
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

pub(crate) const PAGE: usize = 4096;
/// What a heap asks its source for.
const WANTED: usize = 1 << 40;
/// What every object is aligned to.
const ALIGN: usize = 16;

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

/// What a new object's bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    Any,
    Zero,
}

/// How large a heap is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes of the objects that are handed out or in a thread's cache.
    pub in_use_bytes: usize,
    /// Spans in use or kept at hand.
    pub spans: usize,
    /// Bytes of these that may be touched, as promised by the source.
    pub span_bytes: usize,
    /// Bytes of metadata about them.
    pub metadata_bytes: usize,
}

/// An allocator over pages of `S`. Usable from any thread; made of atomics and locks
/// that need no initialisation, so that it can be a `static` that is used before `main`.
pub struct Heap<S> {
    pub(crate) source: S,
    pub(crate) base: AtomicUsize,
    /// 0 until the region is reserved.
    pub(crate) len: AtomicUsize,
    /// The span of each unit; null where there is none. A large object is entered
    /// with its first unit only.
    pub(crate) table: AtomicPtr<AtomicPtr<Span>>,
    start: Locked<()>,
    pub(crate) extents: Locked<Extents>,
    pub(crate) warm: Locked<Warm>,
    pub(crate) classes: [Locked<Shelves>; CLASSES],
    pub(crate) in_use: AtomicUsize,
    spans: AtomicUsize,
    pub(crate) span_bytes: AtomicUsize,
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
            base: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            table: AtomicPtr::new(null_mut()),
            start: Locked::new(()),
            extents: Locked::new(Extents::none()),
            warm: Locked::new(Warm::new()),
            classes: [const { Locked::new(Shelves::new()) }; CLASSES],
            in_use: AtomicUsize::new(0),
            spans: AtomicUsize::new(0),
            span_bytes: AtomicUsize::new(0),
            metadata: AtomicUsize::new(0),
        }
    }

    /// Reserves the region, once; whether there is one.
    #[inline]
    fn begin(&self) -> bool {
        self.len.load(Ordering::Acquire) != 0 || self.reserve()
    }

    #[cold]
    fn reserve(&self) -> bool {
        self.start.with(|()| {
            if self.len.load(Ordering::Acquire) != 0 {
                return true;
            }
            let Some((base, len)) = self.source.reserve(WANTED) else { return false };
            // Zeroed, and so resident only where there are spans.
            let table: &'static mut [usize] = vec![0; len / UNIT].leak();
            self.extents.with(|extents| *extents = Extents::new(base / UNIT, (base + len) / UNIT));
            self.table.store(table.as_mut_ptr().cast(), Ordering::Release);
            self.base.store(base, Ordering::Release);
            self.len.store(len, Ordering::Release);
            true
        })
    }

    /// Whether `addr` lies in the heap's region.
    #[inline]
    pub fn owns(&self, addr: usize) -> bool {
        let len = self.len.load(Ordering::Acquire);
        addr.wrapping_sub(self.base.load(Ordering::Relaxed)) < len
    }

    fn entry(&self, addr: usize) -> &AtomicPtr<Span> {
        debug_assert!(self.owns(addr));
        // SAFETY: the table has an entry for every unit of the region and is never freed.
        unsafe { &*self.table.load(Ordering::Relaxed).add((addr - self.base.load(Ordering::Relaxed)) / UNIT) }
    }

    /// The span that `addr` lies in; of a large one only the first unit is known.
    #[inline]
    pub(crate) fn span_of(&self, addr: usize) -> Result<&'static Span, FreeError> {
        if !self.owns(addr) {
            return Err(FreeError::Foreign);
        }
        let span = self.entry(addr).load(Ordering::Acquire);
        // SAFETY: null or a live span: spans leave the table before they are freed, and
        // are freed only when no object in them is in use. The caller has one, or else
        // passes a pointer that C does not allow.
        unsafe { span.as_ref() }.ok_or(FreeError::NotAnObject)
    }

    /// The address of `units` free units, from a multiple of `align` units on, of which
    /// `bytes` are promised.
    pub(crate) fn carve(&self, units: usize, align: usize, bytes: usize) -> Option<usize> {
        let attempt = || {
            if !self.source.promise(bytes) {
                return None;
            }
            let first = self.extents.with(|extents| {
                let first = extents.take(units, align)?;
                self.made_usable(extents, first, units).then_some(first)
            });
            if first.is_none() {
                self.source.renounce(bytes);
            }
            first.map(|first| first * UNIT)
        };
        attempt().or_else(|| self.cool().then(attempt)?)
    }

    /// Takes exactly the `units` from `addr` on, if they are free.
    pub(crate) fn carve_at(&self, addr: usize, units: usize) -> bool {
        let first = addr / UNIT;
        self.extents.with(|extents| extents.take_at(first, units) && self.made_usable(extents, first, units))
    }

    /// Units that have been taken are usable; else they are given back.
    fn made_usable(&self, extents: &mut Extents, first: usize, units: usize) -> bool {
        let usable = self.source.extend((first + units) * UNIT);
        if !usable {
            extents.give(first, units);
        }
        usable
    }

    /// Gives units back, whose contents have been discarded.
    pub(crate) fn uncarve(&self, addr: usize, units: usize) {
        self.extents.with(|extents| extents.give(addr / UNIT, units));
    }

    /// Enters a new span, of which `bytes` have been promised, with `units` of its units.
    pub(crate) fn enter(&self, span: Span, units: usize, bytes: usize) -> &'static Span {
        let span: &'static Span = Box::leak(Box::new(span));
        self.spans.fetch_add(1, Ordering::Relaxed);
        self.span_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.metadata.fetch_add(span.metadata_bytes(), Ordering::Relaxed);
        self.tell(span, units);
        span
    }

    /// Puts the first `units` of a span into the table.
    pub(crate) fn tell(&self, span: &'static Span, units: usize) {
        for unit in 0..units {
            self.entry(span.start + unit * UNIT).store(ptr::from_ref(span).cast_mut(), Ordering::Release);
        }
    }

    /// Takes them out; false if somebody else did.
    pub(crate) fn untell(&self, span: &'static Span, units: usize) -> bool {
        (0..units)
            .all(|unit| !self.entry(span.start + unit * UNIT).swap(null_mut(), Ordering::AcqRel).is_null())
    }

    /// Forgets a span that nothing refers to any more: drops the contents of its
    /// first `bytes`, all that were promised, and gives its `units` back.
    pub(crate) fn drop_span(&self, span: &'static Span, units: usize, bytes: usize) {
        self.source.discard(span.start, bytes);
        self.source.renounce(bytes);
        self.spans.fetch_sub(1, Ordering::Relaxed);
        self.span_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.metadata.fetch_sub(span.metadata_bytes(), Ordering::Relaxed);
        let start = span.start;
        // SAFETY: leaked by `enter`; the caller holds the last reference.
        drop(unsafe { Box::from_raw(ptr::from_ref(span).cast_mut()) });
        self.uncarve(start, units);
    }

    /// `size` bytes at a multiple of `align`, a power of two, and of 16; null when
    /// there are none.
    #[inline]
    pub fn alloc(&self, cache: Option<&mut ThreadCache>, size: usize, align: usize) -> *mut u8 {
        if size > LARGEST_SMALL || align > ALIGN {
            return self.alloc_unusual(cache, size, align, Contents::Any);
        }
        ptr::with_exposed_provenance_mut(self.alloc_class(cache, class_of(size)).unwrap_or(0))
    }

    #[inline]
    fn alloc_class(&self, cache: Option<&mut ThreadCache>, class: usize) -> Option<usize> {
        match cache {
            // Objects in a cache prove that the region is reserved.
            Some(cache) => cache.pop(class).or_else(|| {
                self.begin().then(|| self.refill(cache, class))?;
                cache.pop(class)
            }),
            None => self.begin().then(|| self.take_one(class))?,
        }
    }

    fn alloc_unusual(
        &self,
        cache: Option<&mut ThreadCache>,
        size: usize,
        align: usize,
        contents: Contents,
    ) -> *mut u8 {
        debug_assert!(align.is_power_of_two());
        if size > isize::MAX as usize {
            return null_mut();
        }
        let class = if align <= PAGE { aligned_class(size, align) } else { None };
        let Some(class) = class else {
            let addr = self.begin().then(|| self.alloc_large(size, align, contents)).flatten();
            return ptr::with_exposed_provenance_mut(addr.unwrap_or(0));
        };
        let object: *mut u8 = ptr::with_exposed_provenance_mut(self.alloc_class(cache, class).unwrap_or(0));
        if contents == Contents::Zero && !object.is_null() {
            // SAFETY: the object has that many bytes.
            unsafe { ptr::write_bytes(object, 0, size) };
        }
        object
    }

    /// As [`Self::alloc`], and all zero.
    pub fn alloc_zeroed(&self, cache: Option<&mut ThreadCache>, size: usize, align: usize) -> *mut u8 {
        self.alloc_unusual(cache, size, align, Contents::Zero)
    }

    /// Bytes that may be used of the object at `addr`; none if none begins there.
    pub fn usable_size(&self, addr: usize) -> Option<usize> {
        let span = self.span_of(addr).ok()?;
        match &span.kind {
            Kind::Small(small) => {
                let object = small.object_at(addr - span.start)?;
                small.bitmap.is_taken(object).then(|| class_size(small.class))
            }
            Kind::Large(large) => (addr == span.start).then(|| large.len.load(Ordering::Relaxed)),
        }
    }

    /// Frees an object without touching it.
    ///
    /// # Errors
    /// See [`FreeError`]. An object in a thread's cache is taken for allocated: a
    /// double free of it is found at once only if it was the last one freed, else when
    /// both have been flushed.
    ///
    /// # Safety
    /// Nobody uses the object any more.
    #[inline]
    pub unsafe fn free(&self, cache: Option<&mut ThreadCache>, object: *mut u8) -> Result<(), FreeError> {
        let addr = object.addr();
        let span = self.span_of(addr)?;
        match &span.kind {
            Kind::Small(small) => self.free_small(cache, span, small, addr),
            Kind::Large(large) => self.free_large(span, large, addr),
        }
    }

    /// Changes an object's size, in place where that is possible. Null, and the object
    /// is as before, when there is no memory.
    ///
    /// # Errors
    /// If `object` is not one: as [`Self::free`].
    ///
    /// # Safety
    /// As [`Self::free`] for the old address, unless null is returned.
    pub unsafe fn realloc(
        &self,
        mut cache: Option<&mut ThreadCache>,
        object: *mut u8,
        size: usize,
    ) -> Result<*mut u8, FreeError> {
        let span = self.span_of(object.addr())?;
        let old = self.usable_size(object.addr()).ok_or(match &span.kind {
            Kind::Small(small) if small.object_at(object.addr() - span.start).is_some() => {
                FreeError::AlreadyFree
            }
            _ => FreeError::NotAnObject,
        })?;
        if size > isize::MAX as usize {
            return Ok(null_mut());
        }
        let stays = match &span.kind {
            // Half empty is soon enough to move to a smaller class.
            Kind::Small(small) => size <= old && (size > old / 2 || class_of(size) == small.class),
            Kind::Large(large) => size > LARGEST_SMALL && self.resize_large(span, large, size),
        };
        if stays {
            return Ok(object);
        }
        let new = if size > LARGEST_SMALL && size > old {
            ptr::with_exposed_provenance_mut(self.alloc_with_headroom(size).unwrap_or(0))
        } else {
            self.alloc(cache.as_deref_mut(), size, ALIGN)
        };
        if new.is_null() {
            return Ok(if size <= old { object } else { new });
        }
        // SAFETY: both objects have at least the smaller size; the old one is the caller's
        // to give up.
        unsafe {
            ptr::copy_nonoverlapping(object, new, old.min(size));
            self.free(cache, object)?;
        }
        Ok(new)
    }

    /// Returns everything that a thread kept to the heap.
    ///
    /// # Errors
    /// The last object that was freed twice.
    pub fn flush(&self, cache: &mut ThreadCache) -> Result<(), FreeError> {
        let mut result = Ok(());
        for class in 0..CLASSES {
            let objects = cache.drain(class);
            if !objects.is_empty() {
                result = self.give_back(class, objects).and(result);
            }
        }
        result
    }

    /// The end of what has been used of the region; all after it is untouched.
    pub fn high_water(&self) -> usize {
        self.extents.with(|extents| extents.top() * UNIT)
    }

    /// How large it is now.
    pub fn stats(&self) -> HeapStats {
        HeapStats {
            in_use_bytes: self.in_use.load(Ordering::Relaxed),
            spans: self.spans.load(Ordering::Relaxed),
            span_bytes: self.span_bytes.load(Ordering::Relaxed),
            metadata_bytes: self.metadata.load(Ordering::Relaxed),
        }
    }

    /// Takes every lock, so that a fork finds the heap whole.
    pub fn lock_for_fork(&self) {
        self.start.lock_for_fork();
        self.classes.iter().for_each(Locked::lock_for_fork);
        self.warm.lock_for_fork();
        self.extents.lock_for_fork();
    }

    /// Ends [`Self::lock_for_fork`], in parent and child.
    pub fn unlock_after_fork(&self) {
        self.extents.unlock_after_fork();
        self.warm.unlock_after_fork();
        self.classes.iter().rev().for_each(Locked::unlock_after_fork);
        self.start.unlock_after_fork();
    }
}
