#![expect(unsafe_code, reason = "C names with C's contracts")]
//! The malloc family.
//!
//! Two heaps serve it. What the program allocates comes from the paged one. What is
//! allocated for the pager thread, and what the dynamic linker allocates, comes from a
//! resident one: the linker's tables and threads' vectors of thread-local storage are
//! read by every thread that calls a function for the first time or uses such storage,
//! and the pager must never wait for itself. The linker is known by its return address.

use crate::source::{EngineSource, ResidentSource};
use crate::{errno, tls};
use core::arch::naked_asm;
use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use engine::PAGE;
use heap::{FreeError, Heap, LARGEST_SMALL, ThreadCache};
use libc::size_t;

static PAGED: Heap<EngineSource> = Heap::new(EngineSource);
static RESIDENT: Heap<ResidentSource> = Heap::new(ResidentSource);

static KEY: AtomicU32 = AtomicU32::new(u32::MAX);
/// The dynamic linker's code: where it begins, and its length. Empty before `init`: what
/// it allocates until then is read before there is a pager.
static LINKER: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// Who is served from the resident heap: callers from here on, and so many bytes of code.
/// The dynamic linker, or everybody.
static SERVED_RESIDENT: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

fn serve_resident(start: usize, len: usize) {
    SERVED_RESIDENT[0].store(start, Ordering::Release);
    SERVED_RESIDENT[1].store(len, Ordering::Release);
}

/// The C library's code that keeps what it knows of name services (nsswitch.conf(5)), as far as can be told: fork
/// reads and writes that while nobody can page. Where there is none, no address is near.
static NAMES: AtomicUsize = AtomicUsize::new(1 << 63);
/// Bytes of that code, around the function that is found by name. Others' that lies there allocates little.
const NAMES_LEN: usize = 8 << 10;

/// What every C object may be aligned to.
const ALIGN: usize = 16;

/// Values of the thread's slot that are not the address of its cache.
const NO_CACHE_YET: usize = 0;
const NO_CACHE: usize = 1;
const PAGER_THREAD: usize = 2;

/// The address that an allocation returns to.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Caller(usize);

/// Anybody but the dynamic linker.
const PROGRAM: Caller = Caller(0);

