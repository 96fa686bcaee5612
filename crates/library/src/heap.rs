#![expect(unsafe_code, reason = "takes back what it is told is unused")]
//! A heap in paged memory.

use crate::arena::{Arena, ArenaError};
use crate::arena_image::{ArenaImage, ImageOptions, OpenImageError};
use crate::backing::{Backing, BackingOptions, MappedBacking};
use crate::builder::HeapBuilder;
use crate::caches::Caches;
use crate::file::{MapOptions, MappedFile};
use crate::file_error::FileError;
use crate::paging::Paging;
use crate::resident;
use crate::source::Paged;
use crate::stack::Stacks;
use crate::stats::Stats;
use ::heap::{Families, Family, FreeError, Location, RegisterError, Visited};
use core::alloc::Layout;
use core::ptr::{self, NonNull};
use engine::{FamilyPart, KnowsUnused};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A heap that may be larger than the RAM it takes: its pages go to its own store and come
/// back, by a pager of its own, so that at most its budget is in memory.
///
/// A `Heap` is a handle: clones are the same heap. It is an
/// [`Allocator`](allocator_api2::alloc::Allocator), so collections live in it; it has
/// [families](Self::family) of typed objects and [arenas](Self::arena) of pages. When the
/// last handle, collection and arena is gone the pager's thread ends, and its files,
/// descriptors and mappings are gone as well.
///
/// Heaps are independent of each other, and used from any thread. A child that is forked has
/// none of them: its touches of their memory are faults that say so.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use outcore::Heap;
///
/// let heap = Heap::builder().budget(8 << 20).build()?;
/// let mut squares = Vec::new_in(heap.clone());
/// squares.extend((0..4u64 << 20).map(|n| n * n));   // 32 MiB
/// assert!((0..4u64 << 20).all(|n| squares[n as usize] == n * n));
///
/// let stats = heap.stats();
/// assert!(stats.swap_outs > 0 && stats.resident_bytes <= 8 << 20);
/// # Ok::<(), outcore::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Heap {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order.
#[derive(Debug)]
struct Inner {
    caches: Caches,
    malloc: ::heap::Heap<Paged>,
    families: Families<Paged>,
    paging: Arc<Paging>,
}

/// Tells the pager what is free, so that it is not written to the store.
struct Free {
    malloc: NonNull<::heap::Heap<Paged>>,
    families: NonNull<Families<Paged>>,
}

// SAFETY: both are used from any thread, and there for as long as this is asked: whoever
// drops the heap has it forgotten first.
unsafe impl Send for Free {}
// SAFETY: as above.
unsafe impl Sync for Free {}

impl KnowsUnused for Free {
    fn is_unused(&self, addr: usize) -> bool {
        // SAFETY: see above.
        let (malloc, families) = unsafe { (self.malloc.as_ref(), self.families.as_ref()) };
        malloc.is_unused(addr) || families.is_unused(addr)
    }

