//! How long something that turned out not to pay is left alone: each time twice as long.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(64);

/// A pause, and how long the next one is.
#[derive(Debug)]
pub(crate) struct Rest {
    until: Option<Instant>,
    next: Duration,
}

impl Rest {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { until: None, next: FIRST }
    }

    /// Begins now.
    pub(crate) fn begin(&mut self) {
        self.until = Some(Instant::now() + self.next);
        self.next = (2 * self.next).min(LONGEST);
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }
}
