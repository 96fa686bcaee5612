#![expect(unsafe_code, reason = "sched_getattr and sched_setattr")]
//! How long a thread may go on before others have their turn.
//!
//! Among threads that want a processor the kernel prefers those that ask for little of it at
//! a time (EEVDF: I. Stoica and H. Abdel-Wahab, "Earliest Eligible Virtual Deadline First",
//! 1995; since Linux 6.12 a thread may say how little). While the resident set is only
//! sampled, a sample that comes late lets memory grow past the budget, so the pager thread
//! asks for so little that it is run when it is to, however busy the computer is. Once it
//! pages, that would cost more than it is worth: it is interrupted as readily.

use core::mem::size_of;

/// The shortest that the kernel grants, in nanoseconds.
pub(crate) const SHORTEST: u64 = 100_000;
/// As others have it.
pub(crate) const USUAL: u64 = 0;

const RESET_ON_FORK: u64 = 1;

/// Has this thread run in slices of so many nanoseconds; kernels that know no such take no
/// notice.
pub(crate) fn ask_for(nanoseconds: u64) {
    // SAFETY: a structure of numbers, for which zeros are valid.
    let mut attributes: libc::sched_attr = unsafe { core::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the structure is as long as said; the calls change nothing but this thread's
    // scheduling, whose policy and nice value stay what they are.
    unsafe {
        if libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) == 0
            && attributes.sched_policy == libc::SCHED_OTHER as u32
        {
            attributes.size = size;
            // Of what it tells, only this is for setting again.
            attributes.sched_flags &= RESET_ON_FORK;
            attributes.sched_runtime = nanoseconds;
            // Refused, it runs as before.
            let _ = libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        }
    }
}
