#![expect(unsafe_code, reason = "bytes of which a model checks who touches them")]
//! Objects that are given and taken at once, in every order in which threads may run.
//!
//! `cargo xtask loom` runs it.

use super::{PLACES, QuickList, Shared};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

impl Shared for AtomicUsize {
    fn get(&self) -> usize {
        self.load(Ordering::Relaxed)
    }

    fn take(&self) -> usize {
        self.swap(0, Ordering::Acquire)
    }

    fn fill(&self, value: usize) -> bool {
        self.compare_exchange(0, value, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    fn add(&self, value: usize) -> usize {
        self.fetch_add(value, Ordering::Relaxed) + value
    }

    fn subtract(&self, value: usize) -> bool {
        let less = |now: usize| now.checked_sub(value);
        self.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A list of two places, and the bytes of two objects, which only their owners touch.
struct Heap {
    list: QuickList<AtomicUsize>,
    bytes: [UnsafeCell<u8>; 2],
}

const LEN: usize = 10;

impl Heap {
    fn new() -> Arc<Self> {
        let places = core::array::from_fn::<_, PLACES, _>(|_| AtomicUsize::new(0));
        let bytes = core::array::from_fn(|_| UnsafeCell::new(0));
        Arc::new(Self { list: QuickList { places, promised: AtomicUsize::new(0) }, bytes })
    }

    /// Objects have numbers from 1 on.
    fn touch(&self, object: usize) {
        self.bytes[object - 1].with_mut(|byte| {
            // SAFETY: the owner's alone, which the model checks.
            unsafe { *byte += 1 }
        });
    }

    /// Frees an object, asks for one, and how many of its bytes had to be promised anew.
    fn replace(&self, object: usize) -> (Option<usize>, usize) {
        self.touch(object);
        let surplus = self.list.give(object, LEN, 2, 10 * LEN);
        assert_eq!(surplus, Some(0), "there are as many places as objects");
        let taken = self.list.take();
        let Some(taken) = taken else { return (None, 0) };
        self.touch(taken);
        (Some(taken), if self.list.promised.subtract(LEN) { 0 } else { LEN })
    }
}

#[test]
fn loom_each_object_has_one_owner_and_its_promise() {
    loom::model(|| {
        let heap = Heap::new();
        let other = {
            let heap = heap.clone();
            thread::spawn(move || heap.replace(2))
        };
        let own = heap.replace(1);
        let other = other.join().expect("no thread fails");
        let mut owned: Vec<usize> = own.0.into_iter().chain(other.0).collect();
        let promised = heap.list.promised.get() + LEN * owned.len();
        assert_eq!(promised, 2 * LEN + own.1 + other.1, "no promise is lost, and none made up");
        while let Some(left) = heap.list.take() {
            heap.touch(left);
            owned.push(left);
        }
        owned.sort_unstable();
        assert_eq!(owned, [1, 2]);
    });
}
