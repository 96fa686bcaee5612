//! What a program did with its address space, as the core is told.

use super::rerun::{paged, rights_of};
use pager::{Pager, Rights};
use trace::{Event, Gone, Rights as Told};

/// Whether an event fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    Yes,
    No,
}

/// Applies an event that tells of areas, discards, moves and rights; others are left alone.
pub(super) fn apply(pager: &mut Pager, event: &Event) -> Fits {
    match *event {
        Event::Area { start, count, rights } => {
            if let Some(range) = paged(start, count) {
                pager.discard(range, |_, _| {});
                pager.add_area(range, rights_of(rights).unwrap_or(Rights::ReadWrite));
            }
        }
        Event::Gone { start, count, why } => {
            let Some(range) = paged(start, count) else { return Fits::Yes };
            match why {
                Gone::Unmapped => pager.remove_area(range, |_, _| {}),
                Gone::Discarded => pager.discard(range, |_, _| {}),
            }
        }
        Event::Moved { from, to, count } => {
            let (Some(old), Some(new)) = (paged(from, count), paged(to, count)) else { return Fits::Yes };
            if old.intersection(new).count > 0 {
                return Fits::No;
            }
            pager.remove_area(new, |_, _| {});
            pager.remap(old, new.start);
        }
        Event::Protected { start, count, rights } => {
            let Some(range) = paged(start, count) else { return Fits::Yes };
            match rights_of(rights) {
                Some(rights) => pager.set_rights(range, rights),
                None => pager.set_pinned(range, rights == Told::Pinned),
            }
        }
        _ => {}
    }
    Fits::Yes
}
