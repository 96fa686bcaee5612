//! Families of Rust types: handles own their values, and give back their blocks.

use heap::{AllocError, Anonymous, Families, Layout, Options, RegisterError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Debug)]
struct Counted<'a>(&'a AtomicUsize, u64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn heap() -> Families<Anonymous> {
    Families::new(Anonymous::new())
}

#[test]
fn values_are_dropped_once_and_their_blocks_freed() {
    let (heap, dropped) = (heap(), AtomicUsize::new(0));
    let family = heap.family::<Counted<'_>>("counted").expect("a new name");
    let one = family.alloc(Counted(&dropped, 7)).expect("memory");
    let many = family.alloc_slice_with(1000, |index| Counted(&dropped, index as u64)).expect("memory");
    assert_eq!((one.1, many.len(), many[999].1), (7, 1000, 999));
    assert_eq!(heap.locate(one.as_ptr().addr()).map(|found| found.family), Ok(family.id()));
    drop(one);
    assert_eq!(dropped.load(Relaxed), 1);
    drop(many);
    assert_eq!(dropped.load(Relaxed), 1001);
    let moved_out = family.alloc(Counted(&dropped, 8)).expect("memory").into_inner();
    assert_eq!((dropped.load(Relaxed), moved_out.1), (1001, 8));
    let stats = heap.stats(family.id()).expect("registered");
    assert_eq!((stats.blocks, stats.pages), (0, 0));
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn a_panic_in_the_middle_leaves_nothing_behind() {
    let (heap, dropped) = (heap(), AtomicUsize::new(0));
    let family = heap.family::<Counted<'_>>("counted").expect("a new name");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        family.alloc_slice_with(10, |index| {
            assert!(index < 6, "on purpose");
            Counted(&dropped, 0)
        })
    }));
    assert!(caught.is_err());
    let blocks = heap.stats(family.id()).expect("registered").blocks;
    assert_eq!((dropped.load(Relaxed), blocks), (6, 0));
    // A value whose drop panics still gives its block back.
    struct Fails;
    impl Drop for Fails {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "on purpose");
        }
    }
    #[expect(dead_code, reason = "gives the type a size")]
    struct FailsWithBytes(u32, Fails);
    let fails = heap.family::<FailsWithBytes>("fails").expect("a new name");
    let one = fails.alloc(FailsWithBytes(1, Fails)).expect("memory");
    assert!(catch_unwind(AssertUnwindSafe(|| drop(one))).is_err());
    assert_eq!(heap.stats(fails.id()).expect("registered").blocks, 0);
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn what_cannot_be_is_an_error() {
    let heap = heap();
    assert_eq!(heap.family::<()>("unit").map(|_| ()), Err(RegisterError::ZeroSize));
    let numbers = heap.family::<u64>("number").expect("a new name");
    assert!(matches!(heap.family::<u32>("number"), Err(RegisterError::Duplicate { .. })));
    assert!(matches!(numbers.alloc_slice(0), Err(AllocError::ZeroUnits)));
    assert!(matches!(numbers.alloc_slice(usize::MAX), Err(AllocError::Overflow { size: 8, .. })));
    assert!(matches!(numbers.alloc_slice(1 << 40), Err(AllocError::TooLarge { .. })));
    let slice = numbers.alloc_slice(100).expect("memory");
    assert!(slice.iter().all(|number| *number == 0));
}

#[test]
fn types_are_aligned() {
    #[derive(Clone, Copy)]
    #[repr(align(8192))]
    struct Pages(u8);
    let heap = heap();
    let pages = heap.family::<Pages>("pages").expect("a new name");
    let wide = heap.family::<u128>("wide").expect("a new name");
    let held: Vec<_> = (0..20u8)
        .map(|index| (pages.alloc(Pages(index)).expect("memory"), wide.alloc_slice(3).expect("memory")))
        .collect();
    for (index, (pages, wide)) in held.iter().enumerate() {
        assert!(pages.as_ptr().addr().is_multiple_of(8192) && usize::from(pages.0) == index);
        assert!(wide.as_ptr().addr().is_multiple_of(align_of::<u128>()));
    }
    let layout = Layout::InPage { page_size: 4096, meta_size: 28 };
    let heap = Families::with_options(Anonymous::new(), Options { layout, ..Options::default() });
    assert!(matches!(
        heap.expect("valid").family::<u64>("u64"),
        Err(RegisterError::Alignment { given: 4, .. })
    ));
}

#[test]
fn handles_go_to_other_threads() {
    let heap = heap();
    let family = heap.family::<String>("text").expect("a new name");
    let (sender, inbox) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let sender = sender.clone();
            scope.spawn(move || {
                for round in 0..500 {
                    let text = family.alloc(format!("{thread}-{round}")).expect("memory");
                    sender.send((thread, round, text)).expect("the receiver waits");
                }
            });
        }
        drop(sender);
        for (thread, round, text) in inbox {
            assert_eq!(*text, format!("{thread}-{round}"));
        }
    });
    assert_eq!(heap.stats(family.id()).expect("registered").blocks, 0);
}

/// A handle may hold what only its own thread may use, and borrow from outside.
#[test]
fn values_may_borrow() {
    let heap = heap();
    let family = heap.family::<(Rc<u32>, &str)>("pair").expect("a new name");
    let (count, text) = (Rc::new(7), String::from("borrowed"));
    let mut pair = family.alloc((Rc::clone(&count), &text)).expect("memory");
    pair.1 = &text[..6];
    assert_eq!((Rc::strong_count(&count), pair.1), (2, "borrow"));
    drop(pair);
    assert_eq!(Rc::strong_count(&count), 1);
}

#[test]
fn cached_objects_stay_constructed() {
    let (heap, dropped, made) = (heap(), AtomicUsize::new(0), AtomicUsize::new(0));
    let family = heap.family::<Counted<'_>>("counted").expect("a new name");
    let cache = family.cache(2, || {
        made.fetch_add(1, Relaxed);
        Counted(&dropped, 0)
    });
    let held = [0; 3].map(|_| cache.get().expect("memory"));
    assert_eq!((made.load(Relaxed), cache.ready()), (3, 0));
    drop(held);
    assert_eq!((cache.ready(), dropped.load(Relaxed)), (2, 1), "two are kept");
    for round in 0..10 {
        let mut object = cache.get().expect("memory");
        assert_eq!(object.1, round, "as it was left");
        object.1 += 1;
    }
    assert_eq!(made.load(Relaxed), 3);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _object = cache.get().expect("memory");
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    assert_eq!((cache.ready(), dropped.load(Relaxed)), (1, 2), "half-changed objects do not come back");
    assert_eq!((cache.shrink(), cache.ready(), dropped.load(Relaxed)), (1, 0, 3));
    drop(cache);
    assert_eq!(heap.stats(family.id()).expect("registered").blocks, 0);
}
