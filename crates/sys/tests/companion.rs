#![expect(unsafe_code, reason = "a process that shares this one's memory, and the C library's mutexes")]
//! Makes threads that become processes, so it is alone in its process.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sys::companion::{self, Files};

const ALIVE: u32 = 1;

/// A mutex that its owner may lock again, as those of the dynamic linker are.
struct Recursive(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for threads.
unsafe impl Sync for Recursive {}

impl Recursive {
    fn set_up(&self) {
        let mut kind = MaybeUninit::uninit();
        // SAFETY: both are initialised here, before anybody uses the mutex.
        unsafe {
            libc::pthread_mutexattr_init(kind.as_mut_ptr());
            libc::pthread_mutexattr_settype(kind.as_mut_ptr(), libc::PTHREAD_MUTEX_RECURSIVE);
            assert_eq!(libc::pthread_mutex_init(self.0.get(), kind.as_ptr()), 0);
        }
    }

    fn lock(&self) -> i32 {
        // SAFETY: initialised.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    fn try_lock(&self) -> i32 {
        // SAFETY: initialised.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) }
    }

    fn unlock(&self) -> i32 {
        // SAFETY: initialised.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }
}

static MUTEX: Recursive = Recursive(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
/// Cleared by the kernel when the companion has ended.
static COMPANION: AtomicU32 = AtomicU32::new(0);
static HAS_LOCKED: AtomicU32 = AtomicU32::new(0);
static MAY_UNLOCK: AtomicU32 = AtomicU32::new(0);
static UNLOCKED: AtomicI32 = AtomicI32::new(-1);

fn wait_while(word: &AtomicU32, value: u32) {
    let start = Instant::now();
    while word.load(Ordering::Acquire) == value {
        assert!(start.elapsed() < Duration::from_secs(20), "it stays {value}");
        thread::sleep(Duration::from_micros(100));
    }
}

fn main(_: usize) -> ! {
    assert_eq!(MUTEX.lock(), 0);
    HAS_LOCKED.store(1, Ordering::Release);
    wait_while(&MAY_UNLOCK, 0);
    UNLOCKED.store(MUTEX.unlock(), Ordering::Release);
    // SAFETY: nothing is to be dropped here.
    unsafe { libc::_exit(0) }
}

/// What the C library locks, it locks for a thread of a number: a companion has to be one from
/// its first instant to its last.
#[test]
fn a_companion_has_the_mutexes_that_it_locks() {
    assert!(companion::are_possible(), "Linux 5.16 or later is needed");
    MUTEX.set_up();
    for round in 0..100 {
        [&HAS_LOCKED, &MAY_UNLOCK].iter().for_each(|word| word.store(0, Ordering::Release));
        COMPANION.store(ALIVE, Ordering::Release);
        thread::spawn(|| {
            // SAFETY: signals are blocked in this thread, which was made for this, has nothing to
            // drop, and is not joined.
            let error = unsafe {
                let mut all = MaybeUninit::uninit();
                libc::sigfillset(all.as_mut_ptr());
                libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), core::ptr::null_mut());
                companion::continue_as_process(main, 0, Files::Own, &COMPANION)
            };
            panic!("no companion: {error}");
        });
        wait_while(&HAS_LOCKED, 0);
        assert_eq!(MUTEX.try_lock(), libc::EBUSY, "round {round}: it is not locked");
        // The thread has ended by now in every order of events.
        thread::sleep(Duration::from_millis(1));
        MAY_UNLOCK.store(1, Ordering::Release);
        wait_while(&COMPANION, ALIVE);
        assert_eq!(UNLOCKED.load(Ordering::Acquire), 0, "round {round}: it was not its own any more");
        assert_eq!((MUTEX.try_lock(), MUTEX.unlock()), (0, 0), "round {round}");
    }
}
