#![expect(unsafe_code, reason = "shares spans between threads, and clears and copies objects")]
//! The heap: which span an address belongs to, and the choice between small and large.

use crate::cache::ThreadCache;
use crate::class::{CLASSES, GEOMETRY, LARGEST_SMALL, QUANTUM, UNIT, aligned_class, class_of, class_size};
use crate::dirty::Dirty;
use crate::extents::Extents;
use crate::locked::Locked;
use crate::quick::QuickLists;
use crate::shelves::Shelves;
use crate::source::PageSource;
use crate::span::{Entry, Kind, LARGE_METADATA, SpanRef};
use core::ptr::{self, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

pub(crate) const PAGE: usize = 4096;
/// What a heap asks its source for.
const WANTED: usize = 1 << 40;
/// What every object is aligned to.
const ALIGN: usize = QUANTUM;
/// Free units that keep their pages: so many bytes, and while memory is not scarce one
/// part of so many of what is in use, and what is turned over.
const KEPT_BYTES: usize = 11 << 19;
const KEPT_PART: usize = 2;

/// Why a pointer was not freed. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// Outside this heap.
    Foreign,
    /// Inside it, but in no live span, or not where an object begins.
    NotAnObject,
    /// The object at this address is free already: the one that was passed, or one that
    /// this thread freed before, and somebody else too.
    AlreadyFree(usize),
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
    /// Bytes of free memory that keep their pages.
    pub kept_bytes: usize,
    /// Objects that are spans of their own.
    pub large_objects: usize,
    /// Their bytes, of those in use.
    pub large_bytes: usize,
}

/// How many objects of one class there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Bytes of each.
    pub size: usize,
    /// Spans that hold them.
    pub spans: usize,
    /// Objects that are handed out or in a thread's cache.
    pub used: usize,
    /// Objects that there is room for besides.
    pub free: usize,
}

/// An allocator over pages of `S`. Usable from any thread; made of atomics and locks
/// that need no initialisation, so that it can be a `static` that is used before `main`.
#[repr(C)]
pub struct Heap<S> {
    pub(crate) base: AtomicUsize,
    /// 0 until the region is reserved.
    pub(crate) len: AtomicUsize,
    /// What is known of each unit. A large object is entered with its first unit only.
    pub(crate) table: AtomicPtr<AtomicU64>,
    pub(crate) source: S,
    start: Locked<()>,
    pub(crate) extents: Locked<Extents>,
    pub(crate) dirty: Locked<Dirty>,
    pub(crate) quick: QuickLists,
    pub(crate) classes: [Locked<Shelves>; CLASSES],
    /// Of objects that have classes, and of their spans. Large ones are counted in `dirty`.
    pub(crate) in_use: AtomicUsize,
    pub(crate) spans: AtomicUsize,
    pub(crate) span_bytes: AtomicUsize,
    /// Of these, empty ones that their classes keep.
    pub(crate) empty_bytes: AtomicUsize,
    pub(crate) metadata: AtomicUsize,
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
            base: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            table: AtomicPtr::new(null_mut()),
            source,
            start: Locked::new(()),
            extents: Locked::new(Extents::none()),
            dirty: Locked::new(Dirty::new()),
            quick: QuickLists::new(),
            classes: [const { Locked::new(Shelves::new()) }; CLASSES],
            in_use: AtomicUsize::new(0),
            spans: AtomicUsize::new(0),
            span_bytes: AtomicUsize::new(0),
            empty_bytes: AtomicUsize::new(0),
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
            let table: &'static mut [u64] = vec![0; len / UNIT].leak();
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

    #[inline]
    fn unit(&self, addr: usize) -> &AtomicU64 {
        debug_assert!(self.owns(addr));
        // SAFETY: the table has an entry for every unit of the region and is never freed.
        unsafe { &*self.table.load(Ordering::Relaxed).add((addr - self.base.load(Ordering::Relaxed)) / UNIT) }
    }

    /// What the table says of the unit of an address within the region.
    #[inline]
    pub(crate) fn entry(&self, addr: usize) -> Entry {
        Entry(self.unit(addr).load(Ordering::Acquire))
    }

