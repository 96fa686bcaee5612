#![expect(unsafe_code, reason = "exports C functions, which take names and hand out memory")]
//! Shared arenas, for C.

use crate::arena::Arena;
use crate::budget_c;
use crate::error::{Kind, failed, note};
use crate::process::{self, OcConfig};
use crate::shared::{ShareError, SharedArena, SharedArenaBuilder};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use engine::shared::SharedError;

/// A shared arena, as this process has it mapped. It is used from any thread.
#[derive(Debug)]
pub struct OcSharedArena {
    arena: SharedArena,
}

/// The numbers of a shared arena, of all members together: bytes, or how many.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OcSharedStatus {
    /// Bytes of RAM that its pages may take; of a budget that is shared, now.
    pub budget: usize,
    /// Bytes of pages that are in memory, once for all members.
    pub resident: usize,
    /// Bytes of pages that are in memory and mapped nowhere.
    pub parked: usize,
    /// Bytes of pages that hold data and are in the store only.
    pub swapped: usize,
    /// Bytes of the store that are in use.
    pub store_used: usize,
    /// Attachments, of this process and others.
    pub members: usize,
    /// 1 if the arena's server was killed: what was not in memory is lost. All else is 0 then.
    pub orphaned: c_int,
}

/// What errno says of it.
fn kind(error: &ShareError) -> Kind {
    match error {
        ShareError::NoBudget | ShareError::OutOfRange { .. } => Kind::Invalid,
        ShareError::TooMany | ShareError::NoForkHandler => Kind::NoMemory,
        ShareError::Forked => Kind::Number(libc::ECHILD),
        ShareError::Arena(error) => match error {
            SharedError::Name { name, .. } if name.len() >= engine::shared::LONGEST_NAME => {
                Kind::Number(libc::ENAMETOOLONG)
            }
            SharedError::Name { .. }
            | SharedError::Size { .. }
            | SharedError::Range { .. }
            | SharedError::SmallBudget { .. } => Kind::Invalid,
            SharedError::Budget(error) => budget_c::kind(error),
            SharedError::NoRoom { .. } => Kind::NoMemory,
            SharedError::Exists { .. } => Kind::Number(libc::EEXIST),
            SharedError::NotFound { .. } => Kind::Number(libc::ENOENT),
            SharedError::NotOurs { .. } => Kind::Number(libc::EACCES),
            SharedError::Version { .. } | SharedError::Strange { .. } => Kind::Number(libc::EPROTO),
            SharedError::TooManyMembers => Kind::Number(libc::EMFILE),
            SharedError::Server(_) => Kind::Number(libc::EIO),
            SharedError::Gone => Kind::Number(libc::EOWNERDEAD),
            SharedError::Userfaultfd(_) => Kind::Number(libc::ENOTSUP),
            SharedError::Kernel(_, error) => Kind::Number(error.raw_os_error()),
        },
    }
}

/// # Safety
/// NULL, or a string.
unsafe fn text(function: &str, name: *const c_char) -> Option<String> {
    if name.is_null() {
        return failed(function, Kind::Invalid, &"no name was given");
    }
    // SAFETY: the caller's contract.
    match unsafe { CStr::from_ptr(name) }.to_str() {
        Ok(name) => Some(name.to_owned()),
        Err(_) => failed(function, Kind::Invalid, &"the name is not UTF-8"),
    }
}

fn hand_out(function: &str, arena: Result<SharedArena, ShareError>) -> *mut OcSharedArena {
    match arena {
        Ok(arena) => Box::into_raw(Box::new(OcSharedArena { arena })),
        Err(error) => failed(function, kind(&error), &error).unwrap_or(null_mut()),
    }
}

