//! Addresses that stay: contiguous, counted, waited for, and refused where waiting is of no use.

mod common;

use common::{Faulty, PAGE, heap, over, pattern};
use handles::{Handle, PinError, ReleaseError, Space, VirtualHeap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

fn blocks(heap: &VirtualHeap, pages: &[usize]) -> Vec<Handle> {
    let block = |(number, pages): (usize, &usize)| {
        let block = heap.alloc(pages * PAGE).expect("room");
        heap.write(block, 0, &pattern(number as u64, pages * PAGE)).expect("a store that works");
        block
    };
    pages.iter().enumerate().map(block).collect()
}

fn holds(heap: &VirtualHeap, block: Handle, number: u64, pages: usize) {
    let mut bytes = vec![0; pages * PAGE];
    heap.read(block, 0, &mut bytes).expect("reads never fail for pins");
    assert_eq!(bytes, pattern(number, pages * PAGE), "block {number}");
}

#[test]
fn a_pinned_block_is_contiguous_and_stays() {
    let heap = heap(4, 16);
    let all = blocks(&heap, &[3, 1, 1, 1, 4]);
    let pinned = heap.pin(all[0]).expect("three frames");
    let place = pinned.as_ptr();
    assert_eq!(place as usize % 64, 0);
    assert_eq!(pinned.to_vec(), pattern(0, 3 * PAGE));
    assert_eq!((pinned.len(), pinned.handle(), heap.pinned()), (3 * PAGE, all[0], 3));
    // One frame is left for everything else.
    for round in 0..5 {
        for (number, block) in all.iter().enumerate().skip(1) {
            holds(&heap, *block, number as u64, if number == 4 { 4 } else { 1 });
        }
        pinned.write(PAGE - 1, &[round, round]);
        heap.check_invariants();
        let mut bytes = [9; 2];
        heap.read(all[0], PAGE - 1, &mut bytes).expect("in bounds");
        assert_eq!(bytes, [round; 2], "what is written through a pin is read");
        heap.write(all[0], 2 * PAGE, &[round]).expect("in bounds");
        assert_eq!(pinned.bytes()[2 * PAGE].load(Relaxed), round, "and the other way round");
    }
    assert_eq!(pinned.as_ptr(), place);
    drop(pinned);
    assert_eq!(heap.pinned(), 0);
    for (number, block) in all.iter().enumerate().skip(1) {
        holds(&heap, *block, number as u64, if number == 4 { 4 } else { 1 });
        heap.check_invariants();
    }
    let mut bytes = [0; 2];
    heap.read(all[0], PAGE - 1, &mut bytes).expect("in bounds");
    assert_eq!(bytes, [4; 2], "and is still there after it was swapped");
}

#[test]
fn a_block_with_more_pages_than_frames_has_no_address() {
    let heap = heap(3, 16);
    let all = blocks(&heap, &[4, 3]);
    for result in
        [heap.pin(all[0]).map(drop), heap.check(all[0]).map(drop), heap.pin_address(all[0]).map(drop)]
    {
        assert!(matches!(result, Err(PinError::TooLarge { pages: 4, frames: 3 })), "{result:?}");
    }
    holds(&heap, all[0], 0, 4);
    let pinned = heap.pin(all[1]).expect("as many as there are frames");
    assert_eq!(pinned.to_vec(), pattern(1, 3 * PAGE));
    heap.check_invariants();
}

/// Free frames are enough, wherever the pins before were.
#[test]
fn pins_find_room_whenever_there_are_frames() {
    let heap = heap(8, 24);
    let all = blocks(&heap, &[1; 8]);
    let large = blocks(&heap, &[4, 2])[0];
    for kept in [[0, 2, 4, 6], [1, 3, 5, 7], [0, 1, 6, 7], [2, 3, 4, 5]] {
        let mut pins: Vec<_> =
            all.iter().map(|block| Some(heap.pin(*block).expect("eight frames"))).collect();
        assert!(matches!(heap.pin(large), Err(PinError::Deadlock { pages: 4, free: 0 })));
        for (number, pin) in pins.iter_mut().enumerate() {
            if !kept.contains(&number) {
                *pin = None;
            }
        }
        let pinned = heap.pin(large).expect("four frames are not pinned");
        assert_eq!(pinned.to_vec(), pattern(0, 4 * PAGE));
        heap.check_invariants();
        for (number, pin) in pins.iter().enumerate() {
            if let Some(pin) = pin {
                assert_eq!(pin.to_vec(), pattern(number as u64, PAGE));
            }
        }
    }
}

#[test]
fn pins_are_counted_and_blocks_are_not_freed_under_them() {
    let heap = heap(2, 4);
    let block = blocks(&heap, &[1])[0];
    assert_eq!(heap.release(block), Err(ReleaseError::NotPinned(block)));
    let place = heap.pin_address(block).expect("a frame");
    assert_eq!(heap.pin_address(block).ok(), Some(place));
    let guard = heap.pin(block).expect("the same frame");
    assert_eq!((guard.as_ptr(), heap.pinned()), (place, 1));
    assert_eq!(heap.free(block), Err(ReleaseError::Pinned(block)));
    assert_eq!(heap.release(block), Ok(()));
    assert_eq!(heap.release(block), Ok(()));
    assert_eq!(heap.release(block), Err(ReleaseError::NotPinned(block)), "the guard's pin is the guard's");
    assert_eq!(heap.free(block), Err(ReleaseError::Pinned(block)));
    drop(guard);
    assert_eq!((heap.pinned(), heap.free(block)), (0, Ok(())));
    heap.check_invariants();
}

/// Whatever is pinned, by whomever: reads and writes go on, also of blocks that are pinned.
#[test]
fn reads_and_writes_never_fail_for_pins() {
    let heap = heap(3, 12);
    let all = blocks(&heap, &[3, 2, 1, 1, 1]);
    let pinned = heap.pin(all[0]).expect("three frames");
    assert!(
        matches!(heap.pin(all[3]), Err(PinError::Deadlock { pages: 1, free: 0 })),
        "all are the caller's"
    );
    let fresh = heap.alloc(2 * PAGE).expect("room");
    for round in 1..4 {
        holds(&heap, all[1], 1, 2);
        heap.write(all[2], 5, &[round]).expect("writes never fail for pins");
        heap.write(fresh, PAGE - 1, &[round, round]).expect("nor of pages that were never written");
        let mut bytes = [0; 4];
        heap.read(fresh, PAGE - 2, &mut bytes).expect("reads never fail for pins");
        assert_eq!(bytes, [0, round, round, 0]);
        heap.read(all[2], 5, &mut bytes[..1]).expect("reads never fail for pins");
        assert_eq!(bytes[0], round);
        assert_eq!(pinned.to_vec(), pattern(0, 3 * PAGE));
        heap.check_invariants();
        let place = heap.check(all[3]).expect("an address of one page, until the next call");
        assert_eq!(place as usize % 64, 0);
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            holds(&heap, all[4], 4, 1);
            heap.write(all[0], 0, &[1, 2, 3]).expect("nor in other threads, of what is pinned");
        });
    });
    assert_eq!(pinned.to_vec()[..3], [1, 2, 3]);
    assert_eq!(heap.available(Space::Physical), 0);
    drop(pinned);
    holds(&heap, all[1], 1, 2);
    holds(&heap, all[3], 3, 1);
    heap.check_invariants();
}

