//! What an image holds, and whether all of it can be read.

use crate::error::ImageError;
use crate::node::{Entry, FANOUT};
use crate::{Image, PAGE};
use std::io;

/// What was found in an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Pages that are not zero.
    pub touched: u64,
    /// Distinct ones among them, as far as they are stored once.
    pub stored: u64,
    /// Nodes of the index.
    pub nodes: u64,
    /// Nodes and pages that are damaged.
    pub damaged: u64,
}

/// A part of an image that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its first page.
    pub page: u64,
    /// How many pages are affected.
    pub count: u64,
    /// The block that is damaged, in bytes from the start.
    pub offset: u64,
    /// What it should be.
    pub block: &'static str,
}

struct Surveyor<'a> {
    image: &'a Image,
    pages: bool,
    progress: &'a mut dyn FnMut(u64),
    damaged: &'a mut dyn FnMut(Damage),
    /// One bit a block: those of pages that have been seen.
    seen: Vec<u64>,
    survey: Survey,
}

pub(crate) fn survey(
    image: &Image,
    pages: bool,
    progress: &mut dyn FnMut(u64),
    damaged: &mut dyn FnMut(Damage),
) -> io::Result<Survey> {
    let words = (image.bytes() / PAGE as u64).div_ceil(64) as usize;
    let mut surveyor =
        Surveyor { image, pages, progress, damaged, seen: vec![0; words], survey: Survey::default() };
    let (levels, root) = image.root();
    if levels > 0 {
        surveyor.node(root, levels, 0)?;
    }
    (surveyor.progress)(image.pages());
    Ok(surveyor.survey)
}

impl Surveyor<'_> {
    /// Goes through a node of `levels` levels whose first page is `first`.
    fn node(&mut self, entry: Entry, levels: u32, first: u64) -> io::Result<()> {
        let each = (FANOUT as u64).pow(levels - 1);
        let node = match self.image.node(entry) {
            Ok(node) => node,
            Err(error) => return self.failed(error, first, each * FANOUT as u64),
        };
        self.survey.nodes += 1;
        for (number, entry) in node.entries.iter().enumerate().filter(|(_, entry)| entry.block != 0) {
            let page = first + number as u64 * each;
            if levels > 1 {
                self.node(*entry, levels - 1, page)?;
            } else {
                self.page(*entry, page)?;
            }
        }
        if levels == 1 {
            (self.progress)(first.min(self.image.pages()));
        }
        Ok(())
    }

    fn page(&mut self, entry: Entry, page: u64) -> io::Result<()> {
        self.survey.touched += 1;
        let (word, bit) = ((entry.block / 64) as usize, entry.block % 64);
        let again = self.seen[word] >> bit & 1 == 1;
        self.seen[word] |= 1 << bit;
        self.survey.stored += u64::from(!again);
        if !self.pages {
            return Ok(());
        }
        let mut bytes = [0; PAGE];
        match self.image.block(entry, "a page", &mut bytes) {
            Ok(()) => Ok(()),
            Err(error) => self.failed(error, page, 1),
        }
    }

    fn failed(&mut self, error: ImageError, page: u64, count: u64) -> io::Result<()> {
        match error {
            ImageError::Corrupt { block, offset } => {
                self.survey.damaged += 1;
                let count = count.min(self.image.pages().saturating_sub(page));
                (self.damaged)(Damage { page, count, offset, block });
                Ok(())
            }
            ImageError::Io(error) => Err(error),
            other => Err(io::Error::other(other)),
        }
    }
}