/// Makes an arena of `size` bytes that other processes of this user attach to by its name, of 1
/// to 64 bytes without slashes; its budget is for all of them together. NULL with errno: EINVAL,
/// ENAMETOOLONG, EEXIST if there is one of that name, ENOMEM if others leave too little of a budget
/// that is to be shared, ENOTSUP if the kernel gives no userfaultfd
/// for shared memory, EIO if its server cannot begin; or what else the kernel says. oc_error
/// tells. The server is a process of its own that begins as this program does and never
/// reaches main; this process gets a SIGCHLD when it has been started.
///
/// # Safety
/// `name` is NULL or a string; `config` is NULL or points to settings, whose store is NULL or a
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_create_shared(
    name: *const c_char,
    size: u64,
    config: *const OcConfig,
) -> *mut OcSharedArena {
    const FUNCTION: &str = "oc_arena_create_shared";
    // SAFETY: the caller's contract.
    let given = unsafe { (text(FUNCTION, name), config) };
    let (Some(name), config) = given else { return null_mut() };
    // SAFETY: the caller's contract.
    let Some((heap, _)) = (unsafe { process::settings(FUNCTION, config) }) else { return null_mut() };
    hand_out(FUNCTION, SharedArenaBuilder::of_heap(&name, size, heap).create())
}

/// Attaches to an arena that this user has made. NULL with errno: EINVAL, ENAMETOOLONG, ENOENT if
/// there is none of that name, EACCES if it is another user's, EPROTO if its layout is another
/// one, EMFILE if it has 128 members; or what else the kernel says. oc_error tells.
///
/// # Safety
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_attach(name: *const c_char) -> *mut OcSharedArena {
    const FUNCTION: &str = "oc_arena_attach";
    // SAFETY: the caller's contract.
    match unsafe { text(FUNCTION, name) } {
        Some(name) => hand_out(FUNCTION, Arena::attach(&name)),
        None => null_mut(),
    }
}

/// Leaves an arena, whose memory this process has no longer. The last one out removes it. NULL
/// is left alone.
///
/// # Safety
/// It was given by one of the functions above, and is given back once; nobody in this process
/// uses its memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_detach(arena: *mut OcSharedArena) {
    if !arena.is_null() {
        // SAFETY: made by `Box::into_raw`, and dropped once.
        drop(unsafe { Box::from_raw(arena) });
    }
}

/// Where an arena begins in this process: a multiple of the page size, and another address in
/// each process.
///
/// # Safety
/// It is attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_address(arena: *const OcSharedArena) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { &*arena }.arena.as_ptr().cast()
}

/// The bytes of an arena: what was asked for, in whole pages.
///
/// # Safety
/// It is attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_size(arena: *const OcSharedArena) -> usize {
    // SAFETY: the caller's contract.
    unsafe { &*arena }.arena.len()
}

/// Drops the contents of whole pages for all members: they read as zeros then. 0, or -1 with
/// errno: EINVAL for what are not pages of the arena, EOWNERDEAD if its server was killed.
///
/// # Safety
/// It is attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_discard(
    arena: *const OcSharedArena,
    offset: usize,
    length: usize,
) -> c_int {
    // SAFETY: the caller's contract.
    match unsafe { &*arena }.arena.discard(offset, length) {
        Ok(()) => 0,
        Err(error) => {
            note("oc_arena_discard", kind(&error), &error);
            -1
        }
    }
}

/// Says how an arena is now. 0, also where its server was killed; -1 with EINVAL if `status` is
/// NULL, with ECHILD in a forked child.
///
/// # Safety
/// It is attached; `status` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_arena_status(arena: *const OcSharedArena, status: *mut OcSharedStatus) -> c_int {
    const FUNCTION: &str = "oc_arena_status";
    if status.is_null() {
        note(FUNCTION, Kind::Invalid, &"there is nothing to write the status to");
        return -1;
    }
    // SAFETY: the caller's contract.
    let now = match unsafe { &*arena }.arena.stats() {
        Ok(stats) => OcSharedStatus {
            budget: stats.budget_bytes as usize,
            resident: stats.resident_bytes as usize,
            parked: stats.parked_bytes as usize,
            swapped: stats.swapped_bytes as usize,
            store_used: stats.store_used_bytes as usize,
            members: stats.members as usize,
            orphaned: 0,
        },
        Err(ShareError::Arena(SharedError::Gone)) => {
            OcSharedStatus { orphaned: 1, ..OcSharedStatus::default() }
        }
        Err(error) => {
            note(FUNCTION, kind(&error), &error);
            return -1;
        }
    };
    // SAFETY: the caller's contract.
    unsafe { status.write(now) };
    0
}
