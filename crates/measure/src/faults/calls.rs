#![expect(unsafe_code, reason = "getrusage, madvise and reading maps have no safe interface")]
//! What is asked of the kernel while it is measured.

use crate::memory::Words;
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr;
use engine::{FileMap, PAGE};
use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

/// Faults of the calling thread so far: minor, and major ones.
pub(super) fn faults_so_far() -> (u64, u64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the structure, for which all zeros are valid too.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    (usage.ru_minflt as u64, usage.ru_majflt as u64)
}

/// What memory is going to be used for. No byte changes.
#[derive(Clone, Copy)]
pub(super) enum Hint {
    /// Page by page, not by huge pages.
    SmallPages,
    /// Not for long: it goes to swap.
    PageOut,
    /// In no order.
    Random,
    /// In order.
    Sequential,
}

/// Gives a hint about all words.
///
/// # Errors
/// What madvise(2) says.
pub(super) fn hint(words: &mut Words, hint: Hint) -> Result<(), Errno> {
    let advice = match hint {
        Hint::SmallPages => Advice::LinuxNoHugepage,
        Hint::PageOut => Advice::LinuxPageOut,
        Hint::Random => Advice::Random,
        Hint::Sequential => Advice::Sequential,
    };
    let words = words.own();
    // SAFETY: mapped, as long as that, and none of these changes what it holds.
    unsafe { madvise(words.as_mut_ptr().cast(), size_of_val(words), advice) }
}

/// Reads a byte of a page of a map.
///
/// # Panics
/// If the map has no such page.
pub(super) fn load(map: &FileMap, page: usize) {
    assert!(page < map.len() / PAGE);
    let byte: *const u8 = ptr::with_exposed_provenance(map.addr() + page * PAGE);
    // SAFETY: mapped and readable as long as the map is borrowed.
    black_box(unsafe { byte.read_volatile() });
}
