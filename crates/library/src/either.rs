#![expect(unsafe_code, reason = "passes on what it promises")]
//! Pages for C: paged or not, as the heap was made.

use crate::source::Paged;
use ::heap::{Anonymous, PageSource};

/// Where a C heap's pages come from.
#[derive(Debug)]
pub(crate) enum Either {
    Kernel(Anonymous),
    Paged(Paged),
}

impl Either {
    fn source(&self) -> &dyn PageSource {
        match self {
            Self::Kernel(source) => source,
            Self::Paged(source) => source,
        }
    }
}

// SAFETY: one source, always the same.
unsafe impl PageSource for Either {
    fn reserve(&self, max_len: usize) -> Option<(usize, usize)> {
        self.source().reserve(max_len)
    }

    fn extend(&self, end: usize) -> bool {
        self.source().extend(end)
    }

    fn promise(&self, bytes: usize) -> bool {
        self.source().promise(bytes)
    }

    fn renounce(&self, bytes: usize) {
        self.source().renounce(bytes);
    }

    fn spare(&self) -> usize {
        self.source().spare()
    }

    fn relocate(&self, from: usize, to: usize, len: usize) -> bool {
        self.source().relocate(from, to, len)
    }

    fn is_scarce(&self) -> bool {
        self.source().is_scarce()
    }

    fn is_resident(&self, addr: usize) -> bool {
        self.source().is_resident(addr)
    }

    fn apart(&self, work: &mut dyn FnMut()) {
        self.source().apart(work);
    }

    fn discard(&self, addr: usize, len: usize) {
        self.source().discard(addr, len);
    }
}
