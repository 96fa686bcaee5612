#![expect(unsafe_code, reason = "exports C functions, which call the program's")]
//! Memory whose pages a C program supplies.

use crate::backing::{Backing, BackingCall, BackingError, BackingOptions, MappedBacking};
use crate::error::{Kind, failed, note};
use crate::file_error::FileError;
use crate::process;
use crate::resident;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use engine::MapError;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a map of a backing is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OcSharing {
    /// It is only read.
    ReadOnly,
    /// What is changed is taken back.
    Shared,
    /// What is changed is the map's alone, and goes to the store.
    Private,
}

/// A call of a backing's function. It is valid until the function returns.
#[derive(Debug)]
pub struct OcCall {
    call: *const BackingCall<'static>,
}

impl OcCall {
    /// For as long as `call` is there.
    fn of(call: &BackingCall<'_>) -> Self {
        Self { call: (&raw const *call).cast() }
    }
}

/// What supplies the pages of a map. All zero but `supply` is a good choice. The functions are
/// called by threads of the map's own, several at once; they must not touch memory that
/// outcore_init's pager pages, nor leave by longjmp. What they return is 0 or a number of
/// errno, which then is told.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OcBacking {
    /// What each function is given.
    pub context: *mut c_void,
    /// Fills `length` bytes, which are zero, with those from `offset` on. If it fails, touching
    /// the page that is waited for is a bus error (SIGBUS).
    pub supply: Option<
        unsafe extern "C" fn(
            call: *const OcCall,
            context: *mut c_void,
            offset: u64,
            bytes: *mut c_void,
            length: usize,
        ) -> c_int,
    >,
    /// Keeps `length` bytes, which are those from `offset` on now; for OC_SHARING_SHARED only. If
    /// it fails they stay in memory.
    pub take_back: Option<
        unsafe extern "C" fn(
            call: *const OcCall,
            context: *mut c_void,
            offset: u64,
            bytes: *const c_void,
            length: usize,
        ) -> c_int,
    >,
    /// Makes durable what was taken back, at the end of oc_flush_backing; or NULL.
    pub sync: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    /// Called once when no other function will be called any more, if there was a map; or NULL.
    pub end: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// What it is called in messages, or NULL.
    pub name: *const c_char,
    /// One of oc_sharing.
    pub sharing: c_int,
    /// How many threads make calls; 0 is 2.
    pub threads: usize,
}

struct Functions {
    backing: OcBacking,
    /// There is a map, at whose end `end` is called.
    is_mapped: Arc<AtomicBool>,
}

// SAFETY: the functions may be called by any thread, and several at once: that is what the C
// caller promises. The name is not used any more.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

fn outcome(status: c_int) -> Result<(), BackingError> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status).into()) }
}

