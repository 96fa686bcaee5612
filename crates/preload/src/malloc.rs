#![expect(unsafe_code, reason = "C names with C's contracts")]
//! The malloc family.
//!
//! Two heaps serve it. What the program allocates comes from the paged one. What is
//! allocated for the pager thread (the C library allocates when a thread is made)
//! comes from a resident one: the pager must never wait for itself.

use crate::source::{EngineSource, ResidentSource};
use crate::{META, errno, tls};
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use heap::{FreeError, Heap, ThreadCache};
use libc::size_t;

static PAGED: Heap<EngineSource> = Heap::new(EngineSource);
static RESIDENT: Heap<ResidentSource> = Heap::new(ResidentSource);

/// While the engine starts its thread, all that is allocated is resident.
static ALL_RESIDENT: AtomicBool = AtomicBool::new(false);
static KEY: AtomicU32 = AtomicU32::new(u32::MAX);

/// What every C object may be aligned to.
const ALIGN: usize = 16;

/// Values of the thread's slot that are not the address of its cache.
const NO_CACHE_YET: usize = 0;
const NO_CACHE: usize = 1;
const PAGER_THREAD: usize = 2;

/// Before `main`: makes the key whose destructor gives a thread's cache back. Early,
/// so that it is among the keys for which glibc allocates nothing.
pub(crate) fn init() {
    let mut key = 0;
    // SAFETY: the destructor is a function of this library, which is never unloaded.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
        KEY.store(key, Ordering::Release);
    }
}

/// Runs `work` with every allocation resident.
pub(crate) fn resident_while<T>(work: impl FnOnce() -> T) -> T {
    ALL_RESIDENT.store(true, Ordering::Release);
    let result = work();
    ALL_RESIDENT.store(false, Ordering::Release);
    result
}

/// Tells that this thread is the pager's.
pub(crate) fn this_is_the_pager_thread() {
    tls::set(PAGER_THREAD);
}

fn resident() -> bool {
    ALL_RESIDENT.load(Ordering::Relaxed) || tls::get() == PAGER_THREAD
}

/// This thread's cache; made at the first use.
fn cache() -> Option<&'static mut ThreadCache> {
    match tls::get() {
        NO_CACHE_YET => make_cache(),
        NO_CACHE | PAGER_THREAD => None,
        // SAFETY: the cache is this thread's until its destructor runs, and no call
        // of ours is active twice in a thread (signal handlers may not call malloc).
        address => Some(unsafe { &mut *(address as *mut ThreadCache) }),
    }
}

#[cold]
fn make_cache() -> Option<&'static mut ThreadCache> {
    let key = KEY.load(Ordering::Acquire);
    if key == u32::MAX {
        return None;
    }
    // pthread_setspecific may allocate; that goes without a cache.
    tls::set(NO_CACHE);
    let cache = Box::into_raw(Box::new(ThreadCache::new()));
    // SAFETY: the key is ours.
    if unsafe { libc::pthread_setspecific(key, cache.cast()) } != 0 {
        // SAFETY: just made, known to nobody.
        drop(unsafe { Box::from_raw(cache) });
        return None;
    }
    tls::set(cache as usize);
    // SAFETY: this thread's from here on.
    Some(unsafe { &mut *cache })
}

unsafe extern "C" fn thread_ends(cache: *mut c_void) {
    tls::set(NO_CACHE);
    // SAFETY: made by `make_cache` in this thread, which no longer uses it.
    let mut cache = unsafe { Box::from_raw(cache.cast::<ThreadCache>()) };
    if let Err(error) = PAGED.flush(&mut cache) {
        misuse("a thread ended", error, null_mut());
    }
}

/// Before a fork: nothing is half done in any heap.
pub(crate) fn lock_for_fork() {
    PAGED.lock_for_fork();
    RESIDENT.lock_for_fork();
    META.lock_for_fork();
}

/// After it, in parent and child.
pub(crate) fn unlock_after_fork() {
    META.unlock_after_fork();
    RESIDENT.unlock_after_fork();
    PAGED.unlock_after_fork();
}

fn allocate(size: usize, align: usize) -> *mut c_void {
    let object =
        if resident() { RESIDENT.alloc(None, size, align) } else { PAGED.alloc(cache(), size, align) };
    if object.is_null() {
        errno::set(libc::ENOMEM);
    }
    object.cast()
}

/// Says what was freed wrongly, and stops: the program's memory is not what it thinks.
fn misuse(call: &str, error: FreeError, object: *mut c_void) -> ! {
    let what = match error {
        FreeError::Foreign => "not allocated here",
        FreeError::NotAnObject => "not the start of an allocated block",
        FreeError::AlreadyFree => "freed before",
    };
    crate::start::complain(&format!("{call}: the pointer {object:p} is {what}"));
    std::process::abort()
}

/// malloc(3).
#[unsafe(no_mangle)]
extern "C" fn malloc(size: size_t) -> *mut c_void {
    allocate(size, ALIGN)
}

/// calloc(3).
#[unsafe(no_mangle)]
extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    let object = count.checked_mul(size).map_or(null_mut(), |size| {
        if resident() {
            RESIDENT.alloc_zeroed(None, size, ALIGN)
        } else {
            PAGED.alloc_zeroed(cache(), size, ALIGN)
        }
    });
    if object.is_null() {
        errno::set(libc::ENOMEM);
    }
    object.cast()
}

