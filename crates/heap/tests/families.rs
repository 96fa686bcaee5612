#![expect(unsafe_code, reason = "drives an allocator")]
//! What a heap of families promises, one law each.

#[path = "common/mapping.rs"]
mod mapping;

use heap::{
    AllocError, Anonymous, BadFree, BlockState, Choice, Families, FamiliesReport, FamilyId, FamilyStats,
    Json, Layout, Options, OptionsError, PageSource, RegisterError, UsageReport, Violation,
};
use mapping::Mapping;
use rustix::mm::{MprotectFlags, mprotect};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn heap() -> Families<Anonymous> {
    Families::new(Anonymous::new())
}

fn textbook(page_size: usize, meta_size: usize) -> Families<Anonymous> {
    let options = Options { layout: Layout::InPage { page_size, meta_size }, ..Options::default() };
    Families::with_options(Anonymous::new(), options).expect("a textbook's sizes")
}

/// All kinds of heaps there are.
fn all_heaps() -> Vec<Families<Anonymous>> {
    let pages = [(4096, 28), (4096, 48), (8192, 28), (8192, 48)];
    let layouts = pages.map(|(page_size, meta_size)| Layout::InPage { page_size, meta_size });
    let layouts = [Layout::Outside].into_iter().chain(layouts);
    let options = layouts
        .flat_map(|layout| [Choice::MostRoom, Choice::BestFit].map(|choice| Options { layout, choice }));
    options.map(|options| Families::with_options(Anonymous::new(), options).expect("valid")).collect()
}

fn stats<S: PageSource>(heap: &Families<S>, family: FamilyId) -> FamilyStats {
    assert_eq!(heap.check(), Ok(()));
    heap.stats(family).expect("a family of this heap")
}

/// Frees a block that is used by nobody.
fn free<S: PageSource>(heap: &Families<S>, block: NonNull<u8>) {
    // SAFETY: the tests below free what they have, and use it no more.
    unsafe { heap.free(block.as_ptr()) }.expect("a used block");
}

fn shape(heap: &Families<Anonymous>, family: FamilyId) -> (usize, usize, usize, usize) {
    let stats = stats(heap, family);
    (stats.blocks, stats.free_blocks, stats.used_blocks, stats.used_bytes)
}

/// The offsets, sizes and states of the blocks of a family with one page.
fn blocks<S: PageSource>(heap: &Families<S>, family: FamilyId) -> Vec<(usize, usize, BlockState)> {
    assert_eq!(heap.check(), Ok(()));
    let walk = heap.walk(family).expect("a family of this heap");
    assert_eq!(walk.pages.len(), 1);
    walk.pages[0].blocks.iter().map(|block| (block.offset, block.size, block.state)).collect()
}

use BlockState::{Free, Used};

#[test]
fn names_and_sizes_are_checked() {
    let heap = heap();
    let long = "n".repeat(255);
    let emp = heap.register("emp", 36).expect("a new name");
    assert!(heap.register(&long, 1).is_ok() && heap.find("emp") == Some(emp) && heap.find("none").is_none());
    let largest = Layout::Outside.largest_span();
    for (name, size, expected) in [
        ("", 1, RegisterError::EmptyName),
        (&"n".repeat(256), 1, RegisterError::LongName { bytes: 256 }),
        ("emp", 40, RegisterError::Duplicate { name: "emp".into() }),
        ("bytes", 1, RegisterError::Duplicate { name: "bytes".into() }),
        ("zero", 0, RegisterError::ZeroSize),
        ("large", largest + 1, RegisterError::TooLarge { size: largest + 1, largest }),
        ("huge", usize::MAX, RegisterError::TooLarge { size: usize::MAX, largest }),
    ] {
        assert_eq!(heap.register(name, size), Err(expected), "{name:?} of {size}");
    }
    for (size, align) in [(36, 3), (36, 8), (36, 0)] {
        let expected = RegisterError::NotAnAlignment { align, size };
        assert_eq!(heap.register_aligned("odd", size, align), Err(expected));
    }
    assert!(heap.register("largest", largest).is_ok());
    let names: Vec<Box<str>> = heap.registered().into_iter().map(|family| family.name).collect();
    assert_eq!(
        names,
        ["bytes".into(), "emp".into(), long.into(), "largest".into()],
        "what failed left nothing"
    );
    assert_eq!(
        RegisterError::LongName { bytes: 256 }.to_string(),
        "the family's name has 256 bytes: give it at most 255"
    );
}

