#![expect(unsafe_code, reason = "puts values into blocks")]
//! Families of a Rust type.

use crate::family::cache::ObjectCache;
use crate::family::directory::FamilyId;
use crate::family::error::{AllocError, RegisterError};
use crate::family::families::Families;
use crate::family::owned::Owned;
use crate::source::PageSource;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// A family whose objects are of one Rust type. It is a reference to its heap, and may
/// be copied.
///
/// ```
/// use heap::{Anonymous, Families};
///
/// struct Employee {
///     name: String,
///     age: u32,
/// }
///
/// let heap = Families::new(Anonymous::new());
/// let employees = heap.family::<Employee>("employee")?;
/// let mut ada = employees.alloc(Employee { name: "Ada".into(), age: 36 })?;
/// ada.age += 1;
/// let numbers = heap.family::<u64>("number")?;
/// let squares = numbers.alloc_slice_with(10, |index| (index * index) as u64)?;
/// assert_eq!((&*ada.name, ada.age, squares[9]), ("Ada", 37, 81));
///
/// drop(ada);
/// let stats = heap.stats(employees.id()).expect("a family of this heap");
/// assert_eq!((stats.blocks, stats.pages), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Family<'h, T, S: PageSource> {
    pub(super) families: &'h Families<S>,
    id: FamilyId,
    of: PhantomData<fn() -> T>,
}

impl<T, S: PageSource> Clone for Family<'_, T, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, S: PageSource> Copy for Family<'_, T, S> {}

impl<T, S: PageSource> Debug for Family<'_, T, S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.id).finish()
    }
}

impl<S: PageSource> Families<S> {
    /// Registers a family of objects of type `T`.
    ///
    /// # Errors
    /// As [`Families::register`]; types without a byte have no family, and the textbook
    /// layout has none for types whose alignment it cannot give.
    pub fn family<T>(&self, name: &str) -> Result<Family<'_, T, S>, RegisterError> {
        let id = self.register_aligned(name, size_of::<T>(), align_of::<T>())?;
        Ok(Family { families: self, id, of: PhantomData })
    }
}

/// Drops what a block has been filled with so far, and frees it, if filling it panics.
struct Filling<'h, T, S: PageSource> {
    families: &'h Families<S>,
    first: NonNull<T>,
    filled: usize,
}

impl<T, S: PageSource> Drop for Filling<'_, T, S> {
    fn drop(&mut self) {
        // SAFETY: so many have been written; nobody has seen them, or the block.
        unsafe {
            let filled = ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.filled);
            drop(Owned::from_raw(NonNull::new_unchecked(filled), self.families));
        }
    }
}

impl<'h, T, S: PageSource> Family<'h, T, S> {
    /// Which of its heap's families it is.
    pub fn id(&self) -> FamilyId {
        self.id
    }

    /// Places a value in the family's pages.
    ///
    /// # Errors
    /// There are no pages; the value is dropped then.
    pub fn alloc(&self, value: T) -> Result<Owned<'h, T, S>, AllocError> {
        let block = self.families.alloc(self.id, 1)?.cast::<T>();
        // SAFETY: the block is new, and has the size and alignment of `T`, with which
        // the family was registered.
        unsafe {
            block.write(value);
            Ok(Owned::from_raw(block, self.families))
        }
    }

    /// Places `count` default values in a row.
    ///
    /// # Errors
    /// `count` is 0 or too large, or there are no pages.
    pub fn alloc_slice(&self, count: usize) -> Result<Owned<'h, [T], S>, AllocError>
    where
        T: Default,
    {
        self.alloc_slice_with(count, |_| T::default())
    }

    /// Places `count` values in a row, each made from its index.
    ///
    /// # Errors
    /// `count` is 0 or too large, or there are no pages.
    ///
    /// # Panics
    /// If `make` does: what it has made is dropped then, and the block is freed.
    pub fn alloc_slice_with(
        &self,
        count: usize,
        mut make: impl FnMut(usize) -> T,
    ) -> Result<Owned<'h, [T], S>, AllocError> {
        let first = self.families.alloc(self.id, count)?.cast::<T>();
        let mut filling = Filling { families: self.families, first, filled: 0 };
        for index in 0..count {
            // SAFETY: the block has room for `count` values in a row.
            unsafe { first.add(index).write(make(index)) };
            filling.filled += 1;
        }
        core::mem::forget(filling);
        // SAFETY: all are written; the block is the handle's from here on.
        Ok(unsafe { Owned::from_raw(NonNull::slice_from_raw_parts(first, count), self.families) })
    }

    /// A cache of objects that stay constructed while nobody uses them.
    pub fn cache<F: Fn() -> T>(&self, most: usize, construct: F) -> ObjectCache<'h, T, S, F> {
        ObjectCache::new(*self, most, construct)
    }
}
