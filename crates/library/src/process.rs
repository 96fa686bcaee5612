#![expect(unsafe_code, reason = "exports C functions, which take structures and hand out memory")]
//! The pager of a C program, and mappings that it pages.

use crate::budget_c::OcBudget;
use crate::builder::{BuildError, HeapBuilder};
use crate::error::{Kind, failed, note};
use crate::heap::Heap;
use crate::mapping::Mappings;
use crate::paging::Paging;
use crate::resident;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use engine::{Commit, OpenError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When the store's room is charged.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcCommit {
    /// When pages are evicted: when none is left, nothing is lost, but RAM use may pass the
    /// budget, which is said on standard error.
    Lazy,
    /// When memory is handed out: what the store has no room for is refused with ENOMEM.
    Strict,
}

/// What is to be paged, and where to. All zero but a budget, own or shared, is a good choice.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OcConfig {
    /// How many bytes of RAM pages, and the tables about them, may take: at least 4 MiB. 0 if a
    /// budget is shared; for an arena also under outcore run, whose budget it shares then.
    pub budget: usize,
    /// The directory for a store without a name, on a disk; NULL is /var/tmp.
    pub store: *const c_char,
    /// How many bytes may go there; 0 is 64 GiB.
    pub store_size: usize,
    /// One of oc_commit.
    pub commit: c_int,
    /// A budget that heaps and arenas share, in place of one of its own; or NULL.
    pub share: *const OcBudget,
}

/// How much there is of what, and what has happened. Bytes, pages or calls, as said.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OcStatus {
    /// 1 after outcore_init, else 0, and all that follows as well.
    pub initialized: c_int,
    /// 1 after outcore_enable, 0 after outcore_disable.
    pub enabled: c_int,
    /// Bytes of RAM that may be taken.
    pub budget: usize,
    /// Bytes of mappings that are paged.
    pub mapped: usize,
    /// Bytes of pages that are mapped in memory.
    pub resident: usize,
    /// Bytes of pages that are in memory and not mapped.
    pub parked: usize,
    /// Bytes of pages that hold data and are in the store only.
    pub swapped: usize,
    /// Bytes of the store that are in use.
    pub store_used: usize,
    /// Faults resolved without a transfer.
    pub minor_faults: u64,
    /// Faults that waited for the store.
    pub major_faults: u64,
    /// Pages read from the store.
    pub swap_ins: u64,
    /// Pages written to the store.
    pub swap_outs: u64,
    /// Pages that were lost: touching them is SIGBUS.
    pub poisoned_pages: u64,
}

struct State {
    heap: Option<Heap>,
    enabled: bool,
    mappings: Mappings,
}

static STATE: Mutex<State> = Mutex::new(State { heap: None, enabled: false, mappings: Mappings::new() });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The heap whose pager is the program's, once it has one.
pub(crate) fn heap() -> Option<Heap> {
    state().heap.clone()
}

/// What a C caller's settings are.
///
/// # Safety
/// NULL, or settings whose store is NULL or a string, and whose share is NULL or a budget.
pub(crate) unsafe fn settings(function: &str, config: *const OcConfig) -> Option<(HeapBuilder, u64)> {
    // SAFETY: the caller's contract.
    let Some(config) = (unsafe { config.as_ref() }) else {
        return failed(function, Kind::Invalid, &"no settings were given");
    };
    // SAFETY: the caller's contract.
    let mut heap = match (config.budget, unsafe { config.share.as_ref() }) {
        (0, Some(budget)) => Heap::builder().share(budget.budget()),
        (0, None) => Heap::builder(),
        (bytes, None) => Heap::builder().budget(bytes as u64),
        (_, Some(_)) => {
            let message = "a budget of its own and one to share: give either";
            return failed(function, Kind::Invalid, &message);
        }
    };
    if !config.store.is_null() {
        use std::os::unix::ffi::OsStrExt as _;
        // SAFETY: the caller's contract.
        let store = unsafe { CStr::from_ptr(config.store) };
        heap = heap.store_in(std::ffi::OsStr::from_bytes(store.to_bytes()));
    }
    let mut room = config.store_size as u64;
    if config.store_size == 0 {
        room = 64 << 30;
    }
    heap = heap.store_size(room);
    heap = match config.commit {
        lazy if lazy == OcCommit::Lazy as c_int => heap,
        strict if strict == OcCommit::Strict as c_int => heap.commit(Commit::Strict),
        other => {
            let message = format!("a commit policy of {other}: give OC_COMMIT_LAZY or OC_COMMIT_STRICT");
            return failed(function, Kind::Invalid, &message);
        }
    };
    // SAFETY: the caller's contract.
    let ram = unsafe { config.share.as_ref() }.map_or(config.budget as u64, |share| share.budget().bytes());
    Some((heap, room.saturating_add(ram)))
}

fn build(function: &str, heap: HeapBuilder) -> Option<Heap> {
    heap.build().map_or_else(|error| failed(function, kind(&error), &error), Some)
}

