#![expect(unsafe_code, reason = "drives an allocator")]
//! Eight threads that free each other's objects.

mod common;

use common::{Mapping, heap};
use heap::ThreadCache;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};

const THREADS: usize = 8;
const ROUNDS: usize = 40_000;

/// A live object: address, size, and the byte that fills its ends.
type Object = (usize, usize, u8);

fn work(heap: &heap::Heap<&'static Mapping>, id: usize, others: &[Sender<Object>], inbox: &Receiver<Object>) {
    let mut cache = ThreadCache::new();
    let mut random = 0x9e37_79b9_7f4a_7c15 ^ id as u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let free = |cache: &mut ThreadCache, (addr, size, fill): Object| {
        let object = addr as *mut u8;
        // SAFETY: the sender gave it to this thread.
        unsafe {
            assert_eq!((object.read(), object.add(size - 1).read()), (fill, fill));
            heap.free(Some(cache), object).expect("freed once");
        }
    };
    for round in 0..ROUNDS {
        let size = match next() % 100 {
            0 => 33_000 + next() % 200_000,
            1..10 => 1 + next() % 32_000,
            _ => 1 + next() % 300,
        };
        let object = heap.alloc(Some(&mut cache), size, 16);
        // SAFETY: fresh, and has that many bytes.
        unsafe {
            object.write(round as u8);
            object.add(size - 1).write(round as u8);
        }
        others[next() % THREADS].send((object.addr(), size, round as u8)).expect("all wait for the end");
        inbox.try_iter().for_each(|object| free(&mut cache, object));
        if round % 10_000 == 0 {
            heap.lock_for_fork();
            heap.unlock_after_fork();
        }
    }
    heap.flush(&mut cache).expect("nothing freed twice");
}

#[test]
fn objects_travel_between_threads() {
    let (heap, source) = heap(Mapping::new(8 << 30));
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
    let left: Vec<Receiver<Object>> = std::thread::scope(|scope| {
        let threads: Vec<_> = inboxes
            .into_iter()
            .enumerate()
            .map(|(id, inbox)| {
                let senders = senders.clone();
                scope.spawn(move || {
                    work(heap, id, &senders, &inbox);
                    inbox
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread fails")).collect()
    });
    drop(senders);
    for (addr, ..) in left.iter().flat_map(Receiver::iter) {
        // SAFETY: live, and its receiver has ended.
        unsafe { heap.free(None, addr as *mut u8) }.expect("freed once");
    }
    heap.trim();
    assert_eq!(heap.stats(), heap::HeapStats::default());
    assert_eq!(source.promised.load(Relaxed), 0);
}