/// free(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn free(object: *mut c_void) {
    if object.is_null() {
        return;
    }
    let _errno = errno::Kept::now();
    // SAFETY: the caller gives the object up.
    let freed = unsafe {
        match PAGED.free(cache(), object.cast()) {
            Err(FreeError::Foreign) => RESIDENT.free(None, object.cast()),
            freed => freed,
        }
    };
    match freed {
        // Memory that the dynamic linker handed out before this library was there:
        // it is never reused, by the linker either.
        Ok(()) | Err(FreeError::Foreign) => {}
        Err(error) => misuse("free()", error, object),
    }
}

/// realloc(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(object: *mut c_void, size: size_t) -> *mut c_void {
    if object.is_null() {
        return malloc(size);
    }
    if size == 0 {
        // SAFETY: as the caller's.
        unsafe { free(object) };
        return null_mut();
    }
    // SAFETY: the caller gives the object up, if it moves.
    let moved = unsafe {
        match PAGED.realloc(cache(), object.cast(), size) {
            Err(FreeError::Foreign) => RESIDENT.realloc(None, object.cast(), size),
            moved => moved,
        }
    };
    match moved {
        Ok(moved) => {
            if moved.is_null() {
                errno::set(libc::ENOMEM);
            }
            moved.cast()
        }
        Err(error) => misuse("realloc()", error, object),
    }
}

/// reallocarray(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(object: *mut c_void, count: size_t, size: size_t) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: as the caller's.
        Some(size) => unsafe { realloc(object, size) },
        None => {
            errno::set(libc::ENOMEM);
            null_mut()
        }
    }
}

/// The old name of free.
#[unsafe(no_mangle)]
unsafe extern "C" fn cfree(object: *mut c_void) {
    // SAFETY: as the caller's.
    unsafe { free(object) }
}

/// posix_memalign(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: size_t, size: size_t) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let _errno = errno::Kept::now();
    let object = allocate(size, align.max(ALIGN));
    if object.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's place.
    unsafe { *place = object };
    0
}

/// memalign(3): alignments that are no power of two are rounded up, as in glibc.
#[unsafe(no_mangle)]
extern "C" fn memalign(align: size_t, size: size_t) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) if align <= isize::MAX as usize => allocate(size, align.max(ALIGN)),
        _ => {
            errno::set(libc::EINVAL);
            null_mut()
        }
    }
}

/// aligned_alloc(3).
#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: size_t, size: size_t) -> *mut c_void {
    if !align.is_power_of_two() {
        errno::set(libc::EINVAL);
        return null_mut();
    }
    allocate(size, align.max(ALIGN))
}

/// valloc(3).
#[unsafe(no_mangle)]
extern "C" fn valloc(size: size_t) -> *mut c_void {
    allocate(size, engine::PAGE)
}

/// pvalloc(3).
#[unsafe(no_mangle)]
extern "C" fn pvalloc(size: size_t) -> *mut c_void {
    match size.checked_next_multiple_of(engine::PAGE) {
        Some(size) => allocate(size.max(engine::PAGE), engine::PAGE),
        None => {
            errno::set(libc::ENOMEM);
            null_mut()
        }
    }
}

/// malloc_usable_size(3).
#[unsafe(no_mangle)]
extern "C" fn malloc_usable_size(object: *mut c_void) -> size_t {
    let size = PAGED.usable_size(object.cast()).or_else(|| RESIDENT.usable_size(object.cast()));
    size.unwrap_or(0)
}

/// malloc_trim(3): what is free has been given back already.
#[unsafe(no_mangle)]
extern "C" fn malloc_trim(_pad: size_t) -> c_int {
    0
}

/// mallopt(3): no parameter of glibc's has a meaning here; none is an error.
#[unsafe(no_mangle)]
extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}

/// mallinfo2(3): the bytes of spans in use, as arena and as used.
#[unsafe(no_mangle)]
extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let bytes = PAGED.stats().span_bytes;
    // SAFETY: a struct of integers.
    let mut info: libc::mallinfo2 = unsafe { core::mem::zeroed() };
    (info.arena, info.uordblks) = (bytes, bytes);
    info
}

/// malloc_stats(3).
#[unsafe(no_mangle)]
extern "C" fn malloc_stats() {
    let stats = PAGED.stats();
    crate::start::complain(&format!(
        "{} spans hold {} bytes; {} bytes of metadata about them",
        stats.spans, stats.span_bytes, stats.metadata_bytes
    ));
}

macro_rules! libc_names {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $target:ident;)*) => {$(
        /// glibc's internal name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
            #[allow(unused_unsafe, reason = "some targets are safe functions")]
            // SAFETY: as the caller's.
            unsafe { $target($($arg),*) }
        }
    )*};
}

libc_names! {
    __libc_malloc(size: size_t) -> *mut c_void = malloc;
    __libc_calloc(count: size_t, size: size_t) -> *mut c_void = calloc;
    __libc_realloc(object: *mut c_void, size: size_t) -> *mut c_void = realloc;
    __libc_free(object: *mut c_void) = free;
    __libc_memalign(align: size_t, size: size_t) -> *mut c_void = memalign;
    __libc_valloc(size: size_t) -> *mut c_void = valloc;
    __libc_pvalloc(size: size_t) -> *mut c_void = pvalloc;
}