#[test]
fn there_is_no_limit_on_the_number_of_families() {
    let heap = heap();
    let families: Vec<FamilyId> = (0..20_000)
        .map(|number| heap.register(&format!("family {number}"), 1 + number % 500).expect("a new name"))
        .collect();
    for (number, family) in families.iter().enumerate() {
        assert_eq!(heap.find(&format!("family {number}")), Some(*family));
        assert_eq!(heap.info(*family).expect("registered").size, 1 + number % 500);
    }
    let last = heap.calloc(*families.last().expect("some"), 3).expect("memory");
    assert_eq!(heap.locate(last.as_ptr().addr()).map(|found| found.family), Ok(families[19_999]));
    free(&heap, last);
}

#[test]
fn sizes_of_the_textbook_layout_are_checked() {
    for (page_size, meta_size, expected) in [
        (4095, 28, OptionsError::PageSize { page_size: 4095 }),
        (16384, 28, OptionsError::PageSize { page_size: 16384 }),
        (4096, 0, OptionsError::MetaSize { meta_size: 0 }),
        (8192, 32, OptionsError::MetaSize { meta_size: 32 }),
    ] {
        let options = Options { layout: Layout::InPage { page_size, meta_size }, ..Options::default() };
        let made = Families::with_options(Anonymous::new(), options);
        assert_eq!(made.map(|_| ()), Err(expected));
    }
}

#[test]
fn alignment_that_the_textbook_cannot_give_is_refused() {
    let narrow = textbook(4096, 28);
    let refused = |size, align, given| RegisterError::Alignment { align, given, meta_size: 28, size };
    assert_eq!(narrow.register("student", 56), Err(refused(56, 8, 4)));
    assert_eq!(narrow.register_aligned("line", 64, 64), Err(refused(64, 64, 4)));
    assert_eq!(narrow.family::<u64>("u64").map(|_| ()), Err(refused(8, 8, 4)));
    let text = narrow.register_aligned("text", 56, 1).expect("bytes may lie anywhere");
    let emp = narrow.register("emp", 36).expect("36 bytes need 4");
    let wide = textbook(4096, 48);
    let student = wide.register("student", 56).expect("48 and 56 are multiples of 8");
    assert!(wide.register_aligned("line", 64, 32).is_err());
    for (heap, family, align) in [(&narrow, text, 1), (&narrow, emp, 4), (&wide, student, 8)] {
        for units in 1..40 {
            let block = heap.calloc(family, units).expect("memory");
            assert!(block.as_ptr().addr().is_multiple_of(align), "{units} units");
        }
    }
}

#[test]
fn requests_are_checked() {
    let (heap, other) = (heap(), heap());
    let emp = heap.register("emp", 36).expect("a new name");
    let units = usize::MAX / 36 + 1;
    let largest = Layout::Outside.largest_span();
    for _ in 0..10 {
        let block = heap.calloc(emp, 1).expect("memory");
        for (units, expected) in [
            (0, AllocError::ZeroUnits),
            (units, AllocError::Overflow { units, size: 36 }),
            (usize::MAX, AllocError::Overflow { units: usize::MAX, size: 36 }),
            (largest / 36 + 1, AllocError::TooLarge { bytes: (largest / 36 + 1) * 36, largest }),
        ] {
            assert_eq!((heap.calloc(emp, units), heap.alloc(emp, units)), (Err(expected), Err(expected)));
        }
        assert_eq!(other.calloc(emp, 1), Err(AllocError::UnknownFamily));
        assert_eq!(shape(&heap, emp), (2, 1, 1, 36));
        free(&heap, block);
    }
    assert_eq!(
        AllocError::Overflow { units: 3, size: 4 }.to_string(),
        "3 units of 4 bytes are more bytes than can be counted"
    );
}

/// The numbers of the textbook: three employees and two students.
#[test]
fn employees_and_students() {
    let heap = textbook(4096, 48);
    let emp = heap.register("emp", 36).expect("a new name");
    let student = heap.register("student", 56).expect("a new name");
    let emps = [0; 3].map(|_| heap.calloc(emp, 1).expect("memory"));
    let students = [0; 2].map(|_| heap.calloc(student, 1).expect("memory"));
    assert_eq!((shape(&heap, emp), shape(&heap, student)), ((4, 1, 3, 252), (3, 1, 2, 208)));
    free(&heap, emps[0]);
    free(&heap, emps[2]);
    free(&heap, students[1]);
    assert_eq!((shape(&heap, emp), shape(&heap, student)), ((3, 2, 1, 84), (2, 1, 1, 104)));
    free(&heap, emps[1]);
    free(&heap, students[0]);
    for family in [emp, student] {
        let stats = stats(&heap, family);
        assert_eq!((shape(&heap, family), stats.pages, stats.page_bytes), ((0, 0, 0, 0), 0, 0));
    }
}

