//! Bits that are looked at while others change, in every order in which threads may run.
//!
//! `cargo xtask loom` runs it.

use super::{Bitmap, Word, is_set};
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

impl Word<u64> for AtomicU64 {
    fn load(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn store(&self, value: u64) {
        self.store(value, Ordering::Relaxed);
    }
}

impl Word<u32> for AtomicU32 {
    fn load(&self) -> u32 {
        self.load(Ordering::Relaxed)
    }

    fn store(&self, value: u32) {
        self.store(value, Ordering::Relaxed);
    }
}

/// One word of objects, and the lock of their class.
struct Span {
    class: Mutex<()>,
    word: [AtomicU64; 1],
    hint: AtomicU32,
}

impl Span {
    fn new() -> Arc<Self> {
        let span = Self { class: Mutex::new(()), word: [AtomicU64::new(0)], hint: AtomicU32::new(0) };
        Arc::new(span)
    }

    fn bitmap(&self) -> Bitmap<'_, AtomicU64, AtomicU32> {
        Bitmap { words: &self.word, hint: &self.hint, step: 3, end: 9 }
    }

    fn allocate(&self) -> usize {
        let _class = self.class.lock().expect("nobody panics");
        let mut taken = None;
        self.bitmap().take(|object| {
            taken = Some(object);
            false
        });
        taken.expect("there is room")
    }

    fn free(&self, object: usize) -> bool {
        let _class = self.class.lock().expect("nobody panics");
        self.bitmap().free(object)
    }
}

/// An object is freed by who was handed it, who looks at its bit without the lock while
/// others change their bits of the same word.
#[test]
fn loom_bits_of_others_change_meanwhile() {
    loom::model(|| {
        let span = Span::new();
        // 0: nothing yet; else the object and 1.
        let passed = Arc::new(AtomicUsize::new(0));
        let allocates = {
            let (span, passed) = (span.clone(), passed.clone());
            thread::spawn(move || passed.store(span.allocate() + 1, Ordering::Release))
        };
        let busy = {
            let span = span.clone();
            thread::spawn(move || {
                let own = span.allocate();
                assert!(is_set(&span.word[0], own), "its own, whatever others do");
                assert!(span.free(own), "freed once");
            })
        };
        let object = passed.load(Ordering::Acquire).checked_sub(1);
        if let Some(object) = object {
            assert!(is_set(&span.word[0], object), "allocated before it was passed on");
            assert!(span.free(object), "freed once");
        }
        allocates.join().expect("no thread fails");
        busy.join().expect("no thread fails");
        if object.is_none() {
            let object = passed.load(Ordering::Acquire) - 1;
            assert!(span.free(object) && !span.free(object), "freed once");
        }
        assert_eq!(span.bitmap().lowest_free(), Some(0));
        assert_eq!(span.word[0].load(Ordering::Relaxed), 0, "nothing is allocated any more");
    });
}
