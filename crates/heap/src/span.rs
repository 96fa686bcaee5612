#![expect(unsafe_code, reason = "spans are followed in memory by their bits")]
//! Spans: runs of units that hold the objects of one class, or one large object.

use crate::bitmap::{Bitmap, is_set, words_for};
use crate::class::{CLASSES, GEOMETRY, Geometry, MOST_UNITS, QUANTUM, UNIT, span_len};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// One run of units, from `start`. In memory, the bits of a small one follow: a free
/// finds them from the span's address alone.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) kind: Kind,
}

const _: () = assert!(size_of::<Span>() == 64);

/// What it holds.
#[derive(Debug)]
pub(crate) enum Kind {
    Small(Small),
    Large(Large),
}

/// Objects of a class. What changes does so under the class's lock; it is atomic so
/// that spans can be shared.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) class: usize,
    pub(crate) used: AtomicU32,
    /// Its shelf, and its place there.
    pub(crate) shelf: AtomicU8,
    pub(crate) place: AtomicU32,
    hint: AtomicU32,
}

/// One object at the start. Only its user's calls change it.
#[derive(Debug)]
pub(crate) struct Large {
    /// A multiple of the page size.
    pub(crate) len: AtomicUsize,
    /// Room that the object may grow into included.
    pub(crate) units: AtomicUsize,
}

impl Small {
    pub(crate) fn new(class: usize) -> Self {
        let zero = || AtomicU32::new(0);
        Self { class, used: zero(), shelf: AtomicU8::new(0), place: zero(), hint: zero() }
    }

    pub(crate) fn geometry(&self) -> &'static Geometry {
        &GEOMETRY[self.class]
    }

    /// Words of bits: one bit for each place, also where there is no room for an object.
    fn words(&self) -> usize {
        words_for(span_len(self.class) >> self.geometry().shift())
    }
}

impl Kind {
    /// The span's bytes in memory, and its bits'.
    fn layout(&self) -> Layout {
        let words = match self {
            Self::Small(small) => small.words(),
            Self::Large(_) => 0,
        };
        let bits = Layout::array::<AtomicU64>(words).expect("a few words");
        // A multiple of the alignment of words is where they begin: right behind.
        Layout::new::<Span>().extend(bits).expect("a few words").0
    }
}

/// Bytes of metadata of a large object: its span, and its entry in the table.
pub(crate) const LARGE_METADATA: usize = size_of::<Span>() + size_of::<Entry>();

/// A span that has not ended. Not a reference: who ends a span may not hold one, and Rust
/// takes an argument for held until the function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanRef(NonNull<Span>);

// SAFETY: spans are shared between threads; what changes in them is atomic.
unsafe impl Send for SpanRef {}

impl core::ops::Deref for SpanRef {
    type Target = Span;

    fn deref(&self) -> &Span {
        // SAFETY: it has not ended: who ends it has the last of these.
        unsafe { self.0.as_ref() }
    }
}

impl SpanRef {
    /// A span in memory of its own, which [`Self::end`] gives back.
    pub(crate) fn begin(start: usize, kind: Kind) -> Self {
        let layout = kind.layout();
        // SAFETY: the layout is not empty and has a span at its start; what follows is
        // zero, as bits begin.
        unsafe {
            let Some(span) = NonNull::new(alloc_zeroed(layout).cast::<Span>()) else {
                handle_alloc_error(layout);
            };
            span.write(Span { start, kind });
            // Read again from the table, and where its bits are.
            _ = span.as_ptr().expose_provenance();
            Self(span)
        }
    }

    /// Gives its memory back.
    ///
    /// # Safety
    /// Nobody uses it any more.
    pub(crate) unsafe fn end(self) {
        let layout = self.kind.layout();
        // SAFETY: made by `begin` with this layout; the caller has the last of these.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) };
    }
}

impl Span {
    /// What it is, and which objects are allocated, if they are small.
    #[inline]
    pub(crate) fn small(&self) -> Option<(&Small, Bitmap<'_>)> {
        match &self.kind {
            Kind::Small(small) => {
                // SAFETY: a span of small objects is followed by that many words.
                let words = unsafe {
                    core::slice::from_raw_parts(first_word(ptr::from_ref(self).addr()), small.words())
                };
                let geometry = small.geometry();
                let (step, end) = (geometry.step(), geometry.objects as usize * geometry.step());
                Some((small, Bitmap { words, hint: &small.hint, step, end }))
            }
            Kind::Large(_) => None,
        }
    }

    /// Bytes of metadata, the unit table's included.
    pub(crate) fn metadata_bytes(&self) -> usize {
        match &self.kind {
            Kind::Small(small) => {
                self.kind.layout().size() + span_len(small.class) / UNIT * size_of::<Entry>()
            }
            Kind::Large(_) => LARGE_METADATA,
        }
    }
}

/// Where the bits begin of the span at this address.
fn first_word(span: usize) -> *const AtomicU64 {
    ptr::with_exposed_provenance(span + size_of::<Span>())
}

