#![expect(unsafe_code, reason = "has the C library call a function when the process ends")]
//! What is dirty of files that are mapped, when the process ends.
//!
//! A program that calls exit(3), or a C program whose main returns, drops nothing. mmap(2) loses nothing then, so
//! neither do maps of files here. What ends without exit(3), by a signal or _exit(2), takes with it what
//! was not flushed.

use crate::paging::Paging;
use crate::resident;
use engine::FileMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

struct Listed {
    paging: Weak<Paging>,
    map: Weak<FileMap>,
}

static MAPS: Mutex<Vec<Listed>> = Mutex::new(Vec::new());
/// The process that they are in: forked children have none of them.
static PROCESS: AtomicU32 = AtomicU32::new(0);

fn maps() -> MutexGuard<'static, Vec<Listed>> {
    MAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has what is dirty of the map written when the process ends, if there still is the map.
pub(crate) fn write_back(paging: &Arc<Paging>, map: &Arc<FileMap>) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        PROCESS.store(std::process::id(), Ordering::Release);
        // Refused only for want of memory: then it is as in a process that is killed.
        // SAFETY: the function is there as long as this library.
        let _ = unsafe { libc::atexit(write_all) };
    });
    let mut maps = maps();
    maps.retain(|listed| listed.map.strong_count() > 0);
    maps.push(Listed { paging: Arc::downgrade(paging), map: Arc::downgrade(map) });
}

extern "C" fn write_all() {
    if PROCESS.load(Ordering::Acquire) != std::process::id() {
        return;
    }
    resident::scope(|| {
        let maps = std::mem::take(&mut *maps());
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
            // Dropped here, a map would be unmapped while other threads may use it.
            core::mem::forget((paging, map));
        }
    });
}
