//! Arenas: pages by the range.

mod common;

use common::{BUDGET, MIB, PAGE, builder, heap};
use outcore::{Advice, Arena, ArenaError, Commit, Pages};
use proptest::prelude::*;

/// One call on an arena.
#[derive(Clone, Debug)]
enum Call {
    Alloc { pages: usize },
    Free { which: usize },
    Write { which: usize, page: usize, byte: u8 },
    Fill { which: usize, byte: u8 },
    Discard { which: usize, from: usize, pages: usize },
    Advise { which: usize, from: usize, pages: usize, cold: bool },
    Pin { which: usize, from: usize, pages: usize },
    Unpin { which: usize },
    Check { which: usize },
}

const ARENA: usize = 6144;

fn call() -> impl Strategy<Value = Call> {
    let which = 0..8usize;
    prop_oneof![
        4 => prop_oneof![1..40usize, 200..1800usize].prop_map(|pages| Call::Alloc { pages }),
        2 => which.clone().prop_map(|which| Call::Free { which }),
        4 => (which.clone(), 0..2000usize, any::<u8>())
            .prop_map(|(which, page, byte)| Call::Write { which, page, byte }),
        3 => (which.clone(), any::<u8>()).prop_map(|(which, byte)| Call::Fill { which, byte }),
        2 => (which.clone(), 0..2000usize, 1..600usize)
            .prop_map(|(which, from, pages)| Call::Discard { which, from, pages }),
        2 => (which.clone(), 0..2000usize, 1..600usize, any::<bool>())
            .prop_map(|(which, from, pages, cold)| Call::Advise { which, from, pages, cold }),
        1 => (which.clone(), 0..2000usize, 1..300usize)
            .prop_map(|(which, from, pages)| Call::Pin { which, from, pages }),
        1 => which.clone().prop_map(|which| Call::Unpin { which }),
        3 => which.prop_map(|which| Call::Check { which }),
    ]
}

/// Pages in use, and a byte for each of them: what all its bytes are.
struct Modelled<'a> {
    pages: Pages<'a>,
    bytes: Vec<u8>,
    pinned: bool,
}

impl Modelled<'_> {
    fn range(&self, from: usize, pages: usize) -> core::ops::Range<usize> {
        let from = from % self.bytes.len();
        from..(from + pages).min(self.bytes.len())
    }

    fn check(&self) {
        for (page, (found, byte)) in self.pages.chunks(PAGE).zip(&self.bytes).enumerate() {
            assert!(found.iter().all(|found| found == byte), "page {page} is not all {byte}");
        }
        let usage = self.pages.usage(..).expect("a range");
        let sum = usage.resident + usage.parked + usage.swapped + usage.untouched;
        assert_eq!((sum, usage.poisoned), (self.bytes.len() as u64, 0));
        let data = self.bytes.iter().filter(|byte| **byte != 0).count() as u64;
        assert!(sum - usage.untouched >= data, "{usage:?} of {data} pages with data");
    }
}

fn at<'u, 'a>(used: &'u mut [Modelled<'a>], which: usize) -> Option<&'u mut Modelled<'a>> {
    let count = used.len().max(1);
    used.get_mut(which % count)
}

