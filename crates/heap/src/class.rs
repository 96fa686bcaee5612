//! Size classes: steps of 16 bytes up to 128, then eight to each doubling, so that
//! rounding up wastes at most an eighth.

/// How many classes there are.
pub const CLASSES: usize = 72;
/// The largest size that has a class.
pub const LARGEST_SMALL: usize = 32 << 10;
/// Bytes in a unit, of which spans are made.
pub(crate) const UNIT: usize = 64 << 10;
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

/// The class of a size, which must be at most [`LARGEST_SMALL`].
#[inline]
pub fn class_of(size: usize) -> usize {
    if size <= 128 {
        return size.max(1).div_ceil(16) - 1;
    }
    let last = size - 1;
    let shift = last.ilog2() as usize - 3;
    8 + (shift - 4) * 8 + ((last >> shift) - 8)
}

/// The size of a class's objects.
#[inline]
pub const fn class_size(class: usize) -> usize {
    if class < 8 {
        return (class + 1) * 16;
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
            assert!(len / size >= LEAST_OBJECTS && len <= LEAST_OBJECTS * UNIT);
            assert!(len % size * TAIL <= len, "class of {size}: {} of {len} are waste", len % size);
        }
    }
}
