#![expect(unsafe_code, reason = "maps the heap's reservation")]
//! Where the heap's pages come from.

use crate::start::engine;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use engine::{Engine, Rights};
use heap::PageSource;
use rustix::mm::{MapFlags, ProtFlags};

/// Reservations are aligned for huge pages, which the kernel may use until pressure.
const ALIGN: usize = 2 << 20;
/// A heap larger than this is not needed to fill any store that an entry can name.
const LARGEST: usize = 1 << 40;
const SMALLEST: usize = 1 << 30;

/// The paged heap's pages.
pub(crate) struct EngineSource;

static RESERVED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// The engine has been made; the heap may have been used before.
pub(crate) fn engine_started(engine: &Engine) {
    let [addr, len] = [0, 1].map(|index| RESERVED[index].load(Ordering::Acquire));
    if len != 0 {
        engine.address_space().mapped(addr, len, Rights::ReadWrite);
    }
}

// SAFETY: the reservation is fresh, aligned, readable, writable and reads as zeros;
// discarded pages do so again; nothing here touches a page.
unsafe impl PageSource for EngineSource {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        let mut len = max_len.min(LARGEST);
        // Where address space is limited, half of it is left to everything else.
        if let Some(room) = sys::room::room() {
            len = len.min((room as usize / 2).max(1).next_power_of_two() / 2);
        }
        while len >= SMALLEST {
            if let Some(addr) = reserve_aligned(len) {
                RESERVED[0].store(addr, Ordering::Release);
                RESERVED[1].store(len, Ordering::Release);
                if let Some(engine) = engine() {
                    engine_started(engine);
                }
                return Some((addr, len));
            }
            len /= 2;
        }
        None
    }

    fn promise(&self, bytes: usize) -> bool {
        engine().is_none_or(|engine| engine.promise(bytes as u64))
    }

    fn renounce(&self, bytes: usize) {
        if let Some(engine) = engine() {
            engine.renounce(bytes as u64);
        }
    }

    fn discard(&self, addr: usize, len: usize) {
        // Refused only for memory that is locked, whose bytes then stay; the heap
        // clears what it hands out as zeroed only if it was discarded.
        let discarded = match engine() {
            Some(engine) => engine.discard(addr, len),
            None => sys::maps::dont_need(addr, len),
        };
        if discarded.is_err() {
            // SAFETY: the range is the heap's own and nobody uses it.
            unsafe { ptr::write_bytes(addr as *mut u8, 0, len) };
        }
    }
}

/// The resident heap's pages: those of one reservation.
pub(crate) struct ResidentSource;

/// Thread control blocks and their like are all that it holds.
const RESIDENT_LEN: usize = 1 << 30;

// SAFETY: as above.
unsafe impl PageSource for ResidentSource {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        let room = sys::room::room().map_or(usize::MAX, |room| room as usize);
        let len = max_len.min(RESIDENT_LEN).min((room / 16).next_multiple_of(ALIGN));
        reserve_aligned(len).map(|addr| (addr, len))
    }

    fn promise(&self, _bytes: usize) -> bool {
        true
    }

    fn renounce(&self, _bytes: usize) {}

    fn discard(&self, addr: usize, len: usize) {
        if sys::maps::dont_need(addr, len).is_err() {
            // SAFETY: the range is the heap's own and nobody uses it.
            unsafe { ptr::write_bytes(addr as *mut u8, 0, len) };
        }
    }
}

/// A raw system call, not the exported `mmap`: this is not the program's mapping.
fn reserve_aligned(len: usize) -> Option<usize> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let addr = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), len + ALIGN, ProtFlags::READ | ProtFlags::WRITE, flags)
            .ok()?
    } as usize;
    let aligned = addr.next_multiple_of(ALIGN);
    let end = addr + len + ALIGN;
    for (start, len) in [(addr, aligned - addr), (aligned + len, end - aligned - len)] {
        if len > 0 {
            // SAFETY: the ends of the mapping just made, which nothing uses. Failing
            // leaves address space unused, no more.
            let _ = unsafe { rustix::mm::munmap(start as *mut _, len) };
        }
    }
    Some(aligned)
}
