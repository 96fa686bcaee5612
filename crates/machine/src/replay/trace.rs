//! A trace in memory: the pages that were referenced, in order.

use super::format::{Format, TraceError, read};
use pager::PageMap;
use std::io::Read;

/// The pages that were referenced, numbered from 0 in the order of their first references. Which
/// numbers they had does not matter to any policy. At least one reference.
#[derive(Clone, Debug)]
pub struct Trace {
    numbers: Vec<u32>,
    pages: u32,
}

/// References that can be counted: positions are 32 bits wide, and some values mean something else.
const MOST_REFERENCES: usize = u32::MAX as usize - 2;

impl Trace {
    /// Reads page numbers; four bytes are kept for each, and sixteen to forty for each that is distinct.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn read(from: impl Read, format: Format) -> Result<Self, TraceError> {
        let mut builder = Builder::default();
        read(from, format, &mut |page| builder.push(page))?;
        builder.finish()
    }

    /// The trace of these pages.
    ///
    /// # Errors
    /// [`TraceError::Empty`] and [`TraceError::TooLong`].
    pub fn from_pages(pages: impl IntoIterator<Item = u64>) -> Result<Self, TraceError> {
        let mut builder = Builder::default();
        pages.into_iter().try_for_each(|page| builder.push(page))?;
        builder.finish()
    }

    /// How many references there are.
    pub fn references(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// How many distinct pages there are.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// For each reference the number of its page, below [`Self::pages`].
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }
}

/// A trace that is being put together.
#[derive(Debug, Default)]
pub struct Builder {
    known: PageMap,
    numbers: Vec<u32>,
}

impl Builder {
    /// Adds a reference to `page`.
    ///
    /// # Errors
    /// [`TraceError::TooLong`].
    pub fn push(&mut self, page: u64) -> Result<(), TraceError> {
        if self.numbers.len() >= MOST_REFERENCES {
            return Err(TraceError::TooLong);
        }
        let next = self.known.len() as u32;
        self.numbers.push(self.known.get_or_insert(page, next));
        Ok(())
    }

    /// The trace.
    ///
    /// # Errors
    /// [`TraceError::Empty`].
    pub fn finish(self) -> Result<Trace, TraceError> {
        if self.numbers.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Trace { numbers: self.numbers, pages: self.known.len() as u32 })
    }
}