/// Who serves an allocation.
enum Server {
    Paged(Option<&'static mut ThreadCache>),
    Resident,
}

/// Before `main`: makes the key whose destructor gives a thread's cache back. Early,
/// so that it is among the keys for which glibc allocates nothing.
pub(crate) fn init() {
    let mut key = 0;
    // SAFETY: the destructor is a function of this library, which is never unloaded.
    if unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0 {
        KEY.store(key, Ordering::Release);
    }
    // SAFETY: the callback fits; it reads what it is given and calls nothing.
    unsafe { libc::dl_iterate_phdr(Some(find_linker), null_mut()) };
    // SAFETY: names that end in zero. The function is not called.
    let names = unsafe {
        libc::dlvsym(libc::RTLD_DEFAULT, c"__nss_database_get".as_ptr(), c"GLIBC_PRIVATE".as_ptr())
    };
    if !names.is_null() {
        NAMES.store(names.addr() - NAMES_LEN / 2, Ordering::Relaxed);
    }
}

unsafe extern "C" {
    /// A function of the dynamic linker, wherever it is and whatever its name.
    fn __tls_get_addr();
}

/// Notes the segment that holds the dynamic linker's code; 1 ends the search.
unsafe extern "C" fn find_linker(object: *mut libc::dl_phdr_info, _len: size_t, _data: *mut c_void) -> c_int {
    // SAFETY: the linker's description of one object, valid during the call.
    let (object, segments) = unsafe {
        let object = &*object;
        (object, core::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    let inside = __tls_get_addr as *const () as usize;
    for segment in segments.iter().filter(|segment| segment.p_type == libc::PT_LOAD) {
        let (start, len) = ((object.dlpi_addr + segment.p_vaddr) as usize, segment.p_memsz as usize);
        if inside.wrapping_sub(start) < len {
            LINKER[0].store(start, Ordering::Relaxed);
            LINKER[1].store(len, Ordering::Relaxed);
            serve_resident(start, len);
            return 1;
        }
    }
    0
}

/// Runs `work` with every allocation resident.
pub(crate) fn resident_while<T>(work: impl FnOnce() -> T) -> T {
    serve_resident(0, usize::MAX);
    let result = work();
    let [start, len] = [0, 1].map(|index| LINKER[index].load(Ordering::Relaxed));
    serve_resident(start, len);
    result
}

/// Tells that this thread is the pager's, which never ends.
pub(crate) fn this_is_the_pager_thread() {
    tls::set(PAGER_THREAD);
    leave_the_count();
}

/// The C library calls `exit` when the last of its threads ends, and this one is not the
/// program's. Without effect where the library does not show its counter.
fn leave_the_count() {
    // SAFETY: a name that ends in zero; glibc 2.34 and later have a 32-bit counter there,
    // which they change by atomic instructions only.
    unsafe {
        let counter = libc::dlsym(libc::RTLD_DEFAULT, c"__nptl_nthreads".as_ptr()).cast::<AtomicU32>();
        if let Some(counter) = counter.as_ref() {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether this thread is the pager's, or one that it started.
pub(crate) fn is_the_pager_thread() -> bool {
    tls::get() == PAGER_THREAD
}

#[inline]
fn is_served_resident(caller: Caller) -> bool {
    let [start, len] = [0, 1].map(|index| SERVED_RESIDENT[index].load(Ordering::Relaxed));
    caller.0.wrapping_sub(start) < len || caller.0.wrapping_sub(NAMES.load(Ordering::Relaxed)) < NAMES_LEN
}

fn server(caller: Caller) -> Server {
    if is_served_resident(caller) {
        return Server::Resident;
    }
    match tls::get() {
        PAGER_THREAD => Server::Resident,
        slot => Server::Paged(cache_in(slot)),
    }
}

/// Whether nothing of the program's lies in the page at `addr`, as far as that is certain.
/// Neither waits nor allocates.
pub(crate) fn is_unused(addr: usize) -> bool {
    PAGED.is_unused(addr)
}

/// The cache that a thread's slot tells of; made at the first use.
#[inline]
fn cache_in(slot: usize) -> Option<&'static mut ThreadCache> {
    match slot {
        NO_CACHE_YET => make_cache(),
        NO_CACHE | PAGER_THREAD => None,
        // SAFETY: the cache is this thread's until its destructor runs, and no call
        // of ours is active twice in a thread (signal handlers may not call malloc).
        address => Some(unsafe { &mut *(address as *mut ThreadCache) }),
    }
}

#[inline]
fn cache() -> Option<&'static mut ThreadCache> {
    cache_in(tls::get())
}

#[cold]
fn make_cache() -> Option<&'static mut ThreadCache> {
    let key = KEY.load(Ordering::Acquire);
    if key == u32::MAX {
        return None;
    }
    // pthread_setspecific may allocate; that goes without a cache.
    tls::set(NO_CACHE);
    let cache = Box::into_raw(ThreadCache::new());
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
    // Later destructors still allocate and free, without a cache.
    tls::set(NO_CACHE);
    // SAFETY: made by `make_cache` in this thread, which no longer uses it.
    let mut cache = unsafe { Box::from_raw(cache.cast::<ThreadCache>()) };
    if let Err(error) = PAGED.flush(&mut cache) {
        misuse("free()", error, null_mut());
    }
}

/// Before a fork: nothing is half done in any heap.
pub(crate) fn lock_for_fork() {
    PAGED.lock_for_fork();
    RESIDENT.lock_for_fork();
}

/// After it, in parent and child. The caches of threads that the child does not have
/// stay as they are: what they hold is lost to the child, a few KiB each.
pub(crate) fn unlock_after_fork() {
    RESIDENT.unlock_after_fork();
    PAGED.unlock_after_fork();
}

/// The object, or null and why.
fn or_out_of_memory(object: *mut u8) -> *mut c_void {
    if object.is_null() {
        errno::set(libc::ENOMEM);
    }
    object.cast()
}

#[cold]
fn allocate(size: usize, align: usize, caller: Caller) -> *mut c_void {
    or_out_of_memory(match server(caller) {
        Server::Paged(cache) => PAGED.alloc(cache, size, align),
        Server::Resident => RESIDENT.alloc(None, size, align),
    })
}

/// Says what was freed wrongly, and stops: the program's memory is not what it thinks.
#[cold]
fn misuse(call: &str, error: FreeError, object: *mut c_void) -> ! {
    let (object, what) = match error {
        FreeError::Foreign => (object.addr(), "not allocated here"),
        FreeError::NotAnObject => (object.addr(), "not the start of an allocated block"),
        // That may have been a while ago.
        FreeError::AlreadyFree(addr) => (addr, "freed twice"),
    };
    crate::start::complain(&format!("{call}: invalid pointer {object:#x}: {what}"));
    std::process::abort()
}

#[inline]
extern "C" fn malloc_for(size: size_t, caller: Caller) -> *mut c_void {
    let slot = tls::get();
    if slot > PAGER_THREAD && size <= LARGEST_SMALL && !is_served_resident(caller) {
        // SAFETY: as in `cache_in`.
        if let Some(object) = unsafe { (*(slot as *mut ThreadCache)).take(size) } {
            return object as *mut c_void;
        }
    }
    allocate(size, ALIGN, caller)
}

extern "C" fn calloc_for(count: size_t, size: size_t, caller: Caller) -> *mut c_void {
    or_out_of_memory(count.checked_mul(size).map_or(null_mut(), |size| match server(caller) {
        Server::Paged(cache) => PAGED.alloc_zeroed(cache, size, ALIGN),
        Server::Resident => RESIDENT.alloc_zeroed(None, size, ALIGN),
    }))
}

/// Size 0 frees, as in glibc. A pointer from elsewhere stops the program: how much
/// there is to copy is not known, and glibc's linker never passes one.
unsafe extern "C" fn realloc_for(object: *mut c_void, size: size_t, caller: Caller) -> *mut c_void {
    if object.is_null() {
        return malloc_for(size, caller);
    }
    if size == 0 {
        // SAFETY: as the caller's.
        unsafe { release(object) };
        return null_mut();
    }
    // SAFETY: the caller gives the object up, if it moves.
    let moved = unsafe {
        match PAGED.realloc(cache(), object.cast(), size) {
            Err(FreeError::Foreign) => RESIDENT.realloc(None, object.cast(), size),
            moved => moved,
        }
    };
    moved.map_or_else(|error| misuse("realloc()", error, object), or_out_of_memory)
}

/// Alignments that are no power of two are rounded up, as in glibc.
extern "C" fn memalign_for(align: size_t, size: size_t, caller: Caller) -> *mut c_void {
    match align.checked_next_power_of_two() {
        Some(align) => allocate(size, align.max(ALIGN), caller),
        None => {
            errno::set(libc::EINVAL);
            null_mut()
        }
    }
}

/// Frees. What a thread's cache has room for needs no more than that.
#[inline(always)]
unsafe fn release(object: *mut c_void) {
    let slot = tls::get();
    if slot > PAGER_THREAD {
        // SAFETY: as in `cache_in`; the caller gives the object up.
        if unsafe { PAGED.free_to(&mut *(slot as *mut ThreadCache), object.cast()) } {
            return;
        }
    }
    // SAFETY: as the caller's.
    unsafe { release_other(object) };
}

/// Memory that the dynamic linker handed out before this library was there is ignored: it
/// is never reused, by the linker either.
#[cold]
unsafe fn release_other(object: *mut c_void) {
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
        Ok(()) | Err(FreeError::Foreign) => {}
        Err(error) => misuse("free()", error, object),
    }
}

/// malloc(3).
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn malloc(size: size_t) -> *mut c_void {
    naked_asm!("mov rsi, [rsp]", "jmp {}", sym malloc_for)
}

/// calloc(3).
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    naked_asm!("mov rdx, [rsp]", "jmp {}", sym calloc_for)
}

/// realloc(3).
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn realloc(object: *mut c_void, size: size_t) -> *mut c_void {
    naked_asm!("mov rdx, [rsp]", "jmp {}", sym realloc_for)
}

/// memalign(3).
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn memalign(align: size_t, size: size_t) -> *mut c_void {
    naked_asm!("mov rdx, [rsp]", "jmp {}", sym memalign_for)
}

/// free(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn free(object: *mut c_void) {
    // SAFETY: as the caller's.
    unsafe { release(object) }
}

