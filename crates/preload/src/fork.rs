#![expect(unsafe_code, reason = "pthread_atfork, and a cell that only the forking thread uses")]
//! `fork`: both sides keep every byte.

use crate::malloc;
use crate::start::{complain, engine, forget_engine, set_engine};
use core::cell::UnsafeCell;
use engine::ForkGuard;

struct Held(UnsafeCell<Option<ForkGuard<'static>>>);

// SAFETY: used between the prepare handler and the handlers after it, by the one
// thread that forks: the locks that it holds keep others out.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

pub(crate) fn init() {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    if failed != 0 {
        complain("pthread_atfork failed: a program that forks may lose its heap");
    }
}

unsafe extern "C" fn prepare() {
    malloc::lock_for_fork();
    if let Some(engine) = engine() {
        let guard = engine.before_fork();
        // SAFETY: see `Held`.
        unsafe { *HELD.0.get() = Some(guard) };
    }
    // Last, as everywhere: who holds a lock of the heap or the engine may allocate.
    crate::META.lock_for_fork();
}

unsafe extern "C" fn parent() {
    crate::META.unlock_after_fork();
    // SAFETY: see `Held`.
    let guard = unsafe { (*HELD.0.get()).take() };
    guard.into_iter().for_each(ForkGuard::after_fork_in_parent);
    malloc::unlock_after_fork();
}

unsafe extern "C" fn child() {
    crate::META.unlock_in_child();
    // SAFETY: see `Held`.
    let guard = unsafe { (*HELD.0.get()).take() };
    malloc::unlock_after_fork();
    // The parent's engine, which is locked; the pager's own mappings are no business of it.
    forget_engine();
    match guard.map(|guard| malloc::resident_while(|| guard.after_fork_in_child())) {
        Some(Ok(Some(engine))) => set_engine(engine),
        Some(Err(reason)) => complain(&reason),
        Some(Ok(None)) | None => {}
    }
}
