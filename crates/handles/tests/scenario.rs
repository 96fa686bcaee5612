//! Five frames, ten blocks, twelve requests; what is available; slots that are used again.

mod common;

use common::{Faulty, PAGE, Random, over, pattern, sized};
use handles::{AllocError, PolicyKind, Space, SwapFile, VirtualHeap};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

const FRAMES: usize = 5;
const PAGES: usize = 10;

fn policies() -> impl Iterator<Item = PolicyKind> {
    // Miri takes minutes for each.
    let most = if cfg!(miri) { 1 } else { usize::MAX };
    PolicyKind::ALL.into_iter().filter(|policy| *policy != PolicyKind::Opt).take(most)
}

fn small(policy: PolicyKind, store: Arc<Faulty>) -> VirtualHeap {
    sized(FRAMES, PAGES).policy(policy).store(store).build().expect("possible sizes")
}

/// Twelve requests of one page: ten are served, the last two are told that it is full. All ten
/// read back what was written, through any number of swaps, and no slot beyond the tenth is used.
#[test]
fn five_frames_ten_blocks_twelve_requests() {
    for policy in policies() {
        let store = Faulty::new();
        let heap = small(policy, store.clone());
        let asked: Vec<_> = (0..12).map(|_| heap.alloc(PAGE)).collect();
        assert!(asked[..10].iter().all(Result::is_ok), "{policy}");
        assert!(
            asked[10..].iter().all(|full| *full == Err(AllocError::Full { wanted: 1, free: 0 })),
            "{policy}"
        );
        assert!(heap.is_full(Space::Virtual));
        let blocks: Vec<_> = asked.into_iter().flatten().collect();
        for (number, block) in blocks.iter().enumerate() {
            heap.write(*block, 0, &pattern(number as u64, PAGE)).expect("a store that works");
            heap.check_invariants();
        }
        assert!(heap.is_full(Space::Physical), "{policy}");
        assert_eq!(heap.stats().swap_outs, 5, "{policy}");
        let mut random = Random::new(7);
        let mut bytes = vec![0; PAGE];
        for _ in 0..if cfg!(miri) { 20 } else { 200 } {
            let number = random.below(10);
            heap.read(blocks[number as usize], 0, &mut bytes).expect("a store that works");
            assert_eq!(bytes, pattern(number, PAGE), "{policy}");
            heap.check_invariants();
        }
        assert!(heap.stats().swap_ins > 5 && store.end.load(SeqCst) <= (PAGES * PAGE) as u64, "{policy}");
        heap.free(blocks[3]).expect("it is there");
        let again = heap.alloc(PAGE).expect("freeing made room");
        heap.read(again, 0, &mut bytes).expect("zeros need no store");
        assert!(bytes.iter().all(|byte| *byte == 0), "a new block is zero, whatever was there before");
    }
}