    fn family(&self, number: u32, tell: &mut dyn FnMut(FamilyPart<'_>)) -> bool {
        // SAFETY: see above.
        unsafe { self.families.as_ref() }.visit(number, &mut |visited| {
            tell(match visited {
                Visited::Family { name, used_bytes } => FamilyPart::Named { name, used_bytes },
                Visited::Pages { addr, len } => FamilyPart::Pages { addr, len },
            });
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.paging.is_here() {
            resident::scope(|| self.paging.instance().know_unused(None));
        }
    }
}

/// What an address belongs to; see [`Heap::locate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A block of a family, used or free.
    Family(Location),
    /// Memory that the heap gave out as an allocator.
    Object {
        /// What may be used from that address on, in bytes; none if no object begins there.
        usable: Option<usize>,
    },
}

impl Heap {
    /// What a heap is to be. A budget has to be given.
    ///
    /// ```
    /// use outcore::{Commit, Heap};
    ///
    /// let heap = Heap::builder()
    ///     .budget(16 << 20)
    ///     .store_in("/var/tmp")
    ///     .store_size(1 << 30)
    ///     .commit(Commit::Strict)
    ///     .build()?;
    /// # drop(heap);
    /// # Ok::<(), outcore::BuildError>(())
    /// ```
    pub fn builder() -> HeapBuilder {
        HeapBuilder::new()
    }

    /// `room` is what it can hold at most, in bytes.
    pub(crate) fn new(paging: Arc<Paging>, room: u64) -> Self {
        resident::scope(|| {
            let inner = Inner {
                caches: Caches::new(),
                malloc: ::heap::Heap::new(Paged::new(&paging, room)),
                families: Families::new(Paged::new(&paging, room)),
                paging,
            };
            let inner = Arc::new(inner);
            // In an `Arc` they stay where they are.
            let (malloc, families) = (NonNull::from(&inner.malloc), NonNull::from(&inner.families));
            let free = Free { malloc, families };
            inner.paging.instance().know_unused(Some(Arc::new(free)));
            Self { inner }
        })
    }

    /// Registers a family of objects of type `T` in the heap's pages.
    ///
    /// ```
    /// use outcore::Heap;
    ///
    /// struct Employee {
    ///     name: [u8; 24],
    ///     age: u32,
    /// }
    ///
    /// let heap = Heap::builder().budget(8 << 20).build()?;
    /// let employees = heap.family::<Employee>("employee")?;
    /// let mut ada = employees.alloc(Employee { name: *b"Ada                     ", age: 36 })?;
    /// ada.age += 1;
    /// assert!(ada.name.starts_with(b"Ada") && ada.age == 37);
    /// assert_eq!(heap.families().stats(employees.id()).map(|stats| stats.used_blocks), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Families::register`].
    pub fn family<T>(&self, name: &str) -> Result<Family<'_, T, Paged>, RegisterError> {
        resident::scope(|| self.inner.families.family(name))
    }

    /// All families: what is registered, and reports about it.
    pub fn families(&self) -> &Families<Paged> {
        &self.inner.families
    }

    /// A range of pages that is handed out in parts, `len` bytes in all, of which the heap's
    /// budget and store take care. See [`Arena`].
    ///
    /// # Errors
    /// See [`ArenaError`].
    pub fn arena(&self, len: usize) -> Result<Arena, ArenaError> {
        Arena::new(&self.inner.paging, len)
    }

    /// Maps a file, or a part of it, of which as much is in memory as the heap's budget allows.
    /// See [`MappedFile`].
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn map_file(&self, file: &File, options: MapOptions) -> Result<MappedFile, FileError> {
        MappedFile::new(&self.inner.paging, file, options)
    }

    /// Maps memory whose pages the program's own code supplies, and takes back. See [`Backing`].
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn map_backing(
        &self,
        backing: impl Backing,
        options: BackingOptions,
    ) -> Result<MappedBacking, FileError> {
        MappedBacking::new(&self.inner.paging, Arc::new(backing), options)
    }

    /// Opens an image that was saved of an arena, in a millisecond whatever its size: its pages
    /// are fetched when they are touched. See [`ArenaImage`].
    ///
    /// # Errors
    /// See [`OpenImageError`].
    pub fn open_image(
        &self,
        path: impl AsRef<Path>,
        options: ImageOptions,
    ) -> Result<ArenaImage, OpenImageError> {
        ArenaImage::open(&self.inner.paging, path.as_ref(), options)
    }

    /// Room for `count` stacks that grow to at most `max` bytes each. See [`Stacks`].
    ///
    /// # Errors
    /// [`ArenaError::NoAddresses`], also where the kernel cannot serve faults of system
    /// calls; [`ArenaError::Empty`], [`ArenaError::Forked`].
    pub fn stacks(&self, max: usize, count: usize) -> Result<Stacks, ArenaError> {
        Stacks::new(&self.inner.paging, max, count)
    }

    /// What the address belongs to: none if to nothing of this heap's families or objects.
    /// Takes the same time however large the heap is, and touches no page.
    ///
    /// ```
    /// use allocator_api2::boxed::Box;
    /// use outcore::{Heap, Place};
    ///
    /// let heap = Heap::builder().budget(8 << 20).build()?;
    /// let pairs = heap.family::<[u64; 2]>("pair")?;
    /// let pair = pairs.alloc([1, 2])?;
    /// let Some(Place::Family(found)) = heap.locate(&raw const pair[1] as usize) else { panic!() };
    /// assert_eq!((found.family, found.data, found.size), (pairs.id(), pair.as_ptr() as usize, 16));
    ///
    /// let boxed = Box::new_in([0u8; 100], heap.clone());
    /// assert_eq!(heap.locate(boxed.as_ptr() as usize), Some(Place::Object { usable: Some(112) }));
    /// assert_eq!(heap.locate(&raw const heap as usize), None);
    /// # Ok::<(), std::boxed::Box<dyn std::error::Error>>(())
    /// ```
    pub fn locate(&self, addr: usize) -> Option<Place> {
        if self.inner.malloc.owns(addr) {
            return Some(Place::Object { usable: self.inner.malloc.usable_size(addr) });
        }
        self.inner.families.locate(addr).ok().map(Place::Family)
    }

    pub(crate) fn paging(&self) -> &Arc<Paging> {
        &self.inner.paging
    }

    /// The heap's numbers now. In a forked child, where there is no such heap, the limits and
    /// zeros.
    pub fn stats(&self) -> Stats {
        resident::scope(|| Stats::of(&self.inner.paging))
    }

    /// The first thing that went wrong with the store, as a sentence; it was also said on
    /// standard error.
    pub fn message(&self) -> Option<String> {
        resident::scope(|| self.inner.paging.instance().message())
    }

    /// Bytes at the layout's alignment, zeroed or not; none if there are none.
    pub(crate) fn alloc(&self, layout: Layout, contents: Contents) -> Option<NonNull<u8>> {
        let (size, align) = (layout.size(), layout.align());
        if !self.is_here() {
            return None;
        }
        let inner = &*self.inner;
        resident::scope(|| {
            let object = inner.caches.with(|cache| match contents {
                Contents::Any => inner.malloc.alloc(cache, size, align),
                Contents::Zero => inner.malloc.alloc_zeroed(cache, size, align),
            });
            NonNull::new(object)
        })
    }

    /// Whether the address lies where objects come from.
    pub(crate) fn owns(&self, addr: usize) -> bool {
        self.inner.malloc.owns(addr)
    }

    /// Whether this process is the one that made it.
    pub(crate) fn is_here(&self) -> bool {
        self.inner.paging.is_here()
    }

    /// Frees an object. In a forked child, where it is not, nothing happens.
    ///
    /// # Safety
    /// [`Self::alloc`] gave it, and nobody uses it any more. Wrong pointers stop the program.
    pub(crate) unsafe fn free(&self, object: NonNull<u8>) {
        if !self.is_here() {
            return;
        }
        let inner = &*self.inner;
        let freed = resident::scope(|| {
            // SAFETY: the caller's contract.
            inner.caches.with(|cache| unsafe { inner.malloc.free(cache, object.as_ptr()) })
        });
        if let Err(error) = freed {
            misused(object, error);
        }
    }

    /// Changes an object's size, in place or not; none, and it is as before, if there is no
    /// memory.
    ///
    /// # Safety
    /// As [`Self::free`] for the old one, unless none is returned; `old` and `new` have the
    /// same alignment.
    pub(crate) unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Option<NonNull<u8>> {
        /// What the allocator below aligns everything to.
        const ALIGN: usize = 16;
        let inner = &*self.inner;
        if old.align() <= ALIGN && self.is_here() {
            let moved = resident::scope(|| {
                // SAFETY: the caller's contract.
                inner.caches.with(|cache| unsafe { inner.malloc.realloc(cache, object.as_ptr(), new.size()) })
            });
            return match moved {
                Ok(moved) => NonNull::new(moved),
                Err(error) => misused(object, error),
            };
        }
        let moved = self.alloc(new, Contents::Any)?;
        // SAFETY: both have as many bytes; the old one is the caller's to give up.
        unsafe {
            ptr::copy_nonoverlapping(object.as_ptr(), moved.as_ptr(), old.size().min(new.size()));
            self.free(object);
        }
        Some(moved)
    }
}

/// What new bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    Any,
    Zero,
}

/// Going on would hand out memory that is in use.
#[cold]
fn misused(object: NonNull<u8>, error: FreeError) -> ! {
    let (addr, what) = match error {
        FreeError::Foreign => (object.as_ptr().addr(), "it is not from this heap"),
        FreeError::NotAnObject => (object.as_ptr().addr(), "no object begins there"),
        FreeError::AlreadyFree(addr) => (addr, "it is free already"),
    };
    eprintln!("outcore: {addr:#x} was to be freed, and {what}: the program is stopped");
    std::process::abort();
}