fn run(arena: &Arena, calls: &[Call]) {
    let mut used: Vec<Modelled<'_>> = Vec::new();
    for call in calls {
        let count = used.len().max(1);
        match *call {
            Call::Alloc { pages } => match arena.alloc(pages * PAGE) {
                Ok(new) => {
                    let (start, end) = (new.addr(), new.addr() + new.len());
                    assert_eq!(end - start, pages * PAGE);
                    assert!(start >= arena.addr() && end <= arena.addr() + arena.len());
                    for other in &used {
                        let other = &other.pages;
                        assert!(end <= other.addr() || other.addr() + other.len() <= start, "overlap");
                    }
                    used.push(Modelled { pages: new, bytes: vec![0; pages], pinned: false });
                }
                Err(error) => {
                    assert_eq!(error, ArenaError::Full { bytes: pages * PAGE });
                    let held: usize = used.iter().map(|used| used.bytes.len()).sum();
                    assert!(held + pages > ARENA / 3, "{pages} pages refused beside {held}");
                }
            },
            Call::Free { which } if !used.is_empty() => drop(used.swap_remove(which % count)),
            Call::Write { which, page, byte } => {
                if let Some(one) = at(&mut used, which) {
                    let page = page % one.bytes.len();
                    one.pages[page * PAGE..(page + 1) * PAGE].fill(byte);
                    one.bytes[page] = byte;
                }
            }
            Call::Fill { which, byte } => {
                if let Some(one) = at(&mut used, which) {
                    one.pages.fill(byte);
                    one.bytes.fill(byte);
                }
            }
            Call::Discard { which, from, pages } => {
                if let Some(one) = at(&mut used, which) {
                    let range = one.range(from, pages);
                    one.pages.discard(range.start * PAGE..range.end * PAGE).expect("a range");
                    let usage = one.pages.usage(range.start * PAGE..range.end * PAGE).expect("a range");
                    assert_eq!(usage.untouched, range.len() as u64, "{usage:?}");
                    one.bytes[range].fill(0);
                }
            }
            Call::Advise { which, from, pages, cold } => {
                if let Some(one) = at(&mut used, which) {
                    let range = one.range(from, pages);
                    let range = range.start * PAGE..range.end * PAGE;
                    let advice = if cold { Advice::Cold } else { Advice::WillNeed };
                    one.pages.advise(range.clone(), advice).expect("a range");
                    let usage = one.pages.usage(range).expect("a range");
                    assert!(!cold || one.pinned || usage.resident == 0, "{usage:?} after being cooled");
                }
            }
            Call::Pin { which, from, pages } => {
                if let Some(one) = at(&mut used, which) {
                    let range = one.range(from, pages);
                    let bytes = range.len() * PAGE;
                    let range = range.start * PAGE..range.end * PAGE;
                    match one.pages.pin(range.clone()) {
                        Ok(()) => {
                            one.pinned = true;
                            let usage = one.pages.usage(range).expect("a range");
                            assert_eq!(usage.resident as usize * PAGE, bytes, "{usage:?} of what is pinned");
                        }
                        Err(error) => assert_eq!(error, ArenaError::TooMuchPinned { bytes }),
                    }
                }
            }
            Call::Unpin { which } => {
                if let Some(one) = at(&mut used, which) {
                    one.pages.unpin(..).expect("a range");
                    one.pinned = false;
                }
            }
            Call::Check { which } => at(&mut used, which).into_iter().for_each(|one| one.check()),
            Call::Free { .. } => {}
        }
    }
    used.iter().for_each(Modelled::check);
    drop(used);
    let usage = arena.usage();
    // Who fills memory in order gets zeroed pages beyond what is used, up to a window.
    assert!(usage.untouched + 256 >= ARENA as u64 && usage.swapped == 0, "{usage:?} when all is free");
    drop(arena.alloc(ARENA * PAGE).expect("free pages have grown together"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_what_a_plain_model_says(calls in proptest::collection::vec(call(), 1..60)) {
        let heap = heap();
        let arena = heap.arena(ARENA * PAGE).expect("an arena");
        run(&arena, &calls);
        drop(arena);
        prop_assert_eq!(heap.stats().pinned_bytes, 0);
        // What was being written keeps its place until it is.
        let start = std::time::Instant::now();
        while heap.stats().store_used_bytes > 0 {
            prop_assert!(start.elapsed().as_secs() < 20, "{}", heap.stats());
            std::thread::yield_now();
        }
    }
}

#[test]
fn pinned_pages_stay() {
    let heap = heap();
    let arena = heap.arena(64 * MIB).expect("an arena");
    let mut pages = arena.alloc(32 * MIB).expect("pages");
    pages.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    pages.pin(..2 * MIB).expect("a quarter of the budget");
    assert_eq!(heap.stats().pinned_bytes, 2 * MIB as u64);
    let before = heap.stats();
    for round in 2..4 {
        pages[2 * MIB..].iter_mut().step_by(PAGE).for_each(|byte| *byte = round);
        assert_eq!(pages.usage(..2 * MIB).map(|usage| usage.resident), Ok(512));
    }
    assert!(heap.stats().swap_outs > before.swap_outs + 6000);
    assert_eq!(pages.pin(MIB..8 * MIB), Err(ArenaError::TooMuchPinned { bytes: 7 * MIB }));
    assert_eq!(heap.stats().pinned_bytes, 2 * MIB as u64, "what was pinned before stays so");
    assert_eq!(pages.usage(..2 * MIB).map(|usage| usage.resident), Ok(512));
    pages.unpin(..).expect("a range");
    pages[2 * MIB..].iter_mut().step_by(PAGE).for_each(|byte| *byte = 9);
    assert!(pages.usage(..2 * MIB).expect("a range").resident < 512);
    assert!(pages[..2 * MIB].iter().step_by(PAGE).all(|byte| *byte == 1));
}

#[test]
fn cold_pages_leave_first() {
    let heap = heap();
    let arena = heap.arena(64 * MIB).expect("an arena");
    let mut hot = arena.alloc(2 * MIB).expect("pages");
    let mut cold = arena.alloc(2 * MIB).expect("pages");
    hot.fill(1);
    cold.fill(2);
    cold.advise(.., Advice::Cold).expect("a range");
    let usage = cold.usage(..).expect("a range");
    assert_eq!((usage.resident, usage.parked + usage.swapped), (0, 512));
    let mut rest = arena.alloc(5 * MIB).expect("pages");
    rest.fill(3);
    let (hot_now, cold_now) = (hot.usage(..).expect("a range"), cold.usage(..).expect("a range"));
    assert!(cold_now.swapped > hot_now.swapped, "{cold_now:?} {hot_now:?}");
    assert!(cold.iter().all(|byte| *byte == 2) && hot.iter().all(|byte| *byte == 1));
}

#[test]
fn mistakes_are_told() {
    let heap = builder().commit(Commit::Strict).store_size(16 * MIB as u64).build().expect("a heap");
    assert_eq!(heap.arena(0).map(|_| ()), Err(ArenaError::Empty));
    assert!(matches!(heap.arena(usize::MAX), Err(ArenaError::NoAddresses { .. })));
    assert!(matches!(heap.arena(1 << 60), Err(ArenaError::NoAddresses { .. })));
    let arena = heap.arena(32 * MIB).expect("an arena");
    assert_eq!(arena.alloc(0).map(|_| ()), Err(ArenaError::Empty));
    assert_eq!(arena.alloc(usize::MAX).map(|_| ()), Err(ArenaError::Full { bytes: usize::MAX }));
    let mut pages = arena.alloc(12 * MIB + 1).expect("pages");
    assert_eq!(pages.len(), 12 * MIB + PAGE);
    assert_eq!(arena.alloc(8 * MIB).map(|_| ()), Err(ArenaError::NoRoom { bytes: 8 * MIB }));
    drop(arena.alloc(3 * MIB).expect("there is room for less"));
    assert_eq!(pages.discard(1..PAGE), Err(ArenaError::NotPages { start: 1, end: PAGE }));
    let len = pages.len();
    let beyond = ArenaError::OutOfRange { start: 0, end: len + PAGE, len };
    assert_eq!(pages.usage(..len + PAGE), Err(beyond.clone()));
    assert_eq!(pages.advise(..len + PAGE, Advice::Cold), Err(beyond));
    assert_eq!(pages.discard(PAGE..PAGE), Ok(()));
    assert_eq!(pages.pin(..), Err(ArenaError::TooMuchPinned { bytes: len }));
    assert_eq!(heap.stats().pinned_bytes, 0);
    // Freeing makes room again.
    drop(pages);
    let mut all = arena.alloc(16 * MIB).expect("as much as the store has");
    all.fill(5);
    assert!(all.iter().all(|byte| *byte == 5));
    assert_eq!(heap.message(), None);
    assert!(BUDGET < all.len());
}