#[test]
fn sixty_four_objects_of_36_bytes_fill_a_textbook_page() {
    let heap = textbook(4096, 28);
    let emp = heap.register("emp", 36).expect("a new name");
    let first = heap.calloc(emp, 1).expect("memory");
    free(&heap, first);
    let whole = heap.calloc(emp, 113).expect("4068 = 113 * 36");
    assert_eq!(blocks(&heap, emp), [(0, 4068, Used)]);
    free(&heap, whole);
    for count in 1..=64usize {
        heap.calloc(emp, 1).expect("memory");
        let expected = (count < 64).then(|| (count * 64, 4096 - count * 64 - 28, Free));
        assert_eq!(blocks(&heap, emp)[count..], expected.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(stats(&heap, emp).pages, 1);
    heap.calloc(emp, 1).expect("memory");
    assert_eq!(stats(&heap, emp).pages, 2);
}

#[test]
fn all_bytes_of_a_page_are_blocks_when_meta_blocks_are_outside() {
    let heap = heap();
    let line = heap.register("line", 64).expect("a new name");
    for _ in 0..64 {
        heap.calloc(line, 1).expect("memory");
    }
    let stats = stats(&heap, line);
    assert_eq!((stats.pages, stats.used_bytes, stats.free_bytes, stats.blocks), (1, 4096, 0, 64));
}

#[test]
fn a_rest_is_nothing_hard_soft_or_free() {
    // Bytes, of which a page has 4068 behind its first meta block of 28 bytes.
    for (units, expected, hard, soft) in [
        (4068, vec![(0, 4068, Used)], 0, 0),
        (4067, vec![(0, 4067, Used)], 1, 0),
        (4041, vec![(0, 4041, Used)], 27, 0),
        // A free block would have no byte: it is not made.
        (4040, vec![(0, 4040, Used)], 28, 0),
        (4039, vec![(0, 4039, Used), (4067, 1, Free)], 0, 0),
    ] {
        let heap = textbook(4096, 28);
        let byte = heap.register("byte", 1).expect("a new name");
        let block = heap.calloc(byte, units).expect("memory");
        assert_eq!(blocks(&heap, byte), expected, "{units} units");
        let found = stats(&heap, byte);
        assert_eq!((found.hard_bytes, found.soft_bytes), (hard, soft), "{units} units");
        assert_eq!(found.internal_fragmentation(), hard + soft);
        free(&heap, block);
        assert_eq!(stats(&heap, byte).pages, 0, "hard fragmentation is given back");
    }
    // Objects of 100 bytes: a rest of up to 99 bytes of data fits none.
    let heap = textbook(4096, 28);
    let object = heap.register("object", 100).expect("a new name");
    heap.calloc(object, 39).expect("memory");
    assert_eq!(blocks(&heap, object), [(0, 3900, Used), (3928, 140, Free)], "room for one");
    heap.calloc(object, 1).expect("memory");
    assert_eq!(blocks(&heap, object)[1..], [(3928, 100, Used), (4056, 12, Free)]);
    assert_eq!((stats(&heap, object).soft_bytes, stats(&heap, object).hard_bytes), (40, 0));
    // Outside, there is no hard fragmentation.
    let heap = self::heap();
    let object = heap.register("object", 100).expect("a new name");
    heap.calloc(object, 40).expect("memory");
    assert_eq!(blocks(&heap, object), [(0, 4000, Used), (4000, 96, Free)]);
    let stats = stats(&heap, object);
    assert_eq!((stats.soft_bytes, stats.hard_bytes, stats.used_bytes, stats.free_bytes), (96, 0, 4000, 96));
}

/// Hard fragmentation in the middle of a page comes back with its own block.
#[test]
fn hard_fragmentation_is_taken_back_in_the_middle() {
    let heap = textbook(4096, 48);
    let emp = heap.register("emp", 36).expect("a new name");
    let [_, second, _] = [1, 2, 1].map(|units| heap.calloc(emp, units).expect("memory"));
    let rest = heap.calloc(emp, (4096 - 84 - 120 - 84 - 48) / 36).expect("memory");
    free(&heap, second);
    // 120 bytes are free, and 84 are wanted: the 36 left are too few for a meta block.
    heap.calloc(emp, 1).expect("memory");
    assert_eq!(blocks(&heap, emp)[1], (84, 36, Used));
    assert_eq!(stats(&heap, emp).hard_bytes, 36 + 16, "and the end of the page");
    let again = heap.walk(emp).expect("registered").pages[0].blocks[1];
    assert_eq!((again.hard, again.previous, again.next), (36, Some(0), Some(204)));
    assert_eq!(heap.usable_size(again.address), Some(36));
    free(&heap, NonNull::new(again.address as *mut u8).expect("an address"));
    assert_eq!(blocks(&heap, emp)[1], (84, 72, Free));
    free(&heap, rest);
    assert_eq!(stats(&heap, emp).hard_bytes, 0);
}

#[test]
fn a_freed_block_joins_its_free_neighbours() {
    for heap in all_heaps() {
        let emp = heap.register_aligned("emp", 36, 4).expect("a new name");
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [1, 2, 0, 3]] {
            let blocks = [1, 2, 3, 4].map(|units| heap.calloc(emp, units).expect("memory"));
            let mut used = 4;
            for which in order {
                free(&heap, blocks[which]);
                used -= 1;
                let stats = stats(&heap, emp);
                assert_eq!(stats.used_blocks, used);
                assert!(stats.free_blocks <= used + 1, "free blocks lie between used ones");
            }
            assert_eq!((stats(&heap, emp).pages, stats(&heap, emp).blocks), (0, 0));
        }
    }
}

#[test]
fn requests_come_from_the_block_with_the_most_room_or_the_best_fit() {
    for (choice, expected) in [(Choice::MostRoom, 30), (Choice::BestFit, 10)] {
        let heap = Families::with_options(Anonymous::new(), Options { choice, ..Options::default() });
        let heap = heap.expect("valid");
        let line = heap.register("line", 64).expect("a new name");
        // 64 lines: free runs of 5 at 10, of 20 at 30, of 4 at 60.
        let start = heap.calloc(line, 64).expect("memory");
        free(&heap, start);
        let parts: Vec<NonNull<u8>> =
            [10, 5, 15, 20, 10, 4].map(|units| heap.calloc(line, units).expect("memory")).into();
        assert_eq!(stats(&heap, line).free_blocks, 0);
        for part in [1, 3, 5] {
            free(&heap, parts[part]);
        }
        let got = heap.calloc(line, 5).expect("memory");
        assert_eq!(got.as_ptr().addr() - start.as_ptr().addr(), expected * 64, "{choice:?}");
        assert_eq!(stats(&heap, line).pages, 1);
        heap.calloc(line, 21).expect("memory");
        assert_eq!(stats(&heap, line).pages, 2, "no block had so much room");
    }
}

#[test]
fn zeroed_blocks_are_zero_and_others_need_not_be() {
    for heap in all_heaps() {
        let line = heap.register_aligned("line", 40, 4).expect("a new name");
        for units in [1usize, 7, 100, 500, 3000] {
            for _ in 0..3 {
                let block = heap.calloc(line, units).expect("memory");
                // SAFETY: the block has that many bytes; then it is used no more.
                unsafe {
                    let bytes = std::slice::from_raw_parts_mut(block.as_ptr(), units * 40);
                    assert!(bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(0xaa);
                    heap.free(block.as_ptr()).expect("used");
                }
            }
        }
        heap.calloc(line, 1).expect("memory");
        let block = heap.alloc(line, 1).expect("memory");
        // SAFETY: the bytes were written above: pages that are kept are not cleared.
        assert_eq!(unsafe { block.as_ptr().read() }, 0xaa);
    }
}

#[test]
fn blocks_larger_than_a_page_have_pages_in_a_row() {
    for heap in all_heaps() {
        let page = heap.options().layout.page_size();
        let meta = heap.options().layout.meta_size();
        let emp = heap.register_aligned("emp", 36, 4).expect("a new name");
        for units in [1000, 10_000, 1_000_000] {
            let block = heap.calloc(emp, units).expect("memory");
            let found = stats(&heap, emp);
            assert_eq!(found.pages, (units * 36 + meta).div_ceil(page));
            assert_eq!(found.used_bytes, units * 36 + meta);
            let address = block.as_ptr().addr();
            // SAFETY: the block has that many bytes.
            unsafe { block.as_ptr().add(units * 36 - 1).write(1) };
            for inside in [0, 1, page, units * 18, units * 36 - 1] {
                let found = heap.locate(address + inside).expect("held");
                assert_eq!((found.family, found.data, found.size), (emp, address, units * 36));
            }
            free(&heap, block);
            assert_eq!(stats(&heap, emp).pages, 0);
        }
    }
    let heap = heap();
    let large = heap.register("large", 3 * MIB + 5).expect("a new name");
    let block = heap.calloc(large, 2).expect("memory");
    free(&heap, block);
    let aligned = heap.register_aligned("aligned", 64 * KIB, 64 * KIB).expect("a new name");
    for _ in 0..3 {
        assert!(heap.calloc(aligned, 1).expect("memory").as_ptr().addr().is_multiple_of(64 * KIB));
    }
}

/// The longest blocks cost the pages that are touched, whatever their objects' size.
#[test]
fn a_block_of_gigabytes_costs_what_is_touched() {
    let heap = heap();
    let byte = heap.register("byte", 1).expect("a new name");
    let len = 8usize << 30;
    for _ in 0..2 {
        let block = heap.calloc(byte, len - 5).expect("addresses");
        let rest = heap.calloc(byte, 5).expect("the rest");
        assert_eq!(rest.as_ptr().addr(), block.as_ptr().addr() + len - 5);
        // SAFETY: within the block.
        unsafe {
            assert_eq!((block.read(), block.add(len - 6).read()), (0, 0));
            block.add(len / 2).write(1);
        }
        assert_eq!(heap.locate(block.as_ptr().addr() + len / 2).map(|found| found.size), Ok(len - 5));
        assert_eq!((stats(&heap, byte).pages, stats(&heap, byte).free_bytes), (len / 4096, 0));
        free(&heap, block);
        assert_eq!((stats(&heap, byte).used_blocks, stats(&heap, byte).free_blocks), (1, 1));
        free(&heap, rest);
    }
    assert_eq!(stats(&heap, byte).pages, 0);
}

#[test]
fn wrong_frees_are_refused_and_change_nothing() {
    for heap in all_heaps() {
        let meta = heap.options().layout.meta_size();
        let emp = heap.register_aligned("emp", 36, 4).expect("a new name");
        let mut local = 0u8;
        // SAFETY: wrong on purpose: the heap looks, and changes nothing.
        let free = |address: usize| unsafe { heap.free(address as *mut u8) };
        let foreign = (&raw mut local).addr();
        assert_eq!(free(foreign), Err(BadFree::Foreign { address: foreign }), "before the first page");
        let [first, second, third] =
            [2, 2, 2].map(|units| heap.calloc(emp, units).expect("memory").as_ptr().addr());
        let before = heap.walk(emp);
        for address in [0, 1, foreign, usize::MAX] {
            assert_eq!(free(address), Err(BadFree::Foreign { address }));
        }
        for into in [1, 4, 36, 71] {
            let address = second + into;
            assert_eq!(free(address), Err(BadFree::Interior { address, start: second }));
        }
        if meta > 0 {
            let address = second - meta;
            assert_eq!(free(address), Err(BadFree::Interior { address, start: second }));
            assert!(free(address).expect_err("refused").to_string().contains("meta block"));
        }
        assert_eq!(free(third + 72 + meta), Err(BadFree::AlreadyFree { address: third + 72 + meta }));
        let unheld = first + 100 * MIB;
        assert_eq!(free(unheld), Err(BadFree::Unheld { address: unheld }));
        assert_eq!(heap.walk(emp), before);
        assert_eq!(free(second), Ok(()));
        assert_eq!(free(second), Err(BadFree::AlreadyFree { address: second }));
        assert_eq!(free(first), Ok(()));
        for address in [first, second] {
            assert_eq!(free(address), Err(BadFree::AlreadyFree { address }), "after they were joined");
        }
        assert_eq!((free(third), free(third)), (Ok(()), Err(BadFree::Unheld { address: third })));
        assert_eq!(heap.check(), Ok(()));
        assert_eq!(stats(&heap, emp).pages, 0);
    }
    let (one, other) = (heap(), heap());
    let block = one.calloc(one.bytes(), 10).expect("memory");
    let address = block.as_ptr().addr();
    // SAFETY: refused.
    let refused = || unsafe { other.free(block.as_ptr()) };
    assert_eq!(refused(), Err(BadFree::Foreign { address }));
    other.calloc(other.bytes(), 10).expect("memory");
    assert_eq!(refused(), Err(BadFree::Foreign { address }), "heaps are independent");
    free(&one, block);
}

/// Threads that free the same blocks at the same time: each block is freed once, and no
/// page that is just leaving its family, or is another's by now, is touched.
#[test]
fn of_eight_frees_at_once_one_succeeds() {
    let heap = heap();
    let families = [500, 1000, 4096].map(|size| heap.register(&format!("{size}"), size).expect("a new name"));
    for round in 0..200 {
        let blocks: Vec<usize> = (0..24)
            .map(|index| heap.calloc(families[(round + index) % 3], 1).expect("memory").as_ptr().addr())
            .collect();
        let start = std::sync::Barrier::new(8);
        let freed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        // SAFETY: used by nobody; refused if another thread was first.
                        blocks.iter().filter(|block| unsafe { heap.free(**block as *mut u8) }.is_ok()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread fails")).sum()
        });
        assert_eq!((freed, heap.check()), (24, Ok(())));
    }
    assert!(heap.all_stats().iter().all(|stats| stats.pages == 0));
}

/// A heap on a page source that counts, and the source.
fn counted(len: usize) -> (Families<&'static Mapping>, &'static Mapping) {
    let source: &'static Mapping = Box::leak(Box::new(Mapping::new(len)));
    (Families::new(source), source)
}

/// Freeing and walking may not read, nor write, what they free: they may not fault.
#[test]
fn freeing_and_walking_touch_nothing() {
    let (heap, source) = counted(1 << 30);
    let families =
        [1, 36, 100, 5000].map(|size| heap.register(&format!("{size}"), size).expect("a new name"));
    let blocks: Vec<NonNull<u8>> = (0..20_000usize)
        .map(|index| heap.calloc(families[index % 4], 1 + index % 7).expect("memory"))
        .collect();
    for block in &blocks {
        // SAFETY: live, and not empty.
        unsafe { block.as_ptr().write(1) };
    }
    let (base, len) = (source.base.load(Relaxed), source.len);
    // SAFETY: nothing is used after this but by the calls under test.
    unsafe { mprotect(base as *mut _, len, MprotectFlags::empty()) }.expect("mprotect");
    let walked: usize = families
        .iter()
        .map(|family| {
            heap.walk(*family).expect("registered").pages.iter().map(|page| page.blocks.len()).sum::<usize>()
        })
        .sum();
    assert!(walked >= blocks.len());
    for (index, block) in
        blocks.iter().enumerate().rev().step_by(2).chain(blocks.iter().enumerate().step_by(2))
    {
        let address = block.as_ptr().addr();
        assert_eq!(heap.locate(address).map(|found| found.family), Ok(families[index % 4]));
        free(&heap, *block);
        // SAFETY: refused.
        assert!(unsafe { heap.free(block.as_ptr()) }.is_err());
    }
    assert_eq!(heap.check(), Ok(()));
    heap.trim();
    assert_eq!((source.promised.load(Relaxed), heap.cached_pages()), (0, 0));
}

/// A page says that it is unused exactly when it is in a free block's data, or in no family.
#[test]
fn unused_pages_are_those_without_used_blocks() {
    let mut unused = [0; 2];
    for heap in all_heaps() {
        let (family, mut seed) = (heap.register("five", 5).expect("a new name"), 3u64);
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut blocks: Vec<NonNull<u8>> = Vec::new();
        for _ in 0..600 {
            if next(3) > 0 {
                let units = [1, 30, 900, 5000, 12_000][next(5)];
                blocks.extend(heap.calloc(family, units).ok());
            } else if !blocks.is_empty() {
                free(&heap, blocks.swap_remove(next(blocks.len())));
            }
            // What a page is found to be, with and without blocks.
            let walk = heap.walk(family).expect("registered");
            let Some(page) = (!walk.pages.is_empty()).then(|| &walk.pages[next(walk.pages.len())]) else {
                continue;
            };
            for start in (page.address..page.address + page.bytes).step_by(4096) {
                let free = page.blocks.iter().any(|block| {
                    block.state == BlockState::Free
                        && block.address <= start
                        && start + 4096 <= block.address + block.size
                });
                assert_eq!(heap.is_unused(start), free, "{walk:?}");
                unused[usize::from(free)] += 1;
            }
        }
        let pages: Vec<usize> =
            heap.walk(family).expect("registered").pages.iter().map(|page| page.address).collect();
        blocks.into_iter().for_each(|block| free(&heap, block));
        let kept = pages.iter().filter(|page| heap.is_unused(**page)).count();
        assert!(kept > 0 && kept <= heap.cached_pages(), "{kept} of {}", pages.len());
        heap.trim();
        assert!(!pages.into_iter().any(|page| heap.is_unused(page)), "these are with the kernel");
        assert!(!heap.is_unused(0));
    }
    assert!(unused.iter().all(|count| *count > 100), "{unused:?}");
}

#[test]
fn an_object_at_a_boundary_costs_no_kernel_call_each_time() {
    let (heap, source) = counted(1 << 30);
    let line = heap.register("line", 64).expect("a new name");
    for _ in 0..64 {
        heap.calloc(line, 1).expect("memory");
    }
    let one_more = heap.calloc(line, 1).expect("memory");
    let calls = stats(&heap, line).kernel_calls;
    free(&heap, one_more);
    assert_eq!((stats(&heap, line).pages, heap.cached_pages()), (1, 1), "the page left the family");
    for _ in 0..1000 {
        free(&heap, heap.calloc(line, 1).expect("memory"));
    }
    assert_eq!(stats(&heap, line).kernel_calls, calls);
    // Other families get the page.
    let other = heap.register("other", 100).expect("a new name");
    heap.calloc(other, 1).expect("memory");
    assert_eq!((stats(&heap, other).kernel_calls, heap.cached_pages()), (0, 0));
    assert_eq!(source.promised.load(Relaxed), 3 * 4096 - 4096);
}

/// Pages are had in units, many at a time, and what is kept of them is bounded.
#[test]
fn pages_are_cached_and_given_back() {
    let (heap, source) = counted(1 << 30);
    let page = heap.register("page", 4096).expect("a new name");
    let blocks: Vec<NonNull<u8>> = (0..10_000).map(|_| heap.calloc(page, 1).expect("memory")).collect();
    let calls = stats(&heap, page).kernel_calls;
    assert!((100..200).contains(&calls), "{calls} calls for 10000 pages");
    for block in blocks {
        free(&heap, block);
    }
    assert!(heap.cached_pages() <= 256);
    assert_eq!(source.promised.load(Relaxed), heap.cached_pages() * 4096);
    assert_eq!(stats(&heap, page).kernel_calls, calls + (10_000 - heap.cached_pages()) as u64);
    let kept = heap.cached_pages();
    assert_eq!((heap.trim(), heap.cached_pages(), source.promised.load(Relaxed)), (kept, 0, 0));
}

#[test]
fn without_pages_nothing_changes() {
    let (heap, source) = counted(1 << 30);
    let line = heap.register("line", 64).expect("a new name");
    let bytes = heap.bytes();
    let first = heap.calloc(line, 1).expect("memory");
    let large = heap.calloc(bytes, 10 * 4096).expect("memory");
    source.most.store(source.promised.load(Relaxed), Relaxed);
    let before = (heap.walk(line), heap.walk(bytes));
    assert_eq!(heap.calloc(line, 64), Err(AllocError::NoMemory { bytes: 4096 }));
    assert_eq!((heap.walk(line), heap.walk(bytes)), before);
    heap.calloc(line, 63).expect("what is held still serves");
    free(&heap, large);
    assert_eq!(heap.cached_pages(), 10);
    heap.calloc(line, 64).expect("cached pages are given up for others");
    source.most.store(usize::MAX, Relaxed);
    source.usable.store(4 * MIB, Relaxed);
    assert_eq!(heap.calloc(line, 200_000), Err(AllocError::NoMemory { bytes: 12_800_000 }));
    assert_eq!(heap.calloc(line, 1 << 25), Err(AllocError::NoMemory { bytes: 2 << 30 }));
    assert_eq!(heap.check(), Ok(()));
    free(&heap, first);
}

#[test]
fn raw_bytes_have_a_family_of_their_own() {
    for heap in all_heaps() {
        let bytes = heap.bytes();
        assert_eq!((heap.find("bytes"), heap.info(bytes).expect("built in").size), (Some(bytes), 1));
        let buffers: Vec<NonNull<u8>> =
            [1, 15, 16, 17, 100, 5000, 100_000].map(|len| heap.calloc(bytes, len).expect("memory")).into();
        for (buffer, len) in buffers.iter().zip([1usize, 15, 16, 17, 100, 5000, 100_000]) {
            let usable = heap.usable_size(buffer.as_ptr().addr()).expect("used");
            assert_eq!(usable, len.next_multiple_of(16));
            let align = if heap.options().layout.meta_size() == 28 { 4 } else { 16 };
            assert!(buffer.as_ptr().addr().is_multiple_of(align));
        }
        buffers.into_iter().for_each(|buffer| free(&heap, buffer));
        assert_eq!(stats(&heap, bytes).pages, 0);
    }
}

/// What the page holds decides nothing: a program may write whatever it likes there.
#[test]
fn a_page_that_is_overwritten_does_not_corrupt_the_heap() {
    for heap in all_heaps() {
        let emp = heap.register_aligned("emp", 36, 4).expect("a new name");
        let held: Vec<NonNull<u8>> = (0..300).map(|_| heap.calloc(emp, 1).expect("memory")).collect();
        held.iter().step_by(2).for_each(|block| free(&heap, *block));
        for page in heap.walk(emp).expect("registered").pages {
            // SAFETY: the page is the heap's, and nobody else uses what lies there now.
            unsafe { (page.address as *mut u8).write_bytes(0x5a, page.bytes) };
        }
        let found = heap.check();
        if heap.options().layout == Layout::Outside {
            assert_eq!(found, Ok(()));
        } else {
            assert!(matches!(found, Err(Violation::MetaBlock { .. })), "{found:?}");
        }
        let more: Vec<NonNull<u8>> = (0..300).map(|_| heap.calloc(emp, 2).expect("memory")).collect();
        more.iter().chain(held.iter().skip(1).step_by(2)).for_each(|block| free(&heap, *block));
        assert_eq!((stats(&heap, emp).pages, stats(&heap, emp).blocks), (0, 0));
    }
}

/// The textbook's meta blocks are really there.
#[test]
fn meta_blocks_lie_in_the_page() {
    let heap = textbook(4096, 28);
    let emp = heap.register("emp", 36).expect("a new name");
    let first = heap.calloc(emp, 1).expect("memory");
    let second = heap.calloc(emp, 2).expect("memory");
    let meta = |data: usize| -> [u8; 28] {
        // SAFETY: the meta block lies before the data.
        unsafe { ((data - 28) as *const [u8; 28]).read() }
    };
    let numbers = |meta: [u8; 28]| {
        let number = |at: usize| u32::from_le_bytes(meta[at..at + 4].try_into().expect("4 bytes"));
        (String::from_utf8_lossy(&meta[..4]).into_owned(), number(4), number(8), number(12), number(16))
    };
    let (one, two) = (first.as_ptr().addr(), second.as_ptr().addr());
    assert_eq!(numbers(meta(one)), ("USED".into(), 36, 0, u32::MAX, 64));
    assert_eq!(numbers(meta(two)), ("USED".into(), 72, 64, 0, 164));
    assert_eq!(numbers(meta(two + 72 + 28)), ("FREE".into(), 3904, 164, 64, u32::MAX));
    free(&heap, first);
    assert_eq!(numbers(meta(one)), ("FREE".into(), 36, 0, u32::MAX, 64));
}

#[test]
fn reports_say_the_same_as_text_and_as_json() {
    let heap = textbook(4096, 48);
    let emp = heap.register("emp", 36).expect("a new name");
    heap.register("a \"b\"\n\\", 8).expect("a new name");
    for _ in 0..3 {
        heap.calloc(emp, 1).expect("memory");
    }
    let families = heap.registered();
    let text = FamiliesReport(&families).to_string();
    assert_eq!(text.lines().count(), 4);
    assert!(text.contains("          36         4  emp\n") && text.contains("a \\\"b\\\"\\n\\\\"), "{text}");
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    let listed = json(Json(&FamiliesReport(&families)).to_string());
    assert_eq!(listed[1], serde_json::json!({"name": "emp", "object_bytes": 36, "alignment": 4}));
    assert_eq!(listed[2]["name"], "a \"b\"\n\\");
    let usage = heap.all_stats();
    let text = UsageReport(&usage).to_string();
    let expected = "family emp, objects of 36 bytes
  blocks: 1 free, 3 used, 4 in all
  pages: 1 with 4096 bytes, kernel calls: 2
  bytes: 252 used, 3844 free
  internal fragmentation: 0 bytes, 0 hard and 0 soft
";
    assert!(text.contains(expected), "{text}");
    let listed = json(Json(&UsageReport(&usage)).to_string());
    assert_eq!(listed.as_array().map(Vec::len), Some(3));
    let numbers =
        ["pages", "kernel_calls", "blocks", "free_blocks", "used_blocks", "used_bytes", "free_bytes"];
    assert_eq!(numbers.map(|name| listed[1][name].as_u64().expect("a number")), [1, 2, 4, 1, 3, 252, 3844]);
    let walk = heap.walk(emp).expect("registered");
    let page = &json(Json(&walk).to_string())["pages"][0];
    let listed = page["blocks"].as_array().expect("an array");
    assert_eq!((page["bytes"].as_u64(), listed.len()), (Some(4096), 4));
    let text = walk.to_string();
    for (info, listed) in walk.pages[0].blocks.iter().zip(listed) {
        assert_eq!(listed["address"], format!("{:#x}", info.address));
        assert_eq!(listed["offset"].as_u64(), Some(info.offset as u64));
        assert_eq!(listed["previous"].as_u64(), info.previous.map(|offset| offset as u64));
        assert_eq!(listed["next"].as_u64(), info.next.map(|offset| offset as u64));
        let line = text
            .lines()
            .find(|line| line.contains(&format!("{:#x}", info.address)) && !line.contains("page"));
        let line = line.expect("a line for each block");
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields[..2], [info.offset.to_string(), info.size.to_string()]);
        assert_eq!(
            (fields[2], fields[5]),
            (listed["state"].as_str().expect("text"), listed["address"].as_str().expect("text"))
        );
    }
}
