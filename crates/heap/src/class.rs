//! Size classes: steps of 16 bytes up to 128, then eight to each doubling, so that
//! rounding up wastes at most an eighth.

/// How many classes there are.
pub const CLASSES: usize = 72;
/// The largest size that has a class.
pub const LARGEST_SMALL: usize = 32 << 10;
/// Bytes in a unit, of which spans are made.
pub(crate) const UNIT: usize = 64 << 10;
/// The longest span of small objects in units.
pub(crate) const MOST_UNITS: usize = 8;
/// A span has room for this many objects at least: when all but one are free, that
/// one holds back no more than the others' sizes.
const LEAST_OBJECTS: usize = 8;
/// At most one part in this many of a span is too short for another object.
const TAIL: usize = 32;

const SPAN_UNITS: [u8; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let size = class_size(class);
        let mut units: u8 = 1;
        while (units as usize * UNIT) / size < LEAST_OBJECTS
            || (units as usize * UNIT) % size * TAIL > units as usize * UNIT
        {
            units += 1;
        }
        table[class] = units;
        class += 1;
    }
    table
};

/// The class of each size in steps of 16 bytes: one look and no branch, as sizes of most
/// programs are hard to predict.
static CLASS_OF: [u8; LARGEST_SMALL / QUANTUM + 1] = {
    let mut table = [0; LARGEST_SMALL / QUANTUM + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if class_size(class) < step * QUANTUM {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

/// Sizes are rounded up to multiples of it at least: every object is aligned to it.
pub(crate) const QUANTUM: usize = 16;

/// The class of a size, which must be at most [`LARGEST_SMALL`].
#[inline]
pub fn class_of(size: usize) -> usize {
    CLASS_OF[size.div_ceil(QUANTUM)] as usize
}

/// What it takes to find the object that an address belongs to.
#[derive(Debug)]
pub(crate) struct Geometry {
    /// 2^36 by the objects' size, rounded up.
    reciprocal: u64,
    pub(crate) size: u32,
    /// Of a span.
    pub(crate) objects: u32,
}

const RECIPROCAL_BITS: u32 = 36;
// With n < 2^20 the product's error, n / 2^36, stays below 1/size: the division is exact.
const _: () = assert!(MOST_UNITS * UNIT < 1 << 20 && LARGEST_SMALL < 1 << 16);

/// Of each class.
pub(crate) static GEOMETRY: [Geometry; CLASSES] = {
    let mut table = [const { Geometry { reciprocal: 0, size: 0, objects: 0 } }; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let size = class_size(class);
        table[class] = Geometry {
            reciprocal: (1 << RECIPROCAL_BITS) / size as u64 + 1,
            size: size as u32,
            objects: (SPAN_UNITS[class] as usize * UNIT / size) as u32,
        };
        class += 1;
    }
    table
};

impl Geometry {
    /// The object that begins at `offset`, below 2^20, in a span; none if none does.
    #[inline]
    pub(crate) fn object_at(&self, offset: usize) -> Option<usize> {
        let object = self.object_around(offset);
        (object * self.size as usize == offset && object < self.objects as usize).then_some(object)
    }

    /// The object that `offset`, below 2^20, lies in; one too many if it lies behind all.
    #[inline]
    pub(crate) fn object_around(&self, offset: usize) -> usize {
        ((offset as u64 * self.reciprocal) >> RECIPROCAL_BITS) as usize
    }
}

/// The size of a class's objects.
#[inline]
pub const fn class_size(class: usize) -> usize {
    if class < 8 {
        return (class + 1) * QUANTUM;
    }
    let (doubling, step) = ((class - 8) / 8, (class - 8) % 8);
    (step + 9) << (doubling + 4)
}

/// The length of a class's spans in bytes.
pub fn span_len(class: usize) -> usize {
    SPAN_UNITS[class] as usize * UNIT
}

/// The class for a size at an alignment of at most a page, if it has one: spans begin
/// at multiples of a page, so objects of its size lie at multiples of the alignment.
pub(crate) fn aligned_class(size: usize, align: usize) -> Option<usize> {
    let least = size.max(align);
    if least > LARGEST_SMALL {
        return None;
    }
    (class_of(least)..CLASSES).find(|class| class_size(*class).is_multiple_of(align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_its_class_and_wastes_at_most_an_eighth() {
        for size in 1..=LARGEST_SMALL {
            let class = class_of(size);
            let rounded = class_size(class);
            assert!(rounded >= size, "{size} in a class of {rounded}");
            assert!(size <= 128 || (rounded - size) * 8 <= rounded, "{size} wastes {}", rounded - size);
            assert!(class == 0 || class_size(class - 1) < size);
        }
        assert_eq!(class_of(0), 0);
        assert_eq!(class_of(LARGEST_SMALL), CLASSES - 1);
    }

    /// What programs align blocks to is no waste of ours: a class has no room for a
    /// longer object that is a multiple of that.
    #[test]
    fn short_sizes_waste_alignment_only() {
        for size in 1..=LARGEST_SMALL {
            let (rounded, aligned) = (class_size(class_of(size)), size.next_multiple_of(QUANTUM));
            assert!((rounded - aligned) * 8 <= rounded, "{size} takes {rounded}");
        }
    }

    #[test]
    fn only_starts_of_objects_are_objects() {
        for (class, geometry) in GEOMETRY.iter().enumerate() {
            let size = class_size(class);
            for offset in 0..span_len(class) {
                let expected =
                    (offset % size == 0 && offset + size <= span_len(class)).then_some(offset / size);
                assert_eq!(geometry.object_at(offset), expected, "offset {offset}, size {size}");
                assert_eq!(geometry.object_around(offset), offset / size);
            }
        }
    }

    #[test]
    fn alignments_are_kept_by_classes() {
        for align in (4..=12).map(|bits| 1usize << bits) {
            for size in [1, 17, 100, 1000, 5000, 20_000] {
                let class = aligned_class(size, align).expect("a class");
                assert!(class_size(class).is_multiple_of(align) && class_size(class) >= size);
            }
        }
    }

    #[test]
    fn spans_hold_eight_objects_and_waste_little() {
        for class in 0..CLASSES {
            let (len, size) = (span_len(class), class_size(class));
            assert!(len / size >= LEAST_OBJECTS && len <= MOST_UNITS * UNIT);
            assert!(len % size * TAIL <= len, "class of {size}: {} of {len} are waste", len % size);
        }
    }
}
