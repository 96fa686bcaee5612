//! Where pages are that are not in memory.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

/// Keeps bytes by offset, as a file does.
///
/// Calls come from several threads at once, never two of them for the same bytes. What is read
/// was written before; the heap checks that it is the same, so a store may fail or lie and
/// nothing wrong is ever handed on. An error is no end: the heap keeps what could not be
/// written, and tries again when it is asked to.
pub trait Store: Send + Sync {
    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// If that is not possible now; `into` then means nothing.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Keeps `from` from `offset` on.
    ///
    /// # Errors
    /// If that is not possible now; what was there may be gone.
    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()>;
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        (**self).write(offset, from)
    }
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        (**self).write(offset, from)
    }
}

/// A store in memory: for programs without a disk, and for tests. It saves no memory.
#[derive(Default)]
pub struct MemoryStore {
    bytes: Mutex<Vec<u8>>,
}

impl MemoryStore {
    /// An empty one. It grows to the end of what is written.
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it has been written: never more than the virtual size of its heap.
    pub fn size(&self) -> u64 {
        self.lock().len() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        // Bytes are always whole, whatever happened to a thread that copied some.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory store of {} bytes", self.size())
    }
}

/// The end of `len` bytes at `offset`, as far as memory reaches.
fn end(offset: u64, len: usize) -> io::Result<(usize, usize)> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    Ok((start, end))
}

impl Store for MemoryStore {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let (start, end) = end(offset, into.len())?;
        let bytes = self.lock();
        let found = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let (start, end) = end(offset, from.len())?;
        let mut bytes = self.lock();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(from);
        Ok(())
    }
}
