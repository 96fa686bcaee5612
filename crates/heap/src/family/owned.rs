#![expect(unsafe_code, reason = "owns a block")]
//! Handles that own what they point to.

use crate::family::families::Families;
use crate::source::PageSource;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// One value, or a slice of them, in a family's pages: as a `Box` is in the global
/// heap. Dropping it drops the value and frees the block, in whatever thread.
pub struct Owned<'h, T: ?Sized, S: PageSource> {
    value: NonNull<T>,
    families: &'h Families<S>,
    owns: PhantomData<T>,
}

// SAFETY: it owns the value, as a box does, and its heap is used from any thread.
unsafe impl<T: ?Sized + Send, S: PageSource> Send for Owned<'_, T, S> where Families<S>: Sync {}
// SAFETY: it gives out references to the value only.
unsafe impl<T: ?Sized + Sync, S: PageSource> Sync for Owned<'_, T, S> where Families<S>: Sync {}

impl<'h, T: ?Sized, S: PageSource> Owned<'h, T, S> {
    /// # Safety
    /// The value is valid, begins a used block of `families`, and is nobody else's.
    pub(super) unsafe fn from_raw(value: NonNull<T>, families: &'h Families<S>) -> Self {
        Self { value, families, owns: PhantomData }
    }

    /// Where the value lies.
    pub fn as_ptr(&self) -> *const T {
        self.value.as_ptr()
    }
}

impl<T, S: PageSource> Owned<'_, T, S> {
    /// Moves the value out, and frees its block.
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: the value is moved out once; the handle is gone, and is not dropped.
        unsafe {
            let value = this.value.read();
            let freed = this.families.free(this.value.as_ptr().cast());
            freed.expect("the handle owned its block");
            value
        }
    }
}

impl<T: ?Sized, S: PageSource> Deref for Owned<'_, T, S> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is valid, and this handle's.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized, S: PageSource> DerefMut for Owned<'_, T, S> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; the handle is borrowed for as long.
        unsafe { self.value.as_mut() }
    }
}

/// Frees the block even if dropping the value panics.
struct Block<'h, S: PageSource>(NonNull<u8>, &'h Families<S>);

impl<S: PageSource> Drop for Block<'_, S> {
    fn drop(&mut self) {
        // SAFETY: the value has been dropped, and its handle is being dropped.
        let freed = unsafe { self.1.free(self.0.as_ptr()) };
        debug_assert_eq!(freed, Ok(()), "the handle owned its block");
    }
}

impl<T: ?Sized, S: PageSource> Drop for Owned<'_, T, S> {
    fn drop(&mut self) {
        let _block = Block(self.value.cast(), self.families);
        // SAFETY: the value is valid, and is not used any more.
        unsafe { self.value.drop_in_place() };
    }
}

impl<T: ?Sized + Debug, S: PageSource> Debug for Owned<'_, T, S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