    /// The span that `addr` lies in; of a large one only the first unit is known.
    #[inline]
    pub(crate) fn span_of(&self, addr: usize) -> Result<SpanRef, FreeError> {
        if !self.owns(addr) {
            return Err(FreeError::Foreign);
        }
        // SAFETY: spans leave the table before they end, and end only when no object in
        // them is in use. The caller has one, or else passes a pointer that C does not
        // allow.
        unsafe { self.entry(addr).span() }.ok_or(FreeError::NotAnObject)
    }

    /// The class of the small object that is allocated at `addr`; none if none is.
    #[inline]
    fn class_at(&self, addr: usize) -> Option<usize> {
        let len = self.len.load(Ordering::Acquire);
        let offset = addr.wrapping_sub(self.base.load(Ordering::Relaxed));
        if offset >= len {
            return None;
        }
        // SAFETY: the table has an entry for every unit of the region and is never freed.
        let unit = unsafe { &*self.table.load(Ordering::Relaxed).add(offset / UNIT) };
        let entry = Entry(unit.load(Ordering::Acquire));
        let class = entry.class();
        if class >= CLASSES {
            return None;
        }
        let place = entry.place(addr)?;
        // SAFETY: as in `span_of`; it is one of the span's places.
        unsafe { entry.is_taken(place) }.then_some(class)
    }

    /// The address of `units` units, from a multiple of `align` units on, of which
    /// `bytes` are promised; zeros if asked for.
    pub(crate) fn carve(
        &self,
        units: usize,
        align: usize,
        bytes: usize,
        contents: Contents,
    ) -> Option<usize> {
        let attempt = || {
            if !self.source.promise(bytes) {
                return None;
            }
            let dirty = (contents == Contents::Any && align == 1)
                .then(|| {
                    self.dirty.with(|dirty| dirty.take_for_use(units)).or_else(|| self.lengthened(units))
                })
                .flatten();
            let first = dirty.or_else(|| {
                self.extents.with(|extents| {
                    let first = extents.take(units, align)?;
                    self.made_usable(extents, first, units).then_some(first)
                })
            });
            if first.is_none() {
                self.source.renounce(bytes);
            }
            first.map(|first| first * UNIT)
        };
        attempt().or_else(|| self.cool().then(attempt)?)
    }

    /// The longest run that keeps its pages, with units that follow it and have none.
    fn lengthened(&self, units: usize) -> Option<usize> {
        let (first, len) = self.dirty.with(Dirty::take_longest)?;
        let follows = len < units
            && self.extents.with(|extents| {
                extents.take_at(first + len, units - len)
                    && self.made_usable(extents, first + len, units - len)
            });
        if follows {
            return Some(first);
        }
        self.dirty.with(|dirty| dirty.keep(first, len));
        None
    }

    /// Takes exactly the `units` from `addr` on, if they are free; their bytes are any.
    pub(crate) fn carve_at(&self, addr: usize, units: usize) -> bool {
        let first = addr / UNIT;
        self.dirty.with(|dirty| dirty.take_at(first, units))
            || self
                .extents
                .with(|extents| extents.take_at(first, units) && self.made_usable(extents, first, units))
    }

    /// Units that have been taken are usable; else they are given back.
    fn made_usable(&self, extents: &mut Extents, first: usize, units: usize) -> bool {
        let usable = self.source.extend((first + units) * UNIT);
        if !usable {
            extents.give(first, units);
        }
        usable
    }

    /// Gives units back that read as zeros.
    pub(crate) fn uncarve(&self, addr: usize, units: usize) {
        if units > 0 {
            self.extents.with(|extents| extents.give(addr / UNIT, units));
        }
    }

    /// Gives units back that have been used. They keep their pages for a while.
    pub(crate) fn uncarve_used(&self, addr: usize, units: usize) {
        self.keep_by(|dirty| dirty.keep_used(addr / UNIT, units));
    }

