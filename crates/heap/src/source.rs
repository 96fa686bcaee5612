//! Where pages come from.

/// A source of pages for one heap.
///
/// # Safety
/// [`Self::reserve`] gives memory that is zero, used by nobody else and never taken back,
/// and that is readable and writable as far as [`Self::extend`] has said yes.
/// [`Self::discard`]ed pages read as zeros again.
#[expect(unsafe_code, reason = "the heap hands out what an implementation gives")]
pub unsafe trait PageSource: Sync {
    /// Address (a multiple of 2 MiB) and length of one reservation of at most
    /// `max_len` bytes, resident where touched. Not called again once it succeeded.
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)>;

    /// Makes the reservation usable up to the address `end`; false, and nothing changed,
    /// when the kernel does not promise so much. Called under a lock of the heap.
    fn extend(&self, end: usize) -> bool;

    /// Asks whether `bytes` more may be handed out. Called under a lock of the heap:
    /// it must not allocate from it.
    fn promise(&self, bytes: usize) -> bool;

    /// `bytes` that were promised have been given back.
    fn renounce(&self, bytes: usize);

    /// Bytes of promises that a heap may hold on to when what they were made for is freed, as
    /// who frees soon asks again. Nothing where promises are refused: somebody else may need them.
    fn spare(&self) -> usize {
        0
    }

    /// Drops the contents of whole pages, without touching them.
    fn discard(&self, addr: usize, len: usize);

    /// Moves the pages of the `len` bytes at `from` to `to`, both within what is usable and
    /// apart: what was at `from` is at `to` then, and `from` reads as zeros. False, and
    /// nothing has changed, where that is not possible or does not pay.
    fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        let _ = (from, to, len);
        false
    }

    /// Whether what is in memory and not needed takes place from what is.
    fn is_scarce(&self) -> bool {
        false
    }

    /// Calls `work`, once, which allocates what [`Families`](crate::Families) know of their pages. It must not lie in
    /// these where a pager asks about them ([`Families::is_unused`](crate::Families::is_unused)).
    fn apart(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// Whether a touch on the page at `addr` is likely to cost no transfer. Called under a
    /// lock of the heap, where memory is scarce.
    fn is_resident(&self, addr: usize) -> bool {
        let _ = addr;
        true
    }
}

// SAFETY: as the source's.
#[expect(unsafe_code, reason = "passes on")]
unsafe impl<S: PageSource> PageSource for &S {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        (**self).reserve(max_len)
    }

    fn extend(&self, end: usize) -> bool {
        (**self).extend(end)
    }

    fn promise(&self, bytes: usize) -> bool {
        (**self).promise(bytes)
    }

    fn renounce(&self, bytes: usize) {
        (**self).renounce(bytes);
    }

    fn spare(&self) -> usize {
        (**self).spare()
    }

    fn discard(&self, addr: usize, len: usize) {
        (**self).discard(addr, len);
    }

    fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        (**self).relocate(from, to, len)
    }

    fn is_scarce(&self) -> bool {
        (**self).is_scarce()
    }

    fn is_resident(&self, addr: usize) -> bool {
        (**self).is_resident(addr)
    }

    fn apart(&self, work: &mut dyn FnMut()) {
        (**self).apart(work);
    }
}