/// The old name of free.
#[unsafe(no_mangle)]
unsafe extern "C" fn cfree(object: *mut c_void) {
    // SAFETY: as the caller's.
    unsafe { release(object) }
}

/// reallocarray(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(object: *mut c_void, count: size_t, size: size_t) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: as the caller's.
        Some(size) => unsafe { realloc_for(object, size, PROGRAM) },
        None => or_out_of_memory(null_mut()),
    }
}

/// posix_memalign(3): errno is left alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: size_t, size: size_t) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    let _errno = errno::Kept::now();
    let object = allocate(size, align.max(ALIGN), PROGRAM);
    if object.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's place.
    unsafe { *place = object };
    0
}

/// aligned_alloc(3).
#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: size_t, size: size_t) -> *mut c_void {
    if !align.is_power_of_two() {
        errno::set(libc::EINVAL);
        return null_mut();
    }
    allocate(size, align.max(ALIGN), PROGRAM)
}

/// valloc(3).
#[unsafe(no_mangle)]
extern "C" fn valloc(size: size_t) -> *mut c_void {
    allocate(size, PAGE, PROGRAM)
}

/// pvalloc(3).
#[unsafe(no_mangle)]
extern "C" fn pvalloc(size: size_t) -> *mut c_void {
    match size.checked_next_multiple_of(PAGE) {
        Some(size) => allocate(size, PAGE, PROGRAM),
        None => or_out_of_memory(null_mut()),
    }
}

