//! Size classes: steps of 16 bytes up to 128, then eight to each doubling, so that
//! rounding up wastes at most an eighth.

/// How many classes there are.
pub const CLASSES: usize = 72;
/// The largest size that has a class.
pub const LARGEST_SMALL: usize = 32 << 10;
/// Bytes in a unit, of which spans are made.
pub(crate) const UNIT: usize = 64 << 10;

/// The class of a size, which must be at most [`LARGEST_SMALL`].
pub fn class_of(size: usize) -> usize {
    if size <= 128 {
        return size.max(1).div_ceil(16) - 1;
    }
    let last = size - 1;
    let shift = last.ilog2() as usize - 3;
    8 + (shift - 4) * 8 + ((last >> shift) - 8)
}

/// The size of a class's objects.
pub fn class_size(class: usize) -> usize {
    if class < 8 {
        return (class + 1) * 16;
    }
    let (doubling, step) = ((class - 8) / 8, (class - 8) % 8);
    (step + 9) << (doubling + 4)
}

/// The class for a size at an alignment of at most 4096, if it has one.
pub(crate) fn aligned_class(size: usize, align: usize) -> Option<usize> {
    let least = size.max(align);
    if least > LARGEST_SMALL {
        return None;
    }
    (class_of(least)..CLASSES).find(|class| class_size(*class).is_multiple_of(align))
}

/// Units in a span of a class: room for eight objects at least.
pub(crate) fn span_units(class: usize) -> usize {
    if class_size(class) <= UNIT / 8 { 1 } else { 4 }
}

/// Objects that a thread keeps of a class: up to 32 KiB of them, two at least.
pub(crate) fn bin_limit(class: usize) -> usize {
    (LARGEST_SMALL / class_size(class)).clamp(2, super::cache::BIN)
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
    fn spans_hold_eight_objects() {
        for class in 0..CLASSES {
            assert!(span_units(class) * UNIT / class_size(class) >= 8);
        }
    }
}
