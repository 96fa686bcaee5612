#![expect(unsafe_code, reason = "maps the heap's reservation")]
//! Where the heap's pages come from.

use crate::start::engine;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use engine::{Engine, Rights};
use heap::PageSource;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// Reservations are aligned for huge pages, which the kernel may use until pressure.
const ALIGN: usize = 2 << 20;
/// A heap larger than this is not needed to fill any store that an entry can name.
const LARGEST: usize = 1 << 40;
const SMALLEST: usize = 1 << 30;

/// Where the kernel counts promises, this much is asked for at a time.
const STEP: usize = 32 << 20;

/// Bytes of promises that the heap may hold on to: a few of the largest objects that are
/// asked for often.
const SPARE: usize = 8 << 20;

/// A reservation, and how much of it may be used.
struct Region {
    addr: AtomicUsize,
    end: AtomicUsize,
    usable: AtomicUsize,
}

impl Region {
    const fn new() -> Self {
        Self { addr: AtomicUsize::new(0), end: AtomicUsize::new(0), usable: AtomicUsize::new(0) }
    }

    /// Reserves up to `most`, at least `least`. All of it is usable at once, unless the
    /// kernel counts promises: these last for as long as the process, and a fork doubles
    /// them.
    fn reserve(&self, most: usize, least: usize) -> Option<(usize, usize)> {
        let promises = sys::room::promises();
        let mut len = match promises {
            Some(promises) => most.min((promises as usize).max(1).next_power_of_two()),
            None => most,
        };
        let rights = if promises.is_some() { ProtFlags::empty() } else { ProtFlags::READ | ProtFlags::WRITE };
        while len >= least {
            if let Some(addr) = reserve_aligned(len, rights) {
                let usable = if promises.is_some() { addr } else { addr + len };
                self.end.store(addr + len, Ordering::Release);
                self.usable.store(usable, Ordering::Release);
                self.addr.store(addr, Ordering::Release);
                return Some((addr, len));
            }
            len /= 2;
        }
        None
    }

    /// What may be used: address and length.
    fn usable(&self) -> (usize, usize) {
        let addr = self.addr.load(Ordering::Acquire);
        (addr, self.usable.load(Ordering::Acquire) - addr)
    }

    /// Makes it usable up to `end`. For one caller at a time. None if the kernel does
    /// not promise it; else what became usable: address and length.
    fn extend(&self, end: usize) -> Option<(usize, usize)> {
        let usable = self.usable.load(Ordering::Acquire);
        if end <= usable {
            return Some((usable, 0));
        }
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        let limit = self.end.load(Ordering::Acquire);
        [end.next_multiple_of(STEP).min(limit), end].into_iter().find_map(|end| {
            // SAFETY: the region is the heap's, and nobody has used this part of it.
            unsafe { rustix::mm::mprotect(usable as *mut _, end - usable, rights) }.ok()?;
            self.usable.store(end, Ordering::Release);
            Some((usable, end - usable))
        })
    }
}

static PAGED: Region = Region::new();
static RESIDENT: Region = Region::new();

/// Where address space is limited, half of it is left to everything else.
fn fair_share(most: usize) -> usize {
    let room = sys::room::address_space().map(|room| (room as usize / 2).max(1).next_power_of_two() / 2);
    room.map_or(most, |room| most.min(room))
}

/// Each move of pages may leave two more mappings behind, of which the kernel allows
/// 65,530 by default; after so many, bytes are copied.
const MOST_MOVES: u32 = 4096;
static MOVES: AtomicU32 = AtomicU32::new(0);

/// Moves what is mapped at `from` to `to` by the kernel; `from` stays, empty.
fn move_mapping(from: usize, to: usize, len: usize) -> bool {
    if MOVES.fetch_add(1, Ordering::Relaxed) >= MOST_MOVES {
        MOVES.store(MOST_MOVES, Ordering::Relaxed);
        return false;
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
    // SAFETY: both ranges are the heap's; nobody uses `to`, and the owner of what is at
    // `from` gives the addresses up.
    let moved = unsafe { libc::syscall(libc::SYS_mremap, from, len, len, flags, to) };
    moved as usize == to
}

/// The paged heap's pages.
pub(crate) struct EngineSource;

/// The engine has been made; the heap may have been used before.
pub(crate) fn engine_started(engine: &Engine) {
    let (addr, len) = PAGED.usable();
    if len != 0 {
        engine.address_space().mapped(addr, len, Rights::ReadWrite);
    }
}

// SAFETY: the reservation is fresh, aligned, and reads as zeros; what it has been extended
// to is readable and writable; discarded pages read as zeros again; nothing here touches a
// page.
unsafe impl PageSource for EngineSource {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        let reserved = PAGED.reserve(fair_share(max_len.min(LARGEST)), SMALLEST)?;
        engine().into_iter().for_each(engine_started);
        Some(reserved)
    }

    fn extend(&self, end: usize) -> bool {
        let extended = PAGED.extend(end);
        if let (Some((addr, len @ 1..)), Some(engine)) = (extended, engine()) {
            engine.address_space().mapped(addr, len, Rights::ReadWrite);
        }
        extended.is_some()
    }

    fn promise(&self, bytes: usize) -> bool {
        engine().is_none_or(|engine| engine.promise(bytes as u64))
    }

    fn renounce(&self, bytes: usize) {
        if let Some(engine) = engine() {
            engine.renounce(bytes as u64);
        }
    }

    fn spare(&self) -> usize {
        engine().map_or(0, |engine| if engine.refuses_promises() { 0 } else { SPARE })
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

    fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        let Some(engine) = engine() else { return move_mapping(from, to, len) };
        let space = engine.address_space();
        let changes = [space.changing(from, len), space.changing(to, len)];
        let moved = move_mapping(from, to, len);
        drop(changes);
        if moved {
            space.moved(from, to, len);
            space.mapped(from, len, Rights::ReadWrite);
        }
        moved
    }

    fn is_scarce(&self) -> bool {
        engine().is_some_and(Engine::pages)
    }

    fn is_resident(&self, addr: usize) -> bool {
        let mut resident = 0u8;
        // SAFETY: one page of the heap's, and a place for one answer.
        let answered = unsafe { libc::syscall(libc::SYS_mincore, addr, engine::PAGE, &raw mut resident) };
        answered == 0 && resident & 1 != 0
    }
}

/// The resident heap's pages: those of one reservation.
pub(crate) struct ResidentSource;

/// Thread control blocks and their like are all that it holds.
const RESIDENT_LEN: usize = 1 << 30;

// SAFETY: as above.
unsafe impl PageSource for ResidentSource {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        let room = sys::room::address_space().map_or(usize::MAX, |room| room as usize);
        let share = (room / 16).next_multiple_of(ALIGN);
        RESIDENT.reserve(max_len.min(RESIDENT_LEN).min(share), ALIGN)
    }

    fn extend(&self, end: usize) -> bool {
        RESIDENT.extend(end).is_some()
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
fn reserve_aligned(len: usize, rights: ProtFlags) -> Option<usize> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let addr =
        unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len + ALIGN, rights, flags).ok()? } as usize;
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
