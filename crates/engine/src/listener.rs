#![expect(unsafe_code, reason = "writes to an event")]
//! Who hears that a pager should look at the ledger, where it has no guard that does.

use crate::signals::Blocked;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::thread::futex;
use std::sync::Arc;
use std::thread::JoinHandle;
use sys::ledger::Account;

/// A thread of a pager's that sleeps until the pager's seat is roused, and then tells the pager,
/// which waits for descriptors. Its end is waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    account: Account,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// None where the kernel gives no thread: the pager looks now and then. The thread calls
    /// `thread_starts` first.
    pub(crate) fn start(account: Account, nudge: OwnedFd, thread_starts: fn()) -> Option<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&is_over);
        let _blocked = Blocked::all();
        let builder = std::thread::Builder::new().name("outcore-ledger".into()).stack_size(64 << 10);
        let thread = builder.spawn(move || {
            thread_starts();
            listen(account, &nudge, &theirs);
        });
        Some(Self { account, is_over, thread: Some(thread.ok()?) })
    }
}

fn listen(account: Account, nudge: &OwnedFd, is_over: &AtomicBool) {
    let wake = &account.seat().wake;
    // What has been said before this began is not known to have been heard.
    loop {
        let heard = wake.load(Ordering::Acquire);
        if is_over.load(Ordering::Acquire) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes of ours, and a descriptor of ours that does not block. Told so often
        // that it cannot be counted, the pager looks all the same.
        unsafe { libc::write(nudge.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // Whatever it says, it is looked again.
        while wake.load(Ordering::Acquire) == heard {
            let _ = futex::wait(wake, futex::Flags::empty(), heard, None);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.account.seat().rouse();
        // It does not panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
