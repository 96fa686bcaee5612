//! The one heap of the process.

use crate::error::{Code, Failure};
use handles::VirtualHeap;
use std::sync::{Arc, PoisonError, RwLock};

static HEAP: RwLock<Option<Arc<VirtualHeap>>> = RwLock::new(None);

/// Makes it, if there is none. Only one thread makes it at a time.
pub(crate) fn init(build: impl FnOnce() -> Result<VirtualHeap, Failure>) -> Result<(), Failure> {
    let mut heap = HEAP.write().unwrap_or_else(PoisonError::into_inner);
    if heap.is_some() {
        return Err(Failure::new(Code::Init, "there is a heap already; call pm_destroy before"));
    }
    *heap = Some(Arc::new(build()?));
    Ok(())
}

/// Calls of other threads that are under way end with the heap that they began with.
pub(crate) fn destroy() -> Result<(), Failure> {
    let heap = HEAP.write().unwrap_or_else(PoisonError::into_inner).take();
    heap.map(drop).ok_or_else(none)
}

/// The lock is not held while `call` runs, which may wait for pins.
pub(crate) fn with<T>(call: impl FnOnce(&VirtualHeap) -> Result<T, Failure>) -> Result<T, Failure> {
    let heap = HEAP.read().unwrap_or_else(PoisonError::into_inner).clone();
    call(&*heap.ok_or_else(none)?)
}

fn none() -> Failure {
    Failure::new(Code::Init, "there is no heap; call pm_init before")
}