/// malloc_usable_size(3).
#[unsafe(no_mangle)]
extern "C" fn malloc_usable_size(object: *mut c_void) -> size_t {
    let addr = object.addr();
    // SAFETY: the program says that it has it.
    unsafe { PAGED.usable_size_of(addr).or_else(|| RESIDENT.usable_size_of(addr)).unwrap_or(0) }
}

/// malloc_trim(3): what this thread keeps goes back as well. 1 if anything was given back.
#[unsafe(no_mangle)]
extern "C" fn malloc_trim(_pad: size_t) -> c_int {
    let _errno = errno::Kept::now();
    flush_own();
    c_int::from(PAGED.trim())
}

/// Gives back what this thread keeps, so that what is counted is what the program has.
fn flush_own() {
    let flushed = match cache() {
        Some(cache) => PAGED.flush(cache),
        None => Ok(()),
    };
    if let Err(error) = flushed {
        misuse("free()", error, null_mut());
    }
}

/// mallopt(3): no parameter of glibc's has a meaning here; none is an error.
#[unsafe(no_mangle)]
extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}

/// mallinfo2(3): `arena`, the bytes of spans; `uordblks`, of the objects in use, those of
/// at least 33 KiB also as `hblkhd` and their number as `hblks`; `fordblks`, the rest of
/// the spans and what is kept for reuse, the latter also as `keepcost`. What other threads
/// keep counts as in use.
#[unsafe(no_mangle)]
extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let _errno = errno::Kept::now();
    flush_own();
    let stats = PAGED.stats();
    // SAFETY: a struct of integers.
    let mut info: libc::mallinfo2 = unsafe { core::mem::zeroed() };
    info.arena = stats.span_bytes + stats.kept_bytes;
    info.hblks = stats.large_objects;
    info.hblkhd = stats.large_bytes;
    info.uordblks = stats.in_use_bytes;
    info.fordblks = info.arena.saturating_sub(stats.in_use_bytes);
    info.keepcost = stats.kept_bytes;
    info
}

