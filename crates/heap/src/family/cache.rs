//! Objects that stay constructed while nobody uses them.
//!
//! After Jeff Bonwick, "The Slab Allocator: An Object-Caching Kernel Memory Allocator"
//! (USENIX Summer 1994): what is costly about many objects is to make and unmake what
//! is inside them, which a cache does once for many uses.

use crate::family::error::AllocError;
use crate::family::owned::Owned;
use crate::family::typed::Family;
use crate::source::PageSource;
use core::fmt::{self, Debug, Formatter};
use core::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

/// Hands out objects of a family, constructed, and takes them back as they are. Whoever
/// uses one leaves it as the next wants to find it.
///
/// ```
/// use heap::{Anonymous, Families};
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let heap = Families::new(Anonymous::new());
/// let constructed = AtomicUsize::new(0);
/// let buffers = heap.family::<Vec<u8>>("buffer")?.cache(8, || {
///     constructed.fetch_add(1, Ordering::Relaxed);
///     Vec::with_capacity(1 << 20)
/// });
/// for round in 0..100 {
///     let mut buffer = buffers.get()?;
///     buffer.push(round);
///     assert_eq!(*buffer, [round]);
///     buffer.clear();
/// }
/// assert_eq!(constructed.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ObjectCache<'h, T, S: PageSource, F> {
    family: Family<'h, T, S>,
    construct: F,
    most: usize,
    ready: Mutex<Vec<Owned<'h, T, S>>>,
}

impl<T, S: PageSource, F> Debug for ObjectCache<'_, T, S, F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectCache").field("family", &self.family).field("ready", &self.ready()).finish()
    }
}

impl<'h, T, S: PageSource, F: Fn() -> T> ObjectCache<'h, T, S, F> {
    pub(super) fn new(family: Family<'h, T, S>, most: usize, construct: F) -> Self {
        Self { family, construct, most, ready: Mutex::default() }
    }

    /// An object: the one that came back last, or else a new one.
    ///
    /// # Errors
    /// A new one is needed, and there are no pages.
    pub fn get(&self) -> Result<Lent<'_, 'h, T, S, F>, AllocError> {
        let ready = self.lock().pop();
        let object = ready.map_or_else(|| self.family.alloc((self.construct)()), Ok)?;
        Ok(Lent { object: Some(object), cache: self })
    }
}

impl<'h, T, S: PageSource, F> ObjectCache<'h, T, S, F> {
    fn lock(&self) -> MutexGuard<'_, Vec<Owned<'h, T, S>>> {
        self.ready.lock().expect("nothing panics under this lock")
    }

    /// Objects that are constructed, and that nobody uses: never more than was said when
    /// the cache was made.
    pub fn ready(&self) -> usize {
        self.lock().len()
    }

    /// Drops the objects that nobody uses; how many.
    pub fn shrink(&self) -> usize {
        // Dropped without the lock: a value's `drop` may use the cache.
        let ready = core::mem::take(&mut *self.lock());
        ready.len()
    }
}

/// An object that goes back to its cache when it is dropped; by a panic, it is dropped
/// itself, because it may be half changed.
pub struct Lent<'c, 'h, T, S: PageSource, F> {
    object: Option<Owned<'h, T, S>>,
    cache: &'c ObjectCache<'h, T, S, F>,
}

impl<T: Debug, S: PageSource, F> Debug for Lent<'_, '_, T, S, F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T, S: PageSource, F> Deref for Lent<'_, '_, T, S, F> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object.as_ref().expect("there until it is dropped")
    }
}

impl<T, S: PageSource, F> DerefMut for Lent<'_, '_, T, S, F> {
    fn deref_mut(&mut self) -> &mut T {
        self.object.as_mut().expect("there until it is dropped")
    }
}

impl<T, S: PageSource, F> Drop for Lent<'_, '_, T, S, F> {
    fn drop(&mut self) {
        let object = self.object.take();
        if !std::thread::panicking() {
            let mut ready = self.cache.lock();
            if ready.len() < self.cache.most {
                ready.extend(object);
            }
        }
        // What is left of it is dropped here, without the lock.
    }
}
