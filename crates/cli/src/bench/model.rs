//! The same kinds of faults on the simulated machine, in its virtual time.

use machine::{Costs, Machine, Settings};
use measure::faults::Kind;
use std::collections::BTreeMap;

/// Bytes of a page, as on this machine.
const PAGE: u64 = 4096;
/// Frames that pages can have: one more holds zeros.
const FRAMES: u64 = 8;
/// Above the arena.
const STACK_TOP: u64 = 0x7000_0000_0000;
/// Nanoseconds of each kind, which are the same each time. What the machine cannot do is not there: it brings in a page at
/// a time, and has no handles.
///
/// # Errors
/// There is no such machine, or it does not do what it is there for.
pub(super) fn figures(costs: Costs) -> Result<BTreeMap<Kind, u64>, String> {
    let own = std::env::current_exe().map_err(text)?;
    let (Some(files), Some(name)) = (own.parent(), own.file_name()) else {
        return Err(format!("{} has no directory", own.display()));
    };
    let settings = Settings {
        frames: FRAMES + 1,
        slots: 4 * FRAMES,
        page_size: PAGE,
        arena: 64 * PAGE,
        files: files.to_path_buf(),
        costs,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings)?;
    machine.create(0, 1).map_err(text)?;
    machine.switch(1).map_err(text)?;
    // One page more than there are frames: the first leaves, and all others are parked.
    let mut pages = Vec::new();
    for _ in 0..=FRAMES {
        pages.push(machine.map().map_err(text)?);
    }
    let mut found = BTreeMap::new();
    let first = timed(&mut machine, |machine| machine.store(pages[0], 1).map_err(text))?;
    found.insert(Kind::ZeroFill, first);
    for page in &pages[1..] {
        machine.store(*page, 1).map_err(text)?;
    }
    found.insert(Kind::Parked, timed(&mut machine, |machine| machine.store(pages[1], 2).map_err(text))?);
    // Rooms for what follows: nothing has to leave for it.
    for page in &pages[3..] {
        machine.munmap(*page, PAGE).map_err(text)?;
    }
    found.insert(
        Kind::SwapIn,
        timed(&mut machine, |machine| match machine.load(pages[0]) {
            Ok(1) => Ok(()),
            other => Err(format!("the machine's page came back as {other:?}")),
        })?,
    );
    machine.create(1, 2).map_err(text)?;
    machine.switch(2).map_err(text)?;
    found.insert(Kind::CopyOnWrite, timed(&mut machine, |machine| machine.store(pages[1], 3).map_err(text))?);
    let block = machine.map_file(name.as_encoded_bytes(), 0).map_err(text)?;
    found.insert(Kind::File, timed(&mut machine, |machine| machine.load(block).map(drop).map_err(text))?);
    machine.set_sp(STACK_TOP).map_err(text)?;
    found.insert(Kind::Stack, timed(&mut machine, |machine| machine.push(PAGE + 8).map_err(text))?);
    Ok(found)
}

/// Virtual nanoseconds of what is done, without those of the access that hits in the end.
fn timed(
    machine: &mut Machine,
    work: impl FnOnce(&mut Machine) -> Result<(), String>,
) -> Result<u64, String> {
    let before = machine.now();
    work(machine)?;
    Ok((machine.now() - before).saturating_sub(1))
}

fn text(error: impl std::fmt::Debug) -> String {
    format!("the simulated machine: {error:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_what_it_costs() {
        let costs = Costs {
            fault: 1_000_000,
            zero: 1,
            stack: 20,
            copy: 300,
            mapped: 4_000,
            file: 50_000,
            latency: 7_000_000,
            bandwidth: 4096 * 1_000,
        };
        let figures = figures(costs).unwrap();
        let expected = [
            (Kind::ZeroFill, 1_000_001),
            (Kind::Parked, 1_004_000),
            (Kind::CopyOnWrite, 1_000_300),
            (Kind::SwapIn, 9_000_000),
            (Kind::File, 9_050_000),
            (Kind::Stack, 1_000_020),
        ];
        assert_eq!(figures, BTreeMap::from(expected));
    }
}
