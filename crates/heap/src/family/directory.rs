//! The families of a heap: added, and never removed.

use crate::family::error::{LONGEST_NAME, RegisterError};
use crate::family::layout::Shape;
use crate::family::ledger::Ledger;
use core::num::NonZeroU32;
use core::sync::atomic::AtomicU64;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard};

/// A family of one heap of families; numbers count from 1, in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(pub(super) NonZeroU32);

impl FamilyId {
    /// The family of this number; none for 0.
    pub fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

/// A family: what never changes, and its ledger.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) shape: Shape,
    ledger: Mutex<Ledger>,
    pub(super) kernel_calls: AtomicU64,
}

impl Entry {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics under this lock")
    }

    /// The same, if nobody has it.
    pub(super) fn ledger_if_free(&self) -> Option<MutexGuard<'_, Ledger>> {
        self.ledger.try_lock().ok()
    }
}

/// Families by number, read without a lock, and by name. Bucket k holds those whose
/// numbers have k as the place of their highest bit, so that entries never move.
#[derive(Debug)]
pub(super) struct Directory {
    buckets: [OnceLock<Box<[OnceLock<Entry>]>>; 32],
    names: RwLock<BTreeMap<Box<str>, FamilyId>>,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { buckets: [const { OnceLock::new() }; 32], names: RwLock::default() }
    }

    /// Adds a family.
    pub(super) fn add(&self, name: &str, shape: Shape) -> Result<FamilyId, RegisterError> {
        match name.len() {
            0 => return Err(RegisterError::EmptyName),
            bytes if bytes > LONGEST_NAME => return Err(RegisterError::LongName { bytes }),
            _ => {}
        }
        let mut names = self.names.write().expect("nothing panics under this lock");
        if names.contains_key(name) {
            return Err(RegisterError::Duplicate { name: name.into() });
        }
        let number = u32::try_from(names.len() + 1).ok().and_then(NonZeroU32::new);
        let number = number.expect("names of four billion families do not fit memory");
        let bucket = number.ilog2();
        let entries = self.buckets[bucket as usize]
            .get_or_init(|| (0..1usize << bucket).map(|_| OnceLock::new()).collect());
        entries[(number.get() - (1 << bucket)) as usize].get_or_init(|| Entry {
            name: name.into(),
            shape,
            ledger: Mutex::default(),
            kernel_calls: AtomicU64::new(0),
        });
        names.insert(name.into(), FamilyId(number));
        Ok(FamilyId(number))
    }

    pub(super) fn get(&self, id: FamilyId) -> Option<&Entry> {
        let bucket = id.0.ilog2();
        self.buckets[bucket as usize].get()?.get((id.number() - (1 << bucket)) as usize)?.get()
    }

    /// Keeps families from being added, for as long as the result is held.
    pub(super) fn hold(&self) -> RwLockReadGuard<'_, BTreeMap<Box<str>, FamilyId>> {
        self.names.read().expect("nothing panics under this lock")
    }

    pub(super) fn find(&self, name: &str) -> Option<FamilyId> {
        self.hold().get(name).copied()
    }

    /// All families, in the order of registration.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FamilyId, &Entry)> + '_ {
        let numbers = (1..=u32::MAX).filter_map(FamilyId::from_number);
        numbers.map_while(|id| Some((id, self.get(id)?)))
    }
}