impl Backing for Functions {
    fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError> {
        let Some(supply) = self.backing.supply else { return Err("it supplies nothing".into()) };
        let oc_call = OcCall::of(call);
        // SAFETY: as the caller of oc_map_backing has promised; the bytes are there until it returns.
        outcome(unsafe {
            supply(
                &raw const oc_call,
                self.backing.context,
                call.offset(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
            )
        })
    }

    fn take_back(&self, call: &BackingCall<'_>, bytes: &[u8]) -> Result<(), BackingError> {
        let Some(take_back) = self.backing.take_back else { return Err("it takes nothing back".into()) };
        let oc_call = OcCall::of(call);
        // SAFETY: as above.
        outcome(unsafe {
            take_back(
                &raw const oc_call,
                self.backing.context,
                call.offset(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        })
    }

    fn sync(&self) -> Result<(), BackingError> {
        // SAFETY: as above.
        self.backing.sync.map_or(Ok(()), |sync| outcome(unsafe { sync(self.backing.context) }))
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        if let Some(end) = self.backing.end.filter(|_| self.is_mapped.load(Ordering::Acquire)) {
            // SAFETY: nobody has it any more, so nobody calls it.
            unsafe { end(self.backing.context) };
        }
    }
}

static MAPS: Mutex<Vec<Arc<MappedBacking>>> = Mutex::new(Vec::new());

fn maps() -> MutexGuard<'static, Vec<Arc<MappedBacking>>> {
    MAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The map that begins there.
fn map_at(function: &str, address: *const c_void) -> Option<Arc<MappedBacking>> {
    let found = maps().iter().find(|map| map.as_ptr().cast() == address).map(Arc::clone);
    found.or_else(|| {
        failed(function, Kind::Invalid, &format!("no map of oc_map_backing begins at {address:p}"))
    })
}

fn kind(error: &FileError) -> Kind {
    match error {
        FileError::Map(MapError::Kernel(_, error)) => Kind::Number(error.raw_os_error()),
        FileError::Map(MapError::TooMuch { .. } | MapError::NoRoom { .. }) | FileError::TooMany(_) => {
            Kind::NoMemory
        }
        FileError::WriteBack(error) => Kind::Number(error.raw_os_error().unwrap_or(libc::EIO)),
        _ => Kind::Invalid,
    }
}

fn told(function: &str, result: Result<(), FileError>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            note(function, kind(&error), &error);
            -1
        }
    }
}

/// Maps `length` bytes whose pages the program supplies, in the budget of outcore_init's pager.
/// NULL with EINVAL if there is no pager or the settings make no sense, with ENOMEM or what the
/// kernel says if there is no room; `end` is not called then. Forked children do not have it.
///
/// # Safety
/// `backing` points to settings; its functions may be called as it says until `end` has been.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_map_backing(backing: *const OcBacking, length: usize) -> *mut c_void {
    const NAME: &str = "oc_map_backing";
    let invalid = |message: &str| failed::<Arc<MappedBacking>>(NAME, Kind::Invalid, &message);
    let mapped = resident::scope(|| {
        // SAFETY: the caller's contract.
        let Some(backing) = (unsafe { backing.as_ref() }) else { return invalid("nothing was given") };
        let options = match backing.sharing {
            only if only == OcSharing::ReadOnly as c_int => BackingOptions::read_only(length),
            shared if shared == OcSharing::Shared as c_int => BackingOptions::shared(length),
            private if private == OcSharing::Private as c_int => BackingOptions::private(length),
            _ => return invalid("the sharing is none of oc_sharing"),
        };
        if backing.supply.is_none() {
            return invalid("there is no function that supplies pages");
        }
        let Some(heap) = process::heap() else {
            return invalid("there is no pager: call outcore_init first");
        };
        let options = if backing.threads == 0 { options } else { options.threads(backing.threads) };
        let options = if backing.name.is_null() {
            options
        } else {
            // SAFETY: the caller's contract.
            options.name(&unsafe { CStr::from_ptr(backing.name) }.to_string_lossy())
        };
        let is_mapped = Arc::new(AtomicBool::new(false));
        let functions = Functions { backing: *backing, is_mapped: Arc::clone(&is_mapped) };
        match heap.map_backing(functions, options) {
            Ok(map) => {
                is_mapped.store(true, Ordering::Release);
                Some(Arc::new(map))
            }
            Err(error) => failed(NAME, kind(&error), &error),
        }
    });
    let Some(map) = mapped else { return null_mut() };
    let address = map.as_mut_ptr().cast();
    resident::scope(|| maps().push(map));
    address
}

/// Gives back what has been changed of a map that begins at `address`, and waits until it is
/// durable: 0, or -1 with what the backing said; then it is still in memory, and the next call
/// tries again.
#[unsafe(no_mangle)]
pub extern "C" fn oc_flush_backing(address: *mut c_void) -> c_int {
    resident::scope(|| match map_at("oc_flush_backing", address) {
        Some(map) => told("oc_flush_backing", map.flush(..)),
        None => -1,
    })
}

/// Ends all calls of a map that are under way, as far as it is concerned, and makes no more: who
/// waits for a page of it gets a bus error. 0, or -1 with EINVAL.
#[unsafe(no_mangle)]
pub extern "C" fn oc_cancel_backing(address: *mut c_void) -> c_int {
    resident::scope(|| match map_at("oc_cancel_backing", address) {
        Some(map) => {
            map.cancel();
            0
        }
        None => -1,
    })
}

/// Whether nobody wants the result of a call any more, which then may as well return: 1 or 0.
///
/// # Safety
/// `call` is what a function of a backing was given, and has not returned from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_call_is_cancelled(call: *const OcCall) -> c_int {
    // SAFETY: the caller's contract.
    unsafe { (*(*call).call).is_cancelled() }.into()
}

/// Gives back what has been changed and ends a map: 0, or -1 with EINVAL if none begins there, and
/// else with what the backing said: the map has ended, and what was not taken back is lost.
///
/// # Safety
/// Nobody uses its memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_unmap_backing(address: *mut c_void) -> c_int {
    resident::scope(|| {
        let mut all = maps();
        let Some(place) = all.iter().position(|map| map.as_ptr().cast() == address) else {
            drop(all);
            return map_at("oc_unmap_backing", address).map_or(-1, |_| 0);
        };
        let map = all.swap_remove(place);
        drop(all);
        // Another thread may be flushing it: then that one ends it.
        match Arc::try_unwrap(map) {
            Ok(map) => told("oc_unmap_backing", map.close()),
            Err(map) => told("oc_unmap_backing", map.flush(..)),
        }
    })
}