/// mallinfo(3): as mallinfo2(3), as far as an int reaches.
#[unsafe(no_mangle)]
extern "C" fn mallinfo() -> libc::mallinfo {
    let wide = mallinfo2();
    let narrow = |bytes: size_t| c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: a struct of integers.
    let mut info: libc::mallinfo = unsafe { core::mem::zeroed() };
    info.arena = narrow(wide.arena);
    info.hblks = narrow(wide.hblks);
    info.hblkhd = narrow(wide.hblkhd);
    info.uordblks = narrow(wide.uordblks);
    info.fordblks = narrow(wide.fordblks);
    info.keepcost = narrow(wide.keepcost);
    info
}

/// malloc_stats(3), on standard error.
#[unsafe(no_mangle)]
extern "C" fn malloc_stats() {
    let _errno = errno::Kept::now();
    flush_own();
    let stats = PAGED.stats();
    crate::start::complain(&format!(
        "malloc: {} bytes in use, {} of them in {} large objects; {} spans of {} bytes; {} bytes kept for \
         reuse; {} bytes of metadata",
        stats.in_use_bytes,
        stats.large_bytes,
        stats.large_objects,
        stats.spans,
        stats.span_bytes,
        stats.kept_bytes,
        stats.metadata_bytes
    ));
}

/// malloc_info(3): one element for each size of objects that there are spans of, and the
/// totals that malloc_stats(3) prints.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int {
    if options != 0 || stream.is_null() {
        errno::set(libc::EINVAL);
        return -1;
    }
    flush_own();
    let stats = PAGED.stats();
    let mut text = String::from("<malloc version=\"outcore-1\">\n<sizes>\n");
    for class in PAGED.class_stats() {
        text.push_str(&format!(
            "<size bytes=\"{}\" spans=\"{}\" used=\"{}\" free=\"{}\"/>\n",
            class.size, class.spans, class.used, class.free
        ));
    }
    text.push_str(&format!(
        "</sizes>\n<large count=\"{}\" bytes=\"{}\"/>\n<total type=\"in use\" bytes=\"{}\"/>\n<total \
         type=\"spans\" count=\"{}\" bytes=\"{}\"/>\n<total type=\"kept\" bytes=\"{}\"/>\n<total \
         type=\"metadata\" bytes=\"{}\"/>\n</malloc>\n",
        stats.large_objects,
        stats.large_bytes,
        stats.in_use_bytes,
        stats.spans,
        stats.span_bytes,
        stats.kept_bytes,
        stats.metadata_bytes
    ));
    // SAFETY: the caller's stream, and bytes of ours.
    let written = unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), stream) };
    if written == text.len() { 0 } else { -1 }
}

/// glibc's internal name of malloc.
#[unsafe(no_mangle)]
extern "C" fn __libc_malloc(size: size_t) -> *mut c_void {
    malloc_for(size, PROGRAM)
}

/// glibc's internal name of calloc.
#[unsafe(no_mangle)]
extern "C" fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void {
    calloc_for(count, size, PROGRAM)
}

/// glibc's internal name of realloc.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_realloc(object: *mut c_void, size: size_t) -> *mut c_void {
    // SAFETY: as the caller's.
    unsafe { realloc_for(object, size, PROGRAM) }
}

/// glibc's internal name of free.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_free(object: *mut c_void) {
    // SAFETY: as the caller's.
    unsafe { release(object) }
}

/// glibc's internal name of memalign.
#[unsafe(no_mangle)]
extern "C" fn __libc_memalign(align: size_t, size: size_t) -> *mut c_void {
    memalign_for(align, size, PROGRAM)
}

/// glibc's internal name of valloc.
#[unsafe(no_mangle)]
extern "C" fn __libc_valloc(size: size_t) -> *mut c_void {
    valloc(size)
}

/// glibc's internal name of pvalloc.
#[unsafe(no_mangle)]
extern "C" fn __libc_pvalloc(size: size_t) -> *mut c_void {
    pvalloc(size)
}