/// What the unit table says of a unit: the span's address in bits 0 to 47, of which the low six,
/// always 0, say how long a place is instead: 1 shifted by so much; the unit's number in the span
/// in bits 48 to 55; in bits 56 to 63 its class plus 1, [`LARGE`], or 0 if there is no span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

const ADDRESS_BITS: u32 = 48;
const KIND_BIT: u32 = 56;
const SHIFT_MASK: u64 = align_of::<Span>() as u64 - 1;
const _: () = assert!(SHIFT_MASK == 63, "shifts of 64 bits fit");
/// The kind of large objects' spans.
const LARGE: u64 = 0xff;
const _: () = assert!(CLASSES < LARGE as usize && MOST_UNITS < 1 << (KIND_BIT - ADDRESS_BITS));

impl Entry {
    pub(crate) const NONE: Self = Self(0);

    /// For the unit of this number of a span.
    pub(crate) fn new(span: SpanRef, unit: usize) -> Self {
        let (kind, shift) = match &span.kind {
            Kind::Small(small) => (small.class as u64 + 1, small.geometry().shift().into()),
            Kind::Large(_) => (LARGE, 0),
        };
        let address = span.0.addr().get() as u64;
        debug_assert!(address >> ADDRESS_BITS == 0 && address & SHIFT_MASK == 0 && unit < MOST_UNITS);
        Self(kind << KIND_BIT | (unit as u64) << ADDRESS_BITS | address | shift)
    }

    /// The class of small objects; something that is none otherwise.
    #[inline]
    pub(crate) fn class(self) -> usize {
        ((self.0 >> KIND_BIT) as usize).wrapping_sub(1)
    }

    /// The unit's number in its span.
    #[inline]
    pub(crate) fn unit(self) -> usize {
        (self.0 >> ADDRESS_BITS) as u8 as usize
    }

    /// How far behind the start of its span an address in the unit is.
    #[inline]
    pub(crate) fn offset(self, addr: usize) -> usize {
        self.unit() * UNIT + addr % UNIT
    }

    /// The place that begins at an address in the unit, whose span is of small objects.
    #[inline]
    pub(crate) fn place(self, addr: usize) -> Option<usize> {
        // What is behind the start of a place makes the number large.
        let place = self.offset(addr).rotate_right((self.0 & SHIFT_MASK) as u32);
        (place < MOST_UNITS * UNIT / QUANTUM).then_some(place)
    }

    #[inline]
    fn address(self) -> usize {
        (self.0 & ((1 << ADDRESS_BITS) - 1) & !SHIFT_MASK) as usize
    }

    /// The span, if there is one.
    ///
    /// # Safety
    /// It has not ended, and does not while the result is used.
    #[inline]
    pub(crate) unsafe fn span(self) -> Option<SpanRef> {
        NonNull::new(ptr::with_exposed_provenance_mut(self.address())).map(SpanRef)
    }

    /// Whether an object is allocated that begins at a place of the span.
    ///
    /// # Safety
    /// The span has not ended, is of small objects, and has this place.
    #[inline]
    pub(crate) unsafe fn is_taken(self, place: usize) -> bool {
        let words = first_word(self.address());
        // SAFETY: within the words that follow the span, by the caller's contract.
        let word = unsafe { &*words.add(place / 64) };
        is_set(word, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_their_span_and_entries_find_both() {
        for class in 0..CLASSES {
            let span = SpanRef::begin(7 << 20, Kind::Small(Small::new(class)));
            let (small, bitmap) = span.small().expect("small");
            let (Geometry { size, objects }, shift) = (small.geometry(), small.geometry().shift());
            let mut taken = Vec::new();
            bitmap.take(|place| {
                taken.push(place << shift);
                true
            });
            assert_eq!(
                taken,
                (0..*objects as usize).map(|object| object * *size as usize).collect::<Vec<_>>()
            );
            let last = taken.pop().expect("some");
            assert!(bitmap.free(last >> shift));
            for unit in 0..span_len(class) / UNIT {
                let entry = Entry::new(span, unit);
                assert_eq!((entry.class(), entry.offset(9 * UNIT + 5)), (class, unit * UNIT + 5));
                // SAFETY: it has not ended.
                assert_eq!(unsafe { entry.span() }, Some(span));
                let offsets = (0..UNIT).step_by(8).map(|offset| unit * UNIT + offset);
                let found = offsets.filter(|offset| {
                    // SAFETY: it has not ended, and the place is its own.
                    entry.place(offset % UNIT).is_some_and(|place| unsafe { entry.is_taken(place) })
                });
                let expected = taken.iter().filter(|offset| *offset / UNIT == unit);
                assert_eq!(found.collect::<Vec<_>>(), expected.copied().collect::<Vec<_>>());
            }
            // SAFETY: used by nobody.
            unsafe { span.end() };
        }
        // SAFETY: there is none.
        assert!(Entry::NONE.class() >= CLASSES && unsafe { Entry::NONE.span() }.is_none());
    }
}