/// Tells when a pin of `block` was had, in a thread of its own.
fn pin_elsewhere<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    heap: &'scope VirtualHeap,
    block: Handle,
    had: &'scope AtomicBool,
) -> thread::ScopedJoinHandle<'scope, Result<Vec<u8>, PinError>> {
    scope.spawn(move || {
        let pinned = heap.pin(block)?;
        had.store(true, SeqCst);
        Ok(pinned.to_vec())
    })
}

#[test]
fn a_pin_waits_for_the_release_of_another_thread() {
    let heap = heap(2, 8);
    let all = blocks(&heap, &[2, 1]);
    let had = AtomicBool::new(false);
    thread::scope(|scope| {
        let pinned = heap.pin(all[0]).expect("two frames");
        let other = pin_elsewhere(scope, &heap, all[1], &had);
        // It cannot be had before the release, however long that takes.
        for _ in 0..50 {
            thread::sleep(Duration::from_millis(1));
            assert!(!had.load(SeqCst));
        }
        drop(pinned);
        assert_eq!(other.join().expect("no panic").expect("two frames were released"), pattern(1, PAGE));
    });
    heap.check_invariants();
}

/// Two threads that hold what the other one wants: the second to ask is refused at once, and
/// the first gets what it waits for when the second gives up.
#[test]
fn the_one_who_would_wait_for_ever_is_refused() {
    let heap = &heap(4, 16);
    let all = &blocks(heap, &[2, 2, 1, 1]);
    let (ready, is_ready) = channel();
    thread::scope(|scope| {
        let mine = heap.pin(all[0]).expect("two frames");
        let other = scope.spawn(move || {
            let own = heap.pin(all[1]).expect("two frames");
            ready.send(()).expect("somebody listens");
            // Waits: the first thread holds two, and runs.
            let more = heap.pin(all[2]).map(|pinned| pinned.to_vec());
            (own.to_vec(), more)
        });
        is_ready.recv().expect("it pins");
        // The other thread may not wait yet; then this one does, and the other one is refused.
        let more = heap.pin(all[3]).map(|pinned| pinned.to_vec());
        let refused_here = matches!(more, Err(PinError::Deadlock { pages: 1, free: 0 }));
        assert!(refused_here || more.expect("one of them is served") == pattern(3, PAGE));
        drop(mine);
        let (own, more) = other.join().expect("no panic");
        assert_eq!(own, pattern(1, 2 * PAGE));
        if refused_here {
            assert_eq!(more.expect("frames were released"), pattern(2, PAGE));
        } else {
            assert!(matches!(more, Err(PinError::Deadlock { .. })));
        }
    });
    assert_eq!(heap.pinned(), 0);
    heap.check_invariants();
}

