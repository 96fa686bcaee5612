//! Twelve threads, sixteen times as many bytes as memory, every byte checked.

mod common;

use common::{Faulty, PAGE, Random, over, pattern, sized};
use handles::{AccessError, AllocError, PinError, PolicyKind, ReleaseError, StoreError, VirtualHeap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

const THREADS: u64 = 12;
const FRAMES: usize = 16;
/// Less where Miri looks at every step.
const TIMES: usize = if cfg!(miri) { 4 } else { 16 };
/// Pages that went in and out at least.
const LEAST: u64 = if cfg!(miri) { 50 } else { 1000 };

/// Each thread has blocks of its own, and all of them together fill the virtual space.
#[test]
fn sixteen_times_overcommitted_by_twelve_threads() {
    let most = if cfg!(miri) { 1 } else { 3 };
    for policy in [PolicyKind::Clock, PolicyKind::First, PolicyKind::S3Fifo].into_iter().take(most) {
        let store = Faulty::new();
        let pages = FRAMES * TIMES;
        let builder = sized(FRAMES, pages).policy(policy).store(store.clone());
        let heap = &builder.build().expect("possible sizes");
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || work(heap, thread, pages as u64 / THREADS));
            }
        });
        heap.check_invariants();
        assert_eq!(heap.blocks(), 0);
        assert!(store.end.load(SeqCst) <= (pages * PAGE) as u64);
        let stats = heap.stats();
        assert!(stats.swap_ins > LEAST && stats.swap_outs > LEAST, "{policy}: {stats:?}");
    }
}

fn work(heap: &VirtualHeap, thread: u64, mut room: u64) {
    let mut random = Random::new(thread + 1);
    let mut blocks = Vec::new();
    while room > 0 {
        let pages = 1 + random.below(room.min(4));
        room -= pages;
        let size = (pages as usize * PAGE) - random.below(PAGE as u64) as usize;
        let block = heap.alloc(size).expect("every thread has its share");
        let bytes = pattern(thread * 1000 + room, size);
        heap.write(block, 0, &bytes).expect("a store that works");
        blocks.push((block, bytes));
    }
    for _ in 0..if cfg!(miri) { 5 } else { 800 } {
        let choice = random.below(blocks.len() as u64) as usize;
        let (block, bytes) = &mut blocks[choice];
        let at = random.below(bytes.len() as u64) as usize;
        let len = (1 + random.below(300) as usize).min(bytes.len() - at);
        match random.below(4) {
            0 => {
                let part = pattern(random.next(), len);
                bytes[at..at + len].copy_from_slice(&part);
                heap.write(*block, at, &part).expect("a store that works");
            }
            1 => match heap.pin(*block) {
                Ok(pinned) => {
                    assert_eq!(pinned.to_vec(), *bytes, "thread {thread}");
                    pinned.write(at, &[thread as u8]);
                    bytes[at] = thread as u8;
                }
                Err(PinError::Deadlock { .. }) => panic!("a thread that holds nothing is never refused"),
                Err(error) => panic!("{error}"),
            },
            _ => {
                let mut part = vec![0; len];
                heap.read(*block, at, &mut part).expect("a store that works");
                assert_eq!(part, bytes[at..at + len], "thread {thread}");
            }
        }
    }
    for (block, bytes) in blocks {
        let mut all = vec![0; bytes.len()];
        heap.read(block, 0, &mut all).expect("a store that works");
        assert_eq!(all, bytes, "thread {thread}");
        heap.free(block).expect("it is released");
    }
}

/// Threads that share blocks, free them under each other and run into a store that fails now and
/// then: every error is one of those that may be, and every byte read is one that was written there.
#[test]
fn blocks_that_are_shared_and_freed_under_each_other() {
    let store = Faulty::new();
    let heap = &over(store.clone(), 6, 48);
    let shared = &Mutex::new(Vec::new());
    let ended = &AtomicBool::new(false);
    thread::scope(|scope| {
        let store = &store;
        let trouble = scope.spawn(move || {
            let mut random = Random::new(99);
            while !ended.load(SeqCst) {
                let failing = random.below(3);
                store.fail_reads.store(failing == 0, SeqCst);
                store.fail_writes.store(failing == 1, SeqCst);
                thread::yield_now();
            }
        });
        let workers: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || meddle(heap, shared, thread))).collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        ended.store(true, SeqCst);
        trouble.join().expect("no panic");
        assert!(results.iter().all(Result::is_ok), "a thread panicked");
    });
    store.fail_reads.store(false, SeqCst);
    store.fail_writes.store(false, SeqCst);
    heap.check_invariants();
    assert_eq!(heap.pinned(), 0);
    for (block, size) in shared.lock().expect("no panic").drain(..) {
        let mut bytes = vec![1; size];
        if heap.read(block, 0, &mut bytes).is_ok() {
            assert_written(&bytes);
            heap.free(block).expect("it is there");
        }
    }
    assert_eq!(heap.blocks(), 0);
}

/// Each byte of a block is zero, or the low bits of its offset beside the number of a thread.
fn assert_written(bytes: &[u8]) {
    for (at, byte) in bytes.iter().enumerate() {
        assert!(*byte == 0 || byte & 0xf == (at % 16) as u8, "{byte:#x} at {at}");
    }
}

fn written(thread: u64, at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|at| ((thread as u8 + 1) << 4) | (at % 16) as u8).collect()
}

fn meddle(heap: &VirtualHeap, shared: &Mutex<Vec<(handles::Handle, usize)>>, thread: u64) {
    let mut random = Random::new(thread + 50);
    for _ in 0..if cfg!(miri) { 10 } else { 1500 } {
        let known = {
            let shared = shared.lock().expect("no panic");
            (!shared.is_empty()).then(|| shared[random.below(shared.len() as u64) as usize])
        };
        let Some((block, size)) = known.filter(|_| random.below(12) > 0) else {
            match heap.alloc(1 + random.below(4 * PAGE as u64) as usize) {
                Ok(block) => {
                    let size = heap.size(block).expect("nobody else knows it");
                    shared.lock().expect("no panic").push((block, size));
                }
                Err(AllocError::Full { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            continue;
        };
        let at = random.below(size as u64) as usize;
        let len = (1 + random.below(2 * PAGE as u64) as usize).min(size - at);
        let result = match random.below(10) {
            0 => match heap.free(block) {
                Ok(()) => {
                    shared.lock().expect("no panic").retain(|(other, _)| *other != block);
                    continue;
                }
                Err(ReleaseError::Pinned(_) | ReleaseError::Handle(_)) => continue,
                Err(error) => panic!("{error}"),
            },
            1 | 2 => match heap.pin(block) {
                Ok(pinned) => {
                    assert_written(&pinned.to_vec());
                    pinned.write(at, &written(thread, at, len));
                    Ok(())
                }
                Err(PinError::Handle(error)) => Err(AccessError::Handle(error)),
                Err(PinError::Store(error)) => Err(AccessError::Store(error)),
                Err(error) => panic!("{error}"),
            },
            3..6 => heap.write(block, at, &written(thread, at, len)),
            _ => {
                let mut bytes = vec![0; len];
                heap.read(block, at, &mut bytes).map(|()| {
                    let mut whole = vec![0; at % 16];
                    whole.extend(bytes);
                    assert_written(&whole);
                })
            }
        };
        match result {
            Ok(()) | Err(AccessError::Handle(_)) => {}
            Err(AccessError::Store(StoreError::Read { .. } | StoreError::Write { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
