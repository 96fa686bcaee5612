#![expect(unsafe_code, reason = "counts under the lock")]
//! The lock in every order in which its threads may run.
//!
//! `cargo xtask loom` runs it.

use super::{CONTENDED, FREE, Word, lock, try_lock, unlock};
use core::sync::atomic::Ordering;
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// A futex: looking and falling asleep are one step, and who is woken sleeps already.
struct Futex {
    word: AtomicU32,
    asleep: Mutex<()>,
    woken: Condvar,
}

impl Word for Futex {
    const SPINS: u32 = 1;

    fn look(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.word.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn swap(&self, to: u32, ordering: Ordering) -> u32 {
        self.word.swap(to, ordering)
    }

    fn sleep_while(&self, expected: u32) {
        let asleep = self.asleep.lock().expect("nobody panics");
        if self.look() == expected {
            drop(self.woken.wait(asleep).expect("nobody panics"));
        }
    }

    fn wake_one(&self) {
        let _asleep = self.asleep.lock().expect("nobody panics");
        self.woken.notify_one();
    }

    fn pause() {}
}

/// A number that loom lets one thread at a time have.
struct Shared {
    futex: Futex,
    number: UnsafeCell<u32>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let futex = Futex { word: AtomicU32::new(FREE), asleep: Mutex::new(()), woken: Condvar::new() };
        Arc::new(Self { futex, number: UnsafeCell::new(0) })
    }

    /// Under the lock; frees it.
    fn count(&self) {
        // A race is what the model reports.
        self.number.with_mut(|number| {
            // SAFETY: loom has checked that nobody else is here.
            unsafe { *number += 1 }
        });
        unlock(&self.futex);
    }

    fn counted(&self) -> u32 {
        assert_ne!(self.futex.look(), CONTENDED, "everybody has gone");
        // SAFETY: as above.
        self.number.with(|number| unsafe { *number })
    }
}

/// One at a time is inside, sees what the others did, and nobody sleeps for ever.
#[test]
fn loom_three_threads_take_turns() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Shared::new();
        let enter = |shared: Arc<Shared>| {
            move || {
                lock(&shared.futex);
                shared.count();
            }
        };
        let threads = [thread::spawn(enter(shared.clone())), thread::spawn(enter(shared.clone()))];
        enter(shared.clone())();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread fails"));
        assert_eq!(shared.counted(), 3);
    });
}

/// Who does not wait gets in alone or not at all.
#[test]
fn loom_a_thread_that_does_not_wait() {
    loom::model(|| {
        let shared = Shared::new();
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                let free = try_lock(&shared.futex);
                if free {
                    shared.count();
                }
                free
            })
        };
        lock(&shared.futex);
        shared.count();
        let others = u32::from(other.join().expect("no thread fails"));
        assert_eq!(shared.counted(), 1 + others);
    });
}
