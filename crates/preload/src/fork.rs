#![expect(unsafe_code, reason = "C names, pthread_atfork, and a cell that only the forking thread uses")]
//! `fork`: both sides keep every byte.
//!
//! What is done before and after it is done by handlers, because the C library forks by
//! itself as well (daemon(3), forkpty(3)). They are registered before any other, so that those
//! of others, of which the last registered are called first before a fork, find a heap that is not locked.
//! `_Fork` calls no handlers, so it is wrapped; and so is `fork`, which fails where a child could not be
//! given its memory, and may fail after the child's memory has been set aside.

use crate::errno;
use crate::malloc;
use crate::start::{complain, engine, forget_engine, set_engine};
use crate::stdio;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use engine::ForkGuard;
use libc::pid_t;

struct Held(UnsafeCell<Option<ForkGuard<'static>>>);

// SAFETY: used between the prepare handler and the handlers after it, by the one
// thread that forks: the locks that it holds keep others out.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

/// For each heir of a lineage that was made, the thread that forks it; 0 for those who are nobody's business.
static HEIRS: [AtomicI32; engine::HEIRS] = [const { AtomicI32::new(0) }; engine::HEIRS];

pub(crate) fn init() {
    FORK.find();
    BARE_FORK.find();
    stdio::init();
    register();
}

/// Registers the handlers, once.
fn register() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if IS_DONE.swap(true, Ordering::AcqRel) {
        return;
    }
    let function = REGISTER_ATFORK.find();
    // SAFETY: the handlers are functions of this library, which is never unloaded. Where the name is, it has
    // the arguments of `__register_atfork` (Linux Standard Base); the last says whose unloading unregisters them.
    let failed = unsafe {
        if function.is_null() {
            libc::pthread_atfork(Some(prepare), Some(parent), Some(child))
        } else {
            transmute::<*mut c_void, RegisterAtfork>(function)(
                Some(prepare),
                Some(parent),
                Some(child),
                null_mut(),
            )
        }
    };
    if failed != 0 {
        complain("pthread_atfork failed: a program that forks may lose its heap");
    }
}

type Handler = Option<unsafe extern "C" fn()>;
type RegisterAtfork = unsafe extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int;

/// What pthread_atfork(3) is in glibc. Constructors of other libraries may run before ours.
#[unsafe(no_mangle)]
unsafe extern "C" fn __register_atfork(
    before: Handler,
    after: Handler,
    child: Handler,
    object: *mut c_void,
) -> c_int {
    register();
    let function = REGISTER_ATFORK.find();
    if function.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: as in `register`; the rest is the caller's contract.
    unsafe { transmute::<*mut c_void, RegisterAtfork>(function)(before, after, child, object) }
}

unsafe extern "C" fn prepare() {
    let Some(engine) = engine() else {
        malloc::lock_for_fork();
        crate::META.lock_for_fork();
        return;
    };
    forget_heirs();
    // Who has it may wait for the pager, so that it comes before what the pager waits for.
    stdio::lock();
    let guard = loop {
        let preparation = engine.prepare_fork();
        stdio::bring_in();
        malloc::lock_for_fork();
        match engine.before_fork(preparation, stdio::are_all) {
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
    let is_ours = guard.is_some();
    if let Some(heir) = guard.and_then(ForkGuard::after_fork_in_parent) {
        HEIRS[heir].store(this_thread(), Ordering::Relaxed);
    }
    malloc::unlock_after_fork();
    if is_ours {
        stdio::unlock();
    }
}

fn this_thread() -> i32 {
    // SAFETY: a system call without memory effects.
    unsafe { libc::gettid() }
}

/// The children of this thread that came to be are nobody's business any more.
fn forget_heirs() {
    let thread = this_thread();
    for heir in &HEIRS {
        let _ = heir.compare_exchange(thread, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Takes back what a child was to have that there is not.
fn disinherit() {
    let _errno = errno::Kept::now();
    let Some(engine) = engine() else { return };
    let thread = this_thread();
    for (number, heir) in HEIRS.iter().enumerate() {
        if heir.compare_exchange(thread, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            engine.disinherit(number);
        }
    }
}

unsafe extern "C" fn child() {
    crate::META.unlock_in_child();
    // SAFETY: see `Held`.
    let guard = unsafe { (*HELD.0.get()).take() };
    malloc::unlock_after_fork();
    if guard.is_some() {
        stdio::reset();
        HEIRS.iter().for_each(|heir| heir.store(0, Ordering::Relaxed));
    }
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
static REGISTER_ATFORK: Wrapped = Wrapped::new(c"__register_atfork");

/// fork(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn fork() -> pid_t {
    if engine().is_some_and(|engine| !engine.may_fork()) {
        errno::set(libc::EAGAIN);
        return -1;
    }
    let child = FORK.call();
    if child < 0 {
        disinherit();
    }
    child
}

/// _Fork(3), which signal handlers may call, wherever they interrupt. The heap's locks stay
/// as they are: whoever holds them goes on in the child as well.
#[unsafe(no_mangle)]
unsafe extern "C" fn _Fork() -> pid_t {
    let guard = engine().map(|engine| {
        loop {
            // It runs no code of the C library that uses the heap.
            if let Some(guard) = engine.before_fork(engine.prepare_fork(), |_| true) {
                break guard;
            }
        }
    });
    let child = BARE_FORK.call();
    if child == 0 {
        crate::META.renew_in_child();
        forget_engine();
        guard.into_iter().for_each(go_on_in_child);
    } else if let Some(heir) = guard.and_then(ForkGuard::after_fork_in_parent)
        && child < 0
    {
        let _errno = errno::Kept::now();
        engine().into_iter().for_each(|engine| engine.disinherit(heir));
    }
    child
}
