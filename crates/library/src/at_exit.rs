#![expect(unsafe_code, reason = "has the C library call a function when the process ends")]
//! What is dirty of files that are mapped, when the process ends.
//!
//! A program that calls exit(3), or a C program whose main returns, drops nothing. mmap(2) loses nothing then, so
//! neither do maps of files here. What ends without exit(3), by a signal or _exit(2), takes with it what
//! was not flushed.

use crate::paging::Paging;
use crate::resident;
use core::ptr::null_mut;
use engine::FileMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The maps of one process: a forked child has none of its parent's, whose lock may be taken in it for ever.
struct List {
    process: u32,
    maps: Mutex<Vec<Listed>>,
}

struct Listed {
    paging: Weak<Paging>,
    map: Weak<FileMap>,
}

/// The list of whichever process made one last.
static LIST: AtomicPtr<List> = AtomicPtr::new(null_mut());

impl List {
    /// This process's, if it has one.
    fn own() -> Option<&'static Self> {
        // SAFETY: null, or leaked by `begin`.
        let list = unsafe { LIST.load(Ordering::Acquire).as_ref() };
        list.filter(|list| list.process == std::process::id())
    }

    /// This process's.
    fn begin() -> &'static Self {
        loop {
            if let Some(list) = Self::own() {
                return list;
            }
            let before = LIST.load(Ordering::Acquire);
            let list = Box::new(Self { process: std::process::id(), maps: Mutex::default() });
            let made = Box::into_raw(list);
            if LIST.compare_exchange(before, made, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: just made, and nobody has seen it.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }

    fn maps(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has what is dirty of the map written when the process ends, if there still is the map.
pub(crate) fn write_back(paging: &Arc<Paging>, map: &Arc<FileMap>) {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    // Children inherit it.
    if !IS_REGISTERED.swap(true, Ordering::AcqRel) {
        // Refused only for want of memory: then it is as in a process that is killed.
        // SAFETY: the function is there as long as this library.
        let _ = unsafe { libc::atexit(write_all) };
    }
    let mut maps = List::begin().maps();
    maps.retain(|listed| listed.map.strong_count() > 0);
    maps.push(Listed { paging: Arc::downgrade(paging), map: Arc::downgrade(map) });
}

extern "C" fn write_all() {
    let Some(list) = List::own() else { return };
    resident::scope(|| {
        let maps = core::mem::take(&mut *list.maps());
        for (paging, map) in
            maps.iter().filter_map(|listed| listed.paging.upgrade().zip(listed.map.upgrade()))
        {
            if let Err(error) = paging.instance().write_back_file(&map, map.addr(), map.len()) {
                let _ = writeln!(
                    std::io::stderr(),
                    "outcore: the program has ended, and a mapped file could not be written back ({error}): what was not \
                     flushed is lost"
                );
            }
        }
    });
}