#[test]
fn from_twelve_threads_at_once() {
    for policy in policies() {
        let store = Faulty::new();
        let heap = small(policy, store.clone());
        let (heap, rounds) = (&heap, if cfg!(miri) { 3 } else { 60 });
        let served: Vec<bool> = thread::scope(|scope| {
            let ask = |number: u64| {
                let Ok(block) = heap.alloc(PAGE) else { return false };
                let mut bytes = vec![0; PAGE];
                for round in 0..rounds {
                    let written = pattern(100 * number + round, PAGE);
                    heap.write(block, 0, &written).expect("a store that works");
                    thread::yield_now();
                    heap.read(block, 0, &mut bytes).expect("a store that works");
                    assert_eq!(bytes, written, "{policy}, thread {number}, round {round}");
                }
                true
            };
            let threads: Vec<_> = (0..12).map(|number| scope.spawn(move || ask(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
        });
        assert_eq!(served.iter().filter(|served| **served).count(), 10, "{policy}");
        assert!(store.end.load(SeqCst) <= (PAGES * PAGE) as u64, "{policy}");
        heap.check_invariants();
    }
}

#[test]
fn what_is_available_is_counted_in_bytes() {
    let heap = small(PolicyKind::Clock, Faulty::new());
    assert_eq!((heap.available(Space::Physical), heap.available(Space::Virtual)), (5 * PAGE, 10 * PAGE));
    let two = heap.alloc(PAGE + 1).expect("room");
    assert_eq!((heap.available(Space::Physical), heap.available(Space::Virtual)), (5 * PAGE, 8 * PAGE));
    heap.write(two, PAGE, &[1]).expect("a frame is free");
    assert_eq!(heap.available(Space::Physical), 4 * PAGE, "only the page that was written takes a frame");
    heap.read(two, 0, &mut [0; 10]).expect("zeros");
    assert_eq!(heap.available(Space::Physical), 4 * PAGE, "reading zeros takes none");
    heap.free(two).expect("it is there");
    assert_eq!((heap.available(Space::Physical), heap.available(Space::Virtual)), (5 * PAGE, 10 * PAGE));
    assert!(!heap.is_full(Space::Physical) && !heap.is_full(Space::Virtual));
    assert_eq!((heap.frames(), heap.pages(), heap.page_size(), heap.blocks()), (5, 10, PAGE, 0));
}

/// There is room as long as enough pages are free, wherever they are.
#[test]
fn a_block_takes_the_lowest_free_pages_wherever_they_are() {
    let heap = small(PolicyKind::Clock, Faulty::new());
    let all: Vec<_> = (0..10).map(|_| heap.alloc(1).expect("room")).collect();
    for number in [1, 4, 8] {
        heap.free(all[number]).expect("it is there");
    }
    assert_eq!(heap.alloc(3 * PAGE + 1), Err(AllocError::Full { wanted: 4, free: 3 }));
    let scattered = heap.alloc(3 * PAGE).expect("three pages are free");
    let bytes = pattern(1, 3 * PAGE);
    heap.write(scattered, 0, &bytes).expect("a store that works");
    let pinned = heap.pin(scattered).expect("three frames");
    assert_eq!(pinned.to_vec(), bytes, "pinned, it is contiguous");
    heap.check_invariants();
    drop(pinned);
    heap.free(scattered).expect("it is released");
    // The first page of a block is in its handle: index 1 is the lowest again.
    let first = heap.alloc(1).expect("room");
    assert!(format!("{first:?}").contains(".1."), "{first:?}");
}

/// However often pages come and go, the swap file is no larger than the virtual space.
#[test]
fn the_swap_file_stays_within_the_virtual_size() {
    let store = Arc::new(SwapFile::unnamed().expect("a directory for temporary files"));
    let heap = over(store.clone(), FRAMES, PAGES);
    let mut random = Random::new(3);
    let mut blocks = Vec::new();
    for round in 0..if cfg!(miri) { 40 } else { 2000 } {
        if let Ok(block) = heap.alloc(1 + random.below(3 * PAGE as u64) as usize) {
            let size = heap.size(block).expect("it is there");
            heap.write(block, 0, &pattern(round, size)).expect("the disk has room");
            blocks.push((block, round, size));
        } else {
            let (block, seed, size) = blocks.swap_remove(random.below(blocks.len() as u64) as usize);
            let mut bytes = vec![0; size];
            heap.read(block, 0, &mut bytes).expect("the disk works");
            assert_eq!(bytes, pattern(seed, size));
            heap.free(block).expect("it is there");
        }
    }
    heap.check_invariants();
    assert!(heap.stats().swap_outs > if cfg!(miri) { 5 } else { 500 }, "{:?}", heap.stats());
    let size = store.size().expect("an open file");
    assert!((1..=(PAGES * PAGE) as u64).contains(&size), "{size} bytes");
}

#[test]
fn the_largest_block_is_the_virtual_space_and_more_is_a_mistake() {
    let heap = small(PolicyKind::Clock, Faulty::new());
    assert_eq!(heap.alloc(0), Err(AllocError::Empty));
    let (size, most) = (10 * PAGE + 1, 10 * PAGE);
    assert_eq!(heap.alloc(size), Err(AllocError::TooLarge { size, most }));
    assert!(matches!(heap.alloc(usize::MAX), Err(AllocError::TooLarge { .. })));
    let whole = heap.alloc(most).expect("it is empty");
    let bytes = pattern(9, most);
    heap.write(whole, 0, &bytes).expect("a store that works");
    let mut back = vec![0; most];
    heap.read(whole, 0, &mut back).expect("a store that works");
    assert_eq!(back, bytes);
    heap.free(whole).expect("it is there");
    assert_eq!(heap.available(Space::Virtual), most);
}

/// The lowest resident page is the one that leaves.
#[test]
fn first_takes_the_lowest_resident_page() {
    let heap = small(PolicyKind::First, Faulty::new());
    let blocks: Vec<_> = (0..7).map(|_| heap.alloc(1).expect("room")).collect();
    for block in &blocks[..5] {
        heap.write(*block, 0, &[1]).expect("frames");
    }
    let at_hand = |number: usize| {
        let before = heap.stats().swap_ins;
        heap.read(blocks[number], 0, &mut [0]).expect("a store that works");
        heap.stats().swap_ins == before
    };
    heap.write(blocks[5], 0, &[1]).expect("a store that works");
    heap.write(blocks[6], 0, &[1]).expect("a store that works");
    // 0 and 1 have left; each that comes back takes the place of the lowest.
    assert!([2, 3, 4, 5, 6].into_iter().all(at_hand));
    assert!(!at_hand(0) && at_hand(3), "2 had to leave");
    assert!(!at_hand(1) && at_hand(3), "0 had to leave");
    assert!(!at_hand(0) && at_hand(6), "1 had to leave");
}

/// A heap sees every access, so that LRU is what it is called.
#[test]
fn lru_knows_what_was_used() {
    let heap = small(PolicyKind::Lru, Faulty::new());
    let blocks: Vec<_> = (0..6).map(|_| heap.alloc(1).expect("room")).collect();
    for block in &blocks[..5] {
        heap.write(*block, 0, &[1]).expect("frames");
    }
    heap.read(blocks[0], 0, &mut [0]).expect("at hand");
    heap.write(blocks[5], 0, &[1]).expect("a store that works");
    let before = heap.stats().swap_ins;
    heap.read(blocks[0], 0, &mut [0]).expect("at hand");
    assert_eq!(heap.stats().swap_ins, before, "it was used last");
    heap.read(blocks[1], 0, &mut [0]).expect("a store that works");
    assert_eq!(heap.stats().swap_ins, before + 1, "it was used longest ago");
}
