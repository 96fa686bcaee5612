//! Spans: runs of units that hold the objects of one class, or one large object.

use crate::bitmap::Bitmap;
use crate::class::{UNIT, class_size, span_len};
use core::sync::atomic::{AtomicU32, AtomicUsize};

/// One run of units, from `start`.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) kind: Kind,
}

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
    pub(crate) objects: u32,
    /// 2^36 by the objects' size, rounded up.
    reciprocal: u64,
    pub(crate) used: AtomicU32,
    /// Its place on its shelf.
    pub(crate) place: AtomicU32,
    pub(crate) bitmap: Bitmap,
}

/// One object at the start. Only its user's calls change it.
#[derive(Debug)]
pub(crate) struct Large {
    /// A multiple of the page size.
    pub(crate) len: AtomicUsize,
    /// Room that the object may grow into included.
    pub(crate) units: AtomicUsize,
}

const RECIPROCAL_BITS: u32 = 36;
// With n < 2^20 the product's error, n / 2^36, stays below 1/size: the division is exact.
const _: () = assert!(8 * UNIT < 1 << 20 && crate::class::LARGEST_SMALL < 1 << 16);

impl Small {
    pub(crate) fn new(class: usize) -> Self {
        let objects = span_len(class) / class_size(class);
        Self {
            class,
            objects: objects as u32,
            reciprocal: (1 << RECIPROCAL_BITS) / class_size(class) as u64 + 1,
            used: AtomicU32::new(0),
            place: AtomicU32::new(0),
            bitmap: Bitmap::new(objects),
        }
    }

    /// The object that begins at `offset` in the span; none if none does.
    #[inline]
    pub(crate) fn object_at(&self, offset: usize) -> Option<usize> {
        let object = ((offset as u64 * self.reciprocal) >> RECIPROCAL_BITS) as usize;
        (object * class_size(self.class) == offset && object < self.objects as usize).then_some(object)
    }
}

impl Span {
    /// Bytes of metadata, the unit table's included.
    pub(crate) fn metadata_bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.kind {
                Kind::Small(small) => {
                    small.bitmap.bytes() + span_len(small.class) / UNIT * size_of::<usize>()
                }
                Kind::Large(_) => size_of::<usize>(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::CLASSES;

    #[test]
    fn only_starts_of_objects_are_objects() {
        for class in 0..CLASSES {
            let (small, size) = (Small::new(class), class_size(class));
            for offset in 0..span_len(class) {
                let expected =
                    (offset % size == 0 && offset + size <= span_len(class)).then_some(offset / size);
                assert_eq!(small.object_at(offset), expected, "offset {offset}, size {size}");
            }
        }
    }
}