    /// Has units kept, and drops the pages of those that are too many then.
    pub(crate) fn keep_by<R>(&self, keep: impl FnOnce(&mut Dirty) -> R) -> R {
        let scarce = self.source.is_scarce();
        let in_use = self.in_use.load(Ordering::Relaxed);
        let (result, most, mut excess, turned_over) = self.dirty.with(|dirty| {
            let result = keep(dirty);
            let in_use = in_use + dirty.large_bytes;
            let turned_over = dirty.turned_over();
            let more = if scarce { 0 } else { in_use / KEPT_PART / UNIT + turned_over };
            let most = KEPT_BYTES / UNIT + more;
            (result, most, dirty.take_excess(most), turned_over)
        });
        while let Some((first, units)) = excess {
            self.discard(first, units);
            excess = self.dirty.with(|dirty| dirty.take_excess(most));
        }
        if (scarce || turned_over == 0) && self.quick.close() {
            self.end_all_quick();
        }
        result
    }

    fn discard(&self, first: usize, units: usize) {
        self.source.discard(first * UNIT, units * UNIT);
        self.uncarve(first * UNIT, units);
    }

    /// Drops the pages of free units, and renounces what is promised and not needed;
    /// whether there was any.
    pub(crate) fn cool(&self) -> bool {
        let kept = self.end_all_quick();
        let spare = self.dirty.with(|dirty| dirty.return_promise(0, 0));
        if spare > 0 {
            self.source.renounce(spare);
        }
        let mut dropped = kept || spare > 0;
        while let Some((first, units)) = self.dirty.with(|dirty| dirty.take_excess(0)) {
            self.discard(first, units);
            dropped = true;
        }
        dropped
    }

    /// Enters a new span with `units` of its units.
    pub(crate) fn enter(&self, start: usize, kind: Kind, units: usize) -> SpanRef {
        let span = SpanRef::begin(start, kind);
        for unit in 0..units {
            self.unit(start + unit * UNIT).store(Entry::new(span, unit).0, Ordering::Release);
        }
        span
    }

    /// Takes the first `units` of a span out of the table; false if somebody else did.
    pub(crate) fn untell(&self, span: SpanRef, units: usize) -> bool {
        (0..units).all(|unit| {
            self.unit(span.start + unit * UNIT).swap(Entry::NONE.0, Ordering::AcqRel) != Entry::NONE.0
        })
    }