/// What errno says of it.
fn kind(error: &BuildError) -> Kind {
    use store::OpenError as Store;
    match error {
        BuildError::NoBudget => Kind::Invalid,
        BuildError::Fork => Kind::NoMemory,
        BuildError::Started => Kind::Number(libc::EALREADY),
        BuildError::Open(error) => match error {
            OpenError::SmallBudget { .. } | OpenError::LargeBudget { .. } | OpenError::Faults(_) => {
                Kind::Invalid
            }
            OpenError::SharedBudget { .. } => Kind::NoMemory,
            OpenError::TooManyShare => Kind::Number(libc::EMFILE),
            OpenError::Userfaultfd(_) => Kind::Number(libc::ENOTSUP),
            OpenError::Store(Store::Missing(_)) => Kind::Number(libc::ENOENT),
            OpenError::Store(Store::NotADirectory(_)) => Kind::Number(libc::ENOTDIR),
            OpenError::Store(Store::NotWritable(_)) => Kind::Number(libc::EACCES),
            OpenError::Store(Store::Full(_)) => Kind::Number(libc::ENOSPC),
            OpenError::Store(Store::InMemory(_)) => Kind::Invalid,
            OpenError::Store(Store::Other(_, error)) | OpenError::Kernel(_, error) => {
                Kind::Number(error.raw_os_error())
            }
            OpenError::Thread(error) => Kind::Number(error.raw_os_error().unwrap_or(libc::EAGAIN)),
        },
    }
}

/// A pager of its own for a C heap, and what it can hold.
///
/// # Safety
/// As [`settings`].
pub(crate) unsafe fn start(function: &str, config: *const OcConfig) -> Option<(Arc<Paging>, u64)> {
    // SAFETY: the caller's contract.
    let (heap, room) = unsafe { settings(function, config) }?;
    build(function, heap).map(|heap| (Arc::clone(heap.paging()), room))
}

/// Starts the program's pager, once; nothing is paged before outcore_enable. 0, or -1 with
/// errno: EINVAL for impossible settings, EALREADY if it was started before, ENOTSUP if the
/// kernel gives no userfaultfd; what is wrong with the store's directory; or what else the
/// kernel says. oc_error tells.
///
/// # Safety
/// `config` points to settings; its store is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn outcore_init(config: *const OcConfig) -> c_int {
    resident::scope(|| {
        let mut state = state();
        if state.heap.is_some() {
            note("outcore_init", Kind::Number(libc::EALREADY), &"the pager was started before");
            return -1;
        }
        // SAFETY: the caller's contract.
        let Some((heap, room)) = (unsafe { settings("outcore_init", config) }) else { return -1 };
        let Some(heap) = build("outcore_init", heap) else { return -1 };
        state.mappings.begin(heap.paging(), room);
        state.heap = Some(heap);
        0
    })
}

/// The program's pager; none before outcore_init.
pub(crate) fn pager() -> Option<Arc<Paging>> {
    state().heap.as_ref().map(|heap| Arc::clone(heap.paging()))
}

fn set_enabled(function: &str, enabled: bool) -> c_int {
    let mut state = state();
    if state.heap.is_none() {
        note(function, Kind::Invalid, &"there is no pager: call outcore_init first");
        return -1;
    }
    state.enabled = enabled;
    0
}

/// From now on what oc_mmap gives is paged. 0, or -1 with EINVAL before outcore_init.
#[unsafe(no_mangle)]
pub extern "C" fn outcore_enable() -> c_int {
    set_enabled("outcore_enable", true)
}

/// From now on what oc_mmap gives is the kernel's. What it gave before stays paged. 0, or -1
/// with EINVAL before outcore_init.
#[unsafe(no_mangle)]
pub extern "C" fn outcore_disable() -> c_int {
    set_enabled("outcore_disable", false)
}

/// Says how things are now. 0; -1 with EINVAL if `status` is NULL.
///
/// # Safety
/// `status` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn outcore_status(status: *mut OcStatus) -> c_int {
    if status.is_null() {
        note("outcore_status", Kind::Invalid, &"there is nothing to write the status to");
        return -1;
    }
    let now = {
        let state = state();
        state.heap.as_ref().map_or_else(OcStatus::default, |heap| {
            let stats = heap.stats();
            OcStatus {
                initialized: 1,
                enabled: state.enabled.into(),
                budget: stats.budget_bytes as usize,
                mapped: state.mappings.paged_bytes(),
                resident: stats.resident_bytes as usize,
                parked: stats.parked_bytes as usize,
                swapped: stats.swapped_bytes as usize,
                store_used: stats.store_used_bytes as usize,
                minor_faults: stats.minor_faults,
                major_faults: stats.major_faults,
                swap_ins: stats.swap_ins,
                swap_outs: stats.swap_outs,
                poisoned_pages: stats.poisoned_pages,
            }
        })
    };
    // SAFETY: the caller's contract.
    unsafe { status.write(now) };
    0
}

/// Pages for `length` bytes, all zero, readable and writable: paged if that is enabled. NULL
/// with EINVAL for 0 bytes, with ENOMEM if there are none, or under strict commit no room in
/// the store. Forked children have no paged mapping.
#[unsafe(no_mangle)]
pub extern "C" fn oc_mmap(length: usize) -> *mut c_void {
    let mapped = resident::scope(|| {
        if length == 0 {
            return failed("oc_mmap", Kind::Invalid, &"0 bytes were asked for: ask for at least 1");
        }
        let mut state = state();
        let mapped =
            if state.enabled { state.mappings.map_paged(length) } else { state.mappings.map(length) };
        mapped
            .or_else(|| failed("oc_mmap", Kind::NoMemory, &format!("there are no pages for {length} bytes")))
    });
    mapped.map_or(null_mut(), core::ptr::with_exposed_provenance_mut)
}

/// Gives back all of a mapping, or whole pages of it: 0. Anything else is refused: -1 with
/// EINVAL, and nothing has changed.
///
/// # Safety
/// Nobody uses these pages any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_munmap(address: *mut c_void, length: usize) -> c_int {
    resident::scope(|| match state().mappings.unmap(address.addr(), length) {
        Ok(()) => 0,
        Err(_) => {
            let message = format!("the {length} bytes at {address:p} are not whole pages of one mapping");
            note("oc_munmap", Kind::Invalid, &message);
            -1
        }
    })
}
