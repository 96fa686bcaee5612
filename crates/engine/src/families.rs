//! Page families on the status page: whoever allocates tells which pages are whose, the core where they are.

use crate::core::pages_of;
use crate::unused::{FamilyPart, Knows};
use crate::watch::count;
use core::sync::atomic::Ordering::Relaxed;
use pager::Pager;
use sys::status::{MAX_FAMILIES, MAX_PARTS, NAME_BYTES, Record};

/// Draws the family of this number, and of each turn one, so that faults do not wait for all; the number of the
/// next. None if there is no such family.
pub(crate) fn draw(pager: &Pager, knows: &Knows, number: u32, record: &Record) -> Option<u32> {
    let knows = knows.0.as_ref()?;
    let mut name = [0; NAME_BYTES];
    let (mut len, mut used, mut pages, mut states) = (None, 0, 0, [0; 3]);
    let there = knows.family(number, &mut |part| match part {
        FamilyPart::Named { name: text, used_bytes } => {
            let mut end = text.len().min(NAME_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            name[..end].copy_from_slice(&text.as_bytes()[..end]);
            (len, used) = (Some(end), used_bytes as u64);
        }
        FamilyPart::Pages { addr, len } => {
            let range = pages_of(addr, len);
            pages += range.count;
            states.iter_mut().zip(count(pager, range)).for_each(|(sum, more)| *sum += more);
        }
    });
    if !there {
        return None;
    }
    // Families without a page take no place; of more than fit, the first are shown.
    let shown = record.families.load(Relaxed).min(MAX_FAMILIES as u64) as usize;
    let text = len.and_then(|len| core::str::from_utf8(&name[..len]).ok());
    if let Some(text) = text {
        let from_end = |place: usize| &record.part[MAX_PARTS - 1 - place];
        let known = (0..shown).find(|place| from_end(*place).start.load(Relaxed) == u64::from(number));
        let place = known.or((shown < MAX_FAMILIES && pages > 0).then_some(shown));
        if let Some(place) = place {
            let part = from_end(place);
            part.set_family(text, used, pages, states);
            part.start.store(number.into(), Relaxed);
            record.families.store(shown.max(place + 1) as u64, Relaxed);
        }
    }
    Some(number + 1)
}