    /// Ends a span that nothing refers to any more. What becomes of its units is the caller's
    /// to say.
    pub(crate) fn end_span(&self, span: SpanRef) {
        // Who looks it up by an address looks at it under this lock.
        self.dirty.with(|_| ());
        // SAFETY: the caller holds the last reference.
        unsafe { span.end() };
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

    /// Bytes that may be used of the object at `addr`; none if none begins there. Whoever frees it meanwhile.
    pub fn usable_size(&self, addr: usize) -> Option<usize> {
        // A span that is in the table now ends after this lock: see `end_span`.
        // SAFETY: so it is there.
        self.dirty.with(|_| unsafe { self.usable_size_of(addr) })
    }

    /// The same at once.
    ///
    /// # Safety
    /// If an object begins there, or lay there, nobody frees it meanwhile.
    pub unsafe fn usable_size_of(&self, addr: usize) -> Option<usize> {
        if let Some(class) = self.class_at(addr) {
            return Some(class_size(class));
        }
        let span = self.span_of(addr).ok()?;
        match &span.kind {
            Kind::Small(_) => None,
            Kind::Large(large) => {
                let len = large.len.load(Ordering::Relaxed);
                // Kept whole, it is no object.
                (addr == span.start && len > 0).then_some(len)
            }
        }
    }

    /// Why there is no object at `addr`.
    fn diagnose(&self, addr: usize) -> FreeError {
        if !self.owns(addr) {
            return FreeError::Foreign;
        }
        let entry = self.entry(addr);
        match GEOMETRY.get(entry.class()) {
            Some(geometry) if geometry.is_start(entry.offset(addr)) => FreeError::AlreadyFree(addr),
            _ => FreeError::NotAnObject,
        }
    }

    /// Frees a small object into a cache that has room, as most calls do; false, and
    /// nothing has happened, if [`Self::free`] is needed, or the pointer is wrong.
    ///
    /// # Safety
    /// If it is an object, nobody uses it any more.
    #[inline]
    pub unsafe fn free_to(&self, cache: &mut ThreadCache, object: *mut u8) -> bool {
        let addr = object.addr();
        self.class_at(addr).is_some_and(|class| cache.push(class, addr))
    }

    /// Frees an object without touching it.
    ///
    /// # Errors
    /// See [`FreeError`]. An object in a thread's cache is taken for allocated: a double
    /// free of it is found at once if it was among the last freed of its size, else when
    /// the bin is full or both have been flushed.
    ///
    /// # Safety
    /// Nobody uses the object any more.
    #[inline]
    pub unsafe fn free(&self, cache: Option<&mut ThreadCache>, object: *mut u8) -> Result<(), FreeError> {
        let addr = object.addr();
        match (self.class_at(addr), cache) {
            (Some(class), Some(cache)) => {
                if cache.push(class, addr) {
                    return Ok(());
                }
                self.free_to_full(cache, class, addr)
            }
            (Some(class), None) => self.give_back(class, &[addr]),
            (None, _) => self.free_other(addr),
        }
    }

    #[cold]
    fn free_other(&self, addr: usize) -> Result<(), FreeError> {
        let span = self.span_of(addr)?;
        match &span.kind {
            Kind::Small(_) => Err(self.diagnose(addr)),
            Kind::Large(_) => self.free_large(span, addr),
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
        // SAFETY: the caller's, who has it.
        let old =
            unsafe { self.usable_size_of(object.addr()) }.ok_or_else(|| self.diagnose(object.addr()))?;
        if size > isize::MAX as usize {
            return Ok(null_mut());
        }
        let stays = match &span.kind {
            // Half empty is soon enough to move to a smaller class.
            Kind::Small(small) => size <= old && (size > old / 2 || class_of(size) == small.class),
            Kind::Large(large) => size > LARGEST_SMALL && self.resize_large(&span, large, size),
        };
        if stays {
            return Ok(object);
        }
        if matches!(span.kind, Kind::Large(_)) && size > old {
            return Ok(self.move_large(span, size).unwrap_or(null_mut()));
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
        let (objects, bytes, units) =
            self.dirty.with(|dirty| (dirty.large_objects, dirty.large_bytes, dirty.units()));
        // Others change these meanwhile.
        let (quick_objects, quick_units) = self.quick.count();
        let large_objects = objects.saturating_sub(quick_objects);
        let large_bytes = bytes.saturating_sub(self.quick.promised());
        HeapStats {
            in_use_bytes: self.in_use.load(Ordering::Relaxed) + large_bytes,
            spans: self.spans.load(Ordering::Relaxed) + large_objects,
            span_bytes: self.span_bytes.load(Ordering::Relaxed) + large_bytes,
            metadata_bytes: self.metadata.load(Ordering::Relaxed) + large_objects * LARGE_METADATA,
            kept_bytes: (units + quick_units) * UNIT,
            large_objects,
            large_bytes,
        }
    }

    /// Of the classes that have spans, in the order of their sizes. Each class is counted
    /// at an instant of its own.
    pub fn class_stats(&self) -> impl Iterator<Item = ClassStats> + '_ {
        let counts = self.classes.iter().map(|class| class.with(|shelves| (shelves.spans, shelves.used)));
        let classes = counts.zip(&GEOMETRY).map(|((spans, used), geometry)| ClassStats {
            size: geometry.size as usize,
            spans,
            used,
            free: spans * geometry.objects as usize - used,
        });
        classes.filter(|class| class.spans > 0)
    }

    /// Takes every lock, so that a fork finds the heap whole.
    pub fn lock_for_fork(&self) {
        self.start.lock_for_fork();
        self.classes.iter().for_each(Locked::lock_for_fork);
        self.dirty.lock_for_fork();
        self.extents.lock_for_fork();
    }

    /// Ends [`Self::lock_for_fork`], in parent and child.
    pub fn unlock_after_fork(&self) {
        self.extents.unlock_after_fork();
        self.dirty.unlock_after_fork();
        self.classes.iter().rev().for_each(Locked::unlock_after_fork);
        self.start.unlock_after_fork();
    }
}
