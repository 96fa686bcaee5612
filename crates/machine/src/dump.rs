//! What `dump` and `stats` say.

use crate::disk::Direction;
use crate::machine::Machine;
use pager::space::{FaultKind, Origin, Place, Recipe, SpaceNo};
use pager::{PageNo, State};
use std::fmt::Write;

impl Machine {
    /// Every page's recipe: status, file, offset, read and zero bytes, slot, frame.
    pub fn dump(&mut self, space: SpaceNo) -> String {
        let mut text = String::from(
            "page            area     status            file             offset  read  zero  slot  frame\n",
        );
        let areas: Vec<_> = self.spaces().areas(space).collect();
        for page in areas.iter().flat_map(|area| area.range.pages()) {
            if let Some(recipe) = self.spaces().recipe(space, page) {
                self.dump_line(page, recipe, &mut text);
            }
        }
        text
    }

    fn dump_line(&mut self, page: PageNo, recipe: Recipe, text: &mut String) {
        let addr = self.address(page);
        let area = match recipe.area.origin {
            Origin::Arena => "arena",
            Origin::Mapping => "mapping",
            Origin::Stack => "stack",
            Origin::Image => "image",
        };
        let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
        let (mut file, mut offset, mut slot) = ("-".to_owned(), None, None);
        let page_size = self.settings().page_size;
        let mut read = 0;
        match recipe.place {
            Some(Place::Block { file: number, block, bytes }) => {
                file = String::from_utf8_lossy(self.file_name(number)).into_owned();
                offset = block.checked_mul(page_size);
                read = self.bytes_in_file(number, block, bytes as usize);
            }
            Some(Place::Slot(number)) => {
                slot = Some(u64::from(number.0));
                read = page_size;
            }
            None => {}
        }
        let frame = match recipe.state {
            Some(
                State::Resident { frame, .. }
                | State::Parked { frame, .. }
                | State::Filling { frame, .. }
                | State::Writing { frame, .. },
            ) => Some(u64::from(frame.0)),
            Some(State::Swapped { .. } | State::Poisoned) => None,
            Some(State::Untouched) | None => Some(0),
        };
        let _ = writeln!(
            text,
            "{:<15} {area:<8} {:<17} {file:<16} {:>6} {read:>5} {:>5} {:>5} {:>6}",
            format!("{addr:#x}"),
            status(recipe),
            number(offset),
            page_size - read,
            number(slot),
            number(frame),
        );
    }

    /// Counts so far: faults by kind, transfers, and what is in use.
    pub fn report(&self) -> String {
        let mut text = String::from("faults          minor  major\n");
        for kind in FaultKind::ALL {
            let counts = self.stats().of(kind);
            let _ = writeln!(text, "{:<14} {:>6} {:>6}", kind.to_string(), counts.minor, counts.major);
        }
        let total = self.stats().total();
        let _ = writeln!(text, "{:<14} {:>6} {:>6}", "all", total.minor, total.major);
        let _ = writeln!(text, "failed         {:>6}", self.stats().failed);
        let transfers = |direction, of_swap| self.transfers(direction, of_swap);
        let _ = writeln!(
            text,
            "swap           {} read, {} written; files {} read, {} written",
            transfers(Direction::Read, true),
            transfers(Direction::Write, true),
            transfers(Direction::Read, false),
            transfers(Direction::Write, false),
        );
        let spaces = self.spaces();
        let _ = writeln!(
            text,
            "in use         {} of {} frames, {} of {} slots, {} promised",
            spaces.frames_used(),
            self.settings().frames,
            spaces.slots_used(),
            self.settings().slots,
            spaces.slots_reserved(),
        );
        let _ = writeln!(text, "time           {} ns", self.now());
        text
    }
}

/// What is true of a page, in the core's words.
fn status(recipe: Recipe) -> &'static str {
    match recipe.state {
        None | Some(State::Untouched) => "untouched",
        Some(State::Resident { .. }) if recipe.dirty => "resident dirty",
        Some(State::Resident { .. }) => "resident clean",
        Some(State::Parked { .. }) if recipe.dirty => "parked dirty",
        Some(State::Parked { .. }) => "parked clean",
        Some(State::Filling { .. }) => "filling",
        Some(State::Writing { .. }) => "writing",
        Some(State::Swapped { .. }) if matches!(recipe.place, Some(Place::Block { .. })) => "in file",
        Some(State::Swapped { .. }) => "swapped",
        Some(State::Poisoned) => "poisoned",
    }
}
