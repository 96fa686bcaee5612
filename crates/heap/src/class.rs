//! Size classes: steps of 16 bytes up to 128, then eight to each doubling, so that
//! rounding up wastes at most an eighth.

use core::ops::Range;

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

/// Where objects lie in their span. They begin at places, which are as long as the largest
/// power of two that divides their size: an object is 1, 3, 5 and so on to 15 places long, and
/// finding the place of an address takes no division.
#[derive(Debug)]
pub(crate) struct Geometry {
    pub(crate) size: u32,
    /// Of a span.
    pub(crate) objects: u32,
}

/// Of each class.
pub(crate) static GEOMETRY: [Geometry; CLASSES] = {
    let mut table = [const { Geometry { size: 0, objects: 0 } }; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        let size = class_size(class);
        table[class] =
            Geometry { size: size as u32, objects: (SPAN_UNITS[class] as usize * UNIT / size) as u32 };
        class += 1;
    }
    table
};

/// Places of the longest objects, in places.
pub(crate) const LONGEST_STEP: usize = 15;

impl Geometry {
    /// The length of a place is 1 shifted by this.
    pub(crate) fn shift(&self) -> u32 {
        self.size.trailing_zeros()
    }

    /// Places of an object.
    pub(crate) fn step(&self) -> usize {
        (self.size >> self.shift()) as usize
    }

    /// Whether an object begins at `offset` in a span.
    pub(crate) fn is_start(&self, offset: usize) -> bool {
        offset.is_multiple_of(self.size as usize) && offset / (self.size as usize) < self.objects as usize
    }

    /// The objects that have bytes in a part of a span, by the places where they begin.
    pub(crate) fn starts_of(&self, part: Range<usize>) -> impl Iterator<Item = usize> {
        let (size, step) = (self.size as usize, self.step());
        let end = part.end.div_ceil(size).min(self.objects as usize);
        (part.start / size..end).map(move |object| object * step)
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
            assert_eq!(geometry.step() << geometry.shift(), size);
            assert!(geometry.step() <= LONGEST_STEP && geometry.step() % 2 == 1);
            for offset in 0..span_len(class) {
                let expected = offset % size == 0 && offset + size <= span_len(class);
                assert_eq!(geometry.is_start(offset), expected, "offset {offset}, size {size}");
            }
        }
    }

    #[test]
    fn objects_with_bytes_in_a_page() {
        for (class, geometry) in GEOMETRY.iter().enumerate() {
            for start in (0..span_len(class)).step_by(4096) {
                let touches = |object: &usize| {
                    let first = object * class_size(class);
                    first < start + 4096 && first + class_size(class) > start
                };
                let objects = (0..geometry.objects as usize).filter(touches);
                let places: Vec<usize> = objects.map(|object| object * geometry.step()).collect();
                assert_eq!(geometry.starts_of(start..start + 4096).collect::<Vec<_>>(), places);
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
