//! Everything about a machine that a person may want to see at one moment.

use crate::machine::Machine;
use crate::outcome::{Outcome, PageName, PteLine};
use crate::run::Runner;
use crate::{Device, Direction};
use pager::space::{Place, SpaceNo};
use pager::{FrameNo, SlotNo, State};
use std::collections::BTreeMap;

/// The most frames and slots that a view lists.
const MOST: u32 = 4096;

/// What a frame is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameUse {
    /// It holds the zeros that untouched pages read as.
    Zeros,
    /// Nobody's.
    Free,
    /// It holds a page whose reference bit is set.
    Referenced,
    /// It holds a page whose reference bit is clear: a touch will be noticed.
    Unreferenced,
    /// A transfer owns it.
    InTransfer,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameView {
    /// Which.
    pub frame: FrameNo,
    /// What it is doing.
    pub holds: FrameUse,
    /// Its bytes differ from those in its place.
    pub dirty: bool,
    /// Where its bytes came from or will go: `swap 3`, `letters 0`, or nothing.
    pub place: String,
    /// The pages that it is: `1:0x600000000`.
    pub owners: Vec<String>,
}

/// One slot that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Which.
    pub slot: SlotNo,
    /// The pages whose place it is.
    pub owners: Vec<String>,
}

/// One transfer of the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferView {
    /// Which way.
    pub direction: Direction,
    /// Of what: `swap 3`, `letters 0`.
    pub place: String,
    /// When it began, in nanoseconds of the machine's time.
    pub begin: u64,
    /// When it ended.
    pub end: u64,
    /// Whether it was made.
    pub done: bool,
}

/// A machine after an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What the operation did. None: there has been none.
    pub outcome: Option<Outcome>,
    /// The process that runs.
    pub current: Option<u32>,
    /// The page table of every process.
    pub tables: Vec<(u32, Vec<PteLine>)>,
    /// The frames, in order of number.
    pub frames: Vec<FrameView>,
    /// The frames that may be taken, from the hand on.
    pub order: Vec<FrameNo>,
    /// The slots in use, in order of number.
    pub slots: Vec<SlotView>,
    /// Slots that are neither used nor promised.
    pub slots_free: u64,
    /// The transfers of the operation, in order.
    pub transfers: Vec<TransferView>,
    /// The machine's time, in nanoseconds.
    pub now: u64,
}

impl Runner {
    /// The machine as it is after `outcome`. The clock is shown if the machine was built with
    /// [`Settings::watched`](crate::Settings).
    pub fn view(&self, outcome: Option<Outcome>) -> View {
        let machine = self.machine();
        let spaces = machine.spaces();
        let tables = spaces.spaces().map(|space| (space.0, machine.page_lines(space))).collect();
        let owners = |owners: &[(SpaceNo, pager::PageNo)]| {
            owners.iter().map(|(space, page)| format!("{}:{:#x}", space.0, machine.address(*page))).collect()
        };
        let frames = (0..(machine.settings().frames as u32).min(MOST))
            .map(|number| {
                let frame = FrameNo(number);
                let Some(held) = spaces.holding(frame) else {
                    let holds = if number == 0 { FrameUse::Zeros } else { FrameUse::Free };
                    return FrameView {
                        frame,
                        holds,
                        dirty: false,
                        place: String::new(),
                        owners: Vec::new(),
                    };
                };
                FrameView {
                    frame,
                    holds: match held.state {
                        State::Resident { .. } => FrameUse::Referenced,
                        State::Parked { .. } => FrameUse::Unreferenced,
                        _ => FrameUse::InTransfer,
                    },
                    dirty: held.dirty,
                    place: held.place.map(|place| machine.place_name(place)).unwrap_or_default(),
                    owners: owners(&held.owners),
                }
            })
            .collect();
        let slots: BTreeMap<SlotNo, Vec<String>> =
            spaces.slot_owners().map(|(slot, own)| (slot, owners(&own))).collect();
        let transfers = machine.requests().iter().map(|request| TransferView {
            direction: request.direction,
            place: match request.device {
                Device::Swap => format!("swap {}", request.block),
                Device::File(file) => {
                    format!("{} {}", String::from_utf8_lossy(machine.file_name(file)), request.block)
                }
            },
            begin: request.begin,
            end: request.end,
            done: request.done,
        });
        View {
            outcome,
            current: machine.current().map(|space| space.0),
            tables,
            frames,
            order: machine.order(),
            slots: slots
                .into_iter()
                .take(MOST as usize)
                .map(|(slot, owners)| SlotView { slot, owners })
                .collect(),
            slots_free: spaces.slots_free(),
            transfers: transfers.collect(),
            now: machine.now(),
        }
    }
}

impl Machine {
    /// The valid pages of a process, those of the arena first.
    pub(crate) fn page_lines(&self, space: SpaceNo) -> Vec<PteLine> {
        let arena = self.spaces().config().arena;
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for area in self.spaces().areas(space) {
            for page in area.range.pages() {
                let pte = self.entry(space, page);
                let line = |page| PteLine { page, prot: pte.prot, frame: pte.frame };
                if arena.contains(page) {
                    inside.push(line(PageName::Arena(page.0 - arena.start.0)));
                } else {
                    outside.push(line(PageName::Address(self.address(page))));
                }
            }
        }
        inside.append(&mut outside);
        inside
    }

    fn place_name(&self, place: Place) -> String {
        match place {
            Place::Slot(slot) => format!("swap {}", slot.0),
            Place::Block { file, block, .. } => {
                format!("{} {block}", String::from_utf8_lossy(self.file_name(file)))
            }
        }
    }
}
