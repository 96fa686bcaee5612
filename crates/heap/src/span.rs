//! Spans: runs of units that hold the objects of one class, or one large object.

use crate::bitmap::Bitmap;
use crate::class::{UNIT, class_size, span_units};

/// What a span holds.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Objects of a class.
    Small {
        class: usize,
        objects: usize,
        used: usize,
        bitmap: Bitmap,
        /// Its place among the class's spans with room.
        position: Option<usize>,
    },
    /// One object of `len` bytes, a multiple of the page size.
    Large { addr: usize, len: usize },
}

#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) units: usize,
    pub(crate) kind: Kind,
}

impl Span {
    pub(crate) fn small(start: usize, class: usize) -> Self {
        let units = span_units(class);
        let objects = units * UNIT / class_size(class);
        let kind = Kind::Small { class, objects, used: 0, bitmap: Bitmap::new(objects), position: None };
        Self { start, units, kind }
    }

    /// Bytes that may be touched.
    pub(crate) fn promised(&self) -> usize {
        match self.kind {
            Kind::Small { .. } => self.units * UNIT,
            Kind::Large { len, .. } => len,
        }
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        let bitmap = match &self.kind {
            Kind::Small { bitmap, .. } => bitmap.bytes(),
            Kind::Large { .. } => 0,
        };
        size_of::<Self>() + bitmap + self.units * size_of::<usize>()
    }
}