/// A release that is not enough leaves a thread waiting; when nobody is left who could release
/// more, it is told.
#[test]
fn a_wait_that_has_become_useless_ends() {
    let heap = &heap(3, 16);
    let all = &blocks(heap, &[1, 1, 3]);
    let (ready, is_ready) = channel();
    thread::scope(|scope| {
        let mine = heap.pin(all[0]).expect("a frame");
        let other = scope.spawn(move || {
            let own = heap.pin(all[1]).expect("a frame");
            ready.send(()).expect("somebody listens");
            // Three frames of three, one of which it holds itself: never.
            let result = heap.pin(all[2]).map(drop);
            drop(own);
            result
        });
        is_ready.recv().expect("it pins");
        thread::sleep(Duration::from_millis(5));
        drop(mine);
        let result = other.join().expect("no panic");
        assert!(matches!(result, Err(PinError::Deadlock { pages: 3, free: 2 })), "{result:?}");
    });
    heap.check_invariants();
}

/// Many threads that hold and want more; whoever is refused lets go and tries again.
#[test]
fn threads_that_let_go_when_refused_all_come_through() {
    let heap = &heap(4, 64);
    let all = &blocks(heap, &[1, 2, 1, 3, 1, 2, 1, 4, 1, 2, 1, 3]);
    let pages = [1, 2, 1, 3, 1, 2, 1, 4, 1, 2, 1, 3];
    let refused: usize = thread::scope(|scope| {
        let work = |thread: usize| {
            let mut refused = 0;
            for round in 0..if cfg!(miri) { 2 } else { 40 } {
                let (one, two) = ((thread + round) % 12, (thread * 5 + round * 7) % 12);
                let first = loop {
                    match heap.pin(all[one]) {
                        Ok(pinned) => break pinned,
                        Err(PinError::Deadlock { .. }) => {
                            refused += 1;
                            thread::yield_now();
                        }
                        Err(error) => panic!("{error}"),
                    }
                };
                match heap.pin(all[two]) {
                    Ok(second) => assert_eq!(second.to_vec(), pattern(two as u64, pages[two] * PAGE)),
                    Err(PinError::Deadlock { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                assert_eq!(first.to_vec(), pattern(one as u64, pages[one] * PAGE));
            }
            refused
        };
        let threads: Vec<_> = (0..12).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!(refused > 0 || cfg!(miri), "four frames are too few for all of them");
    assert_eq!(heap.pinned(), 0);
    heap.check_invariants();
}

/// An address of several pages is that of a contiguous copy, the same until pages have to leave.
#[test]
fn a_check_tells_one_address_for_all_pages() {
    let heap = heap(4, 12);
    let all = blocks(&heap, &[3, 1, 4]);
    let place = heap.check(all[0]).expect("three frames");
    assert_eq!(heap.check(all[0]).ok(), Some(place));
    heap.check_invariants();
    assert_eq!(heap.pinned(), 0, "nothing stays pinned");
    holds(&heap, all[2], 2, 4);
    heap.check_invariants();
    holds(&heap, all[0], 0, 3);
    let place = heap.check(all[0]).expect("three frames");
    let pinned = heap.pin(all[0]).expect("three frames");
    assert_eq!((pinned.as_ptr(), pinned.to_vec()), (place, pattern(0, 3 * PAGE)));
}

/// A pin that cannot be completed leaves nothing pinned.
#[test]
fn a_pin_that_fails_leaves_nothing_behind() {
    let store = Faulty::new();
    let heap = over(store.clone(), 4, 16);
    let all = blocks(&heap, &[3, 4]);
    store.fail_reads.store(true, SeqCst);
    for _ in 0..3 {
        assert!(matches!(heap.pin(all[0]), Err(PinError::Store(_))));
        assert_eq!(heap.pinned(), 0);
        heap.check_invariants();
    }
    store.fail_reads.store(false, SeqCst);
    assert_eq!(heap.pin(all[0]).expect("the store works again").to_vec(), pattern(0, 3 * PAGE));
    holds(&heap, all[1], 1, 4);
}
