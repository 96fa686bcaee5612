#![expect(unsafe_code, reason = "thread-local storage by assembly")]
//! One word a thread.
//!
//! A malloc must not reach its thread-local data through `__tls_get_addr`, which may
//! allocate. `thread_local!` in a shared library does; a slot of our own, read by the
//! initial-exec model, does not.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the preload library knows thread-local storage of x86-64 only");

core::arch::global_asm!(
    ".pushsection .tbss.outcore_slot,\"awT\",@nobits",
    ".balign 8",
    ".hidden outcore_slot",
    ".globl outcore_slot",
    ".type outcore_slot,@object",
    ".size outcore_slot,8",
    "outcore_slot:",
    ".zero 8",
    ".popsection",
);

/// The slot's value; 0 in a new thread.
#[inline]
pub(crate) fn get() -> usize {
    let value;
    // SAFETY: reads this thread's slot.
    unsafe {
        core::arch::asm!(
            "mov {offset}, qword ptr [rip + outcore_slot@GOTTPOFF]",
            "mov {value}, qword ptr fs:[{offset}]",
            offset = out(reg) _,
            value = out(reg) value,
            options(nostack, readonly, preserves_flags),
        );
    }
    value
}

/// Sets it.
pub(crate) fn set(value: usize) {
    // SAFETY: writes this thread's slot.
    unsafe {
        core::arch::asm!(
            "mov {offset}, qword ptr [rip + outcore_slot@GOTTPOFF]",
            "mov qword ptr fs:[{offset}], {value}",
            offset = out(reg) _,
            value = in(reg) value,
            options(nostack, preserves_flags),
        );
    }
}
