#![expect(unsafe_code, reason = "drives allocators")]
//! Both heaps on plain memory, which Miri can follow: `cargo +nightly miri test -p heap
//! --test memory` finds undefined behaviour and data races in the paths that are walked here.

use heap::{Families, FreeError, Heap, PageSource, ThreadCache};
use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;

const MIB: usize = 1 << 20;

/// One block of the global allocator. Leaked: heaps may be leaked with what they hold.
struct Memory {
    len: usize,
    base: AtomicUsize,
}

impl Memory {
    const fn new(len: usize) -> Self {
        Self { len, base: AtomicUsize::new(0) }
    }

    fn at(addr: usize) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(addr)
    }
}

// SAFETY: zeroed memory of its own, never freed; what is discarded is cleared.
unsafe impl PageSource for Memory {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        let layout = Layout::from_size_align(self.len.min(max_len), 2 * MIB).ok()?;
        // SAFETY: not an empty layout.
        let base = unsafe { alloc_zeroed(layout) }.expose_provenance();
        self.base.store(base, Relaxed);
        (base != 0).then_some((base, layout.size()))
    }

    fn extend(&self, end: usize) -> bool {
        end <= self.base.load(Relaxed) + self.len
    }

    fn promise(&self, _bytes: usize) -> bool {
        true
    }

    fn renounce(&self, _bytes: usize) {}

    fn discard(&self, addr: usize, len: usize) {
        // SAFETY: the heap's own pages, of which nobody uses the contents.
        unsafe { Self::at(addr).write_bytes(0, len) };
    }

    fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        // SAFETY: both ranges are the heap's and apart.
        unsafe {
            std::ptr::copy_nonoverlapping(Self::at(from), Self::at(to), len);
            Self::at(from).write_bytes(0, len);
        }
        true
    }
}

#[test]
fn every_kind_of_call() {
    let heap = Heap::new(Memory::new(16 * MIB));
    let mut cache = ThreadCache::new();
    let mut live = Vec::new();
    for (round, size) in [0, 1, 16, 17, 100, 1000, 4000, 30_000, 40_000, 100_000].into_iter().enumerate() {
        for align in [16, 64, 4096] {
            let cached = (round % 2 == 0).then_some(&mut *cache);
            let block = if round % 3 == 0 {
                heap.alloc_zeroed(cached, size, align)
            } else {
                heap.alloc(cached, size, align)
            };
            assert!(!block.is_null() && block.addr().is_multiple_of(align));
            assert!(heap.usable_size(block.addr()).is_some_and(|usable| usable >= size));
            // SAFETY: live, and as long.
            unsafe { block.write_bytes(round as u8, size) };
            live.push((block, size, round as u8));
        }
    }
    for (index, (block, size, fill)) in live.iter_mut().enumerate() {
        let wanted = [*size / 2, *size * 2 + 1, *size + 70_000][index % 3];
        // SAFETY: live.
        *block = unsafe { heap.realloc(Some(&mut cache), *block, wanted) }.expect("live");
        let kept = (*size).min(wanted);
        // SAFETY: live, and as long.
        let bytes = unsafe { std::slice::from_raw_parts(*block, kept) };
        assert!(bytes.iter().step_by(if cfg!(miri) { 997 } else { 1 }).all(|byte| byte == fill));
        *size = wanted;
    }
    assert!(!heap.is_unused(live[0].0.addr() / 4096 * 4096));
    for (index, (block, ..)) in live.iter().enumerate() {
        let cached = (index % 2 == 0).then_some(&mut *cache);
        // SAFETY: live, and freed once; wrong on purpose then.
        unsafe {
            assert_eq!(heap.free(cached, *block), Ok(()));
            if index % 2 == 1 {
                assert!(heap.free(None, *block).is_err() && heap.free(None, block.wrapping_add(1)).is_err());
            }
        }
    }
    let mut foreign = 0u8;
    // SAFETY: wrong on purpose: the heap looks, and changes nothing.
    assert_eq!(unsafe { heap.free(None, &raw mut foreign) }, Err(FreeError::Foreign));
    heap.flush(&mut cache).expect("nothing freed twice");
    assert!(live.iter().all(|(block, ..)| heap.is_unused(block.addr() / 4096 * 4096)));
    heap.trim();
    assert_eq!(heap.stats(), heap::HeapStats::default());
}

/// An object that grows far moves with its pages.
#[test]
fn pages_are_moved() {
    let heap = Heap::new(Memory::new(16 * MIB));
    let block = heap.alloc(None, 600_000, 16);
    let wall = heap.alloc(None, 40_000, 16);
    // SAFETY: live, and as long.
    unsafe {
        block.add(599_999).write(7);
        let moved = heap.realloc(None, block, MIB).expect("live");
        assert!(moved != block && moved.add(599_999).read() == 7);
        assert!(heap.free(None, moved).is_ok() && heap.free(None, wall).is_ok());
    }
}

#[test]
fn objects_go_to_other_threads() {
    const COUNT: usize = if cfg!(miri) { 150 } else { 20_000 };
    let heap: &Heap<Memory> = Box::leak(Box::new(Heap::new(Memory::new(64 * MIB))));
    let (sender, receiver) = channel::<usize>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut cache = ThreadCache::new();
            for index in 0..COUNT {
                let block = heap.alloc(Some(&mut cache), [24, 100, 5000][index % 3], 16);
                assert!(!block.is_null());
                // SAFETY: live, and as long.
                unsafe { block.cast::<usize>().write(index) };
                sender.send(block.expose_provenance()).expect("received");
            }
            heap.flush(&mut cache).expect("nothing freed twice");
        });
        scope.spawn(move || {
            let mut cache = ThreadCache::new();
            for (index, addr) in receiver.iter().enumerate() {
                let block = Memory::at(addr);
                // SAFETY: live, and given to this thread.
                unsafe {
                    assert_eq!(block.cast::<usize>().read(), index);
                    heap.free(Some(&mut cache), block).expect("freed once");
                }
                let _ = heap.is_unused(addr / 4096 * 4096);
            }
            heap.flush(&mut cache).expect("nothing freed twice");
        });
    });
    heap.trim();
    assert_eq!(heap.stats(), heap::HeapStats::default());
}

#[test]
fn families_on_plain_memory() {
    let heap = Families::new(Memory::new(8 * MIB));
    let (pair, bytes) = (heap.register("pair", 24).expect("a new name"), heap.bytes());
    let mut blocks: Vec<NonNull<u8>> = Vec::new();
    for units in [1, 2, 50, 400, 1, 3000] {
        for family in [pair, bytes] {
            let block = heap.calloc(family, units).expect("memory");
            let len = heap.usable_size(block.addr().get()).expect("used");
            // SAFETY: live, and as long.
            unsafe {
                assert!(std::slice::from_raw_parts(block.as_ptr(), units).iter().all(|byte| *byte == 0));
                block.write_bytes(1, len);
            }
            blocks.push(block);
        }
        heap.check().expect("the laws hold");
    }
    for (index, block) in blocks.iter().enumerate() {
        // SAFETY: used by nobody; then wrong on purpose.
        unsafe {
            heap.free(block.as_ptr()).expect("used");
            assert!(heap.free(block.as_ptr()).is_err(), "block {index}");
        }
    }
    heap.check().expect("the laws hold");
    heap.trim();
}
