#![expect(unsafe_code, reason = "C names, pthread_atfork, and a cell that only the forking thread uses")]
//! `fork`: both sides keep every byte.
//!
//! What is done before and after it is done by handlers, because the C library forks by
//! itself as well (daemon(3), forkpty(3)). `_Fork` calls no handlers, so it is wrapped; and
//! so is `fork`, which fails where a child could not be given its memory.

use crate::errno;
use crate::malloc;
use crate::start::{complain, engine, forget_engine, set_engine};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use engine::ForkGuard;
use libc::pid_t;

struct Held(UnsafeCell<Option<ForkGuard<'static>>>);

// SAFETY: used between the prepare handler and the handlers after it, by the one
// thread that forks: the locks that it holds keep others out.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

pub(crate) fn init() {
    FORK.find();
    BARE_FORK.find();
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    if failed != 0 {
        complain("pthread_atfork failed: a program that forks may lose its heap");
    }
}

unsafe extern "C" fn prepare() {
    let Some(engine) = engine() else {
        malloc::lock_for_fork();
        crate::META.lock_for_fork();
        return;
    };
    let guard = loop {
        let preparation = engine.prepare_fork();
        malloc::lock_for_fork();
        match engine.before_fork(preparation) {
            Some(guard) => break guard,
            None => malloc::unlock_after_fork(),
        }
    };
    // SAFETY: see `Held`.
    unsafe { *HELD.0.get() = Some(guard) };
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
    guard.into_iter().for_each(go_on_in_child);
}

fn go_on_in_child(guard: ForkGuard<'static>) {
    match malloc::resident_while(|| guard.after_fork_in_child()) {
        Ok(Some(engine)) => set_engine(engine),
        Ok(None) => {}
        Err(reason) => complain(&reason),
    }
}

/// A function of the C library that has the name of one here.
struct Wrapped {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Wrapped {
    const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(null_mut()) }
    }

    /// Looks for it. It must be looked for before it may be called by a signal's handler.
    fn find(&self) -> *mut c_void {
        // SAFETY: a name that ends in zero.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Ordering::Release);
        found
    }

    /// Calls it; fails with ENOSYS where the C library has not got it.
    fn call(&self) -> pid_t {
        let known = self.found.load(Ordering::Acquire);
        let function = if known.is_null() { self.find() } else { known };
        if function.is_null() {
            errno::set(libc::ENOSYS);
            return -1;
        }
        // SAFETY: both functions take nothing and return a process's number.
        unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> pid_t>(function)() }
    }
}

static FORK: Wrapped = Wrapped::new(c"fork");
static BARE_FORK: Wrapped = Wrapped::new(c"_Fork");

/// fork(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fork() -> pid_t {
    if engine().is_some_and(|engine| !engine.may_fork()) {
        errno::set(libc::EAGAIN);
        return -1;
    }
    FORK.call()
}

/// _Fork(3), which signal handlers may call, wherever they interrupt. The heap's locks stay
/// as they are: whoever holds them goes on in the child as well.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Fork() -> pid_t {
    let guard = engine().map(|engine| {
        loop {
            if let Some(guard) = engine.before_fork(engine.prepare_fork()) {
                break guard;
            }
        }
    });
    let child = BARE_FORK.call();
    if child == 0 {
        crate::META.renew_in_child();
        forget_engine();
        guard.into_iter().for_each(go_on_in_child);
    } else {
        guard.into_iter().for_each(ForkGuard::after_fork_in_parent);
    }
    child
}
