//! Large objects freed a moment ago.

use crate::span::{Kind, Large, Span};
use core::sync::atomic::Ordering::Relaxed;

/// What is kept at most. It costs the pager as much as other memory, so it is little.
const BYTES: usize = 8 << 20;
const SPANS: usize = 16;
/// An object may be larger than what is asked by one part in this many.
const SLACK: usize = 8;

/// Spans, as they were, contents and all: a program that frees and allocates buffers of
/// one size gets the same pages again, which are in RAM, instead of a fault for each.
pub(crate) struct Warm {
    /// The one freed last is last.
    spans: Vec<&'static Span>,
}

pub(crate) fn large(span: &Span) -> &Large {
    match &span.kind {
        Kind::Large(large) => large,
        Kind::Small(_) => unreachable!("only large objects are kept warm"),
    }
}

fn len(span: &Span) -> usize {
    large(span).len.load(Relaxed)
}

impl Warm {
    pub(crate) const fn new() -> Self {
        Self { spans: Vec::new() }
    }

    /// Keeps a free span; false when it is too large for that.
    pub(crate) fn keep(&mut self, span: &'static Span) -> bool {
        let keeps = len(span) <= BYTES;
        if keeps {
            self.spans.push(span);
        }
        keeps
    }

    /// A span of `wanted` bytes or little more.
    pub(crate) fn take(&mut self, wanted: usize) -> Option<&'static Span> {
        let fits = wanted..=wanted.checked_add(wanted / SLACK)?;
        let index = self.spans.iter().rposition(|span| fits.contains(&len(span)))?;
        Some(self.spans.remove(index))
    }

    /// The oldest, if more is kept than should be.
    pub(crate) fn take_excess(&mut self) -> Option<&'static Span> {
        let excess =
            self.spans.len() > SPANS || self.spans.iter().map(|span| len(span)).sum::<usize>() > BYTES;
        if excess { self.take_oldest() } else { None }
    }

    /// The oldest.
    pub(crate) fn take_oldest(&mut self) -> Option<&'static Span> {
        (!self.spans.is_empty()).then(|| self.spans.remove(0))
    }
}
