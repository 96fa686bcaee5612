#![expect(unsafe_code, reason = "exports C functions, which take and hand out pointers")]
//! Budgets that heaps and arenas share, for C.

use crate::error::{Kind, failed, note};
use crate::resident;
use core::ffi::c_int;
use core::ptr::null_mut;
use engine::{Budget, BudgetError};

/// RAM that several heaps and arenas share, each by its need. It is used from any thread.
#[derive(Debug)]
pub struct OcBudget {
    budget: Budget,
}

impl OcBudget {
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }
}

/// What errno says of it.
pub(crate) fn kind(error: &BudgetError) -> Kind {
    match error {
        BudgetError::Small { .. } | BudgetError::Large { .. } => Kind::Invalid,
        BudgetError::InUse { .. } => Kind::Number(libc::EBUSY),
        BudgetError::Closed => Kind::Number(libc::EBADF),
        BudgetError::Kernel(_, error) => Kind::Number(error.raw_os_error()),
    }
}

/// Makes a budget of so many bytes, at least 4 MiB, for settings to name in place of one of their
/// own. NULL with errno: EINVAL for too few or too many bytes, or what else the kernel says.
/// oc_error tells.
#[unsafe(no_mangle)]
pub extern "C" fn oc_budget_create(bytes: usize) -> *mut OcBudget {
    resident::scope(|| match Budget::new(bytes as u64) {
        Ok(budget) => Box::into_raw(Box::new(OcBudget { budget })),
        Err(error) => failed("oc_budget_create", kind(&error), &error).unwrap_or(null_mut()),
    })
}

/// Makes it another one at once, down as well as up; what does not fit any more is evicted. 0, or
/// -1 with errno: EINVAL for too few or too many bytes, EBUSY if those that share it need more.
///
/// # Safety
/// It was given by oc_budget_create and has not been dropped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_budget_set(budget: *const OcBudget, bytes: usize) -> c_int {
    // SAFETY: the caller's contract.
    match unsafe { &*budget }.budget.set(bytes as u64) {
        Ok(()) => 0,
        Err(error) => {
            note("oc_budget_set", kind(&error), &error);
            -1
        }
    }
}

/// Its bytes.
///
/// # Safety
/// As oc_budget_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_budget_size(budget: *const OcBudget) -> usize {
    // SAFETY: the caller's contract.
    unsafe { &*budget }.budget.bytes() as usize
}

/// Bytes of pages and tables that all who share it have in memory, as they have last told.
///
/// # Safety
/// As oc_budget_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_budget_used(budget: *const OcBudget) -> usize {
    // SAFETY: the caller's contract.
    unsafe { &*budget }.budget.used() as usize
}

/// How many heaps and arenas share it.
///
/// # Safety
/// As oc_budget_set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_budget_sharers(budget: *const OcBudget) -> usize {
    // SAFETY: the caller's contract.
    unsafe { &*budget }.budget.sharers()
}

/// Gives it up. Heaps and arenas that share it go on doing so. NULL is left alone.
///
/// # Safety
/// It was given by oc_budget_create, and is given back once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oc_budget_drop(budget: *mut OcBudget) {
    if !budget.is_null() {
        // SAFETY: made by `Box::into_raw`, and dropped once.
        resident::scope(|| drop(unsafe { Box::from_raw(budget) }));
    }
}
