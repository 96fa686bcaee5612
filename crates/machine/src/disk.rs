//! The disk: swap slots and files, how long transfers take, and which of them fail.

use crate::costs::Costs;
use crate::files::Files;
use pager::space::{FileNo, Place, Transfer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// What a transfer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The swap space.
    Swap,
    /// A file.
    File(FileNo),
}

/// A transfer that was made, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which way.
    pub direction: Direction,
    /// Of what.
    pub device: Device,
    /// The slot, or the block of the file.
    pub block: u64,
    /// When it began, in nanoseconds of the machine's time.
    pub begin: u64,
    /// When it ended.
    pub end: u64,
    /// Whether the bytes were transferred.
    pub done: bool,
}

/// Why a transfer failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferError(pub String);

/// The disk. See the module's page.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    swap: BTreeMap<u32, Vec<u8>>,
    failing: BTreeSet<(Direction, Device, u64)>,
    costs: Costs,
    /// The transfers of the current operation.
    pub(crate) requests: Vec<Request>,
    /// All transfers that were made: of swap and of files, reads and writes.
    pub(crate) counts: BTreeMap<(Direction, bool), u64>,
}

impl Disk {
    pub(crate) fn new(costs: Costs) -> Self {
        Self {
            swap: BTreeMap::new(),
            failing: BTreeSet::new(),
            costs,
            requests: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// From now on such transfers fail, or no longer.
    pub(crate) fn set_failing(&mut self, what: (Direction, Device, u64), failing: bool) {
        if failing {
            self.failing.insert(what);
        } else {
            self.failing.remove(&what);
        }
    }

    /// Moves a page between `bytes` and its place. A page of which the file has no byte takes
    /// no transfer. `now` goes on.
    pub(crate) fn transfer(
        &mut self,
        direction: Direction,
        transfer: Transfer,
        bytes: &mut [u8],
        files: &mut Files,
        now: &mut u64,
    ) -> Result<(), TransferError> {
        let (device, block) = match transfer.place {
            Place::Slot(slot) => (Device::Swap, u64::from(slot.0)),
            Place::Block { file, block, .. } => (Device::File(file), block),
        };
        let moved = if self.failing.contains(&(direction, device, block)) {
            Err(TransferError("the disk was told to fail".into()))
        } else {
            match (transfer.place, direction) {
                (Place::Slot(slot), Direction::Read) => {
                    bytes.copy_from_slice(&self.swap[&slot.0]);
                    Ok(bytes.len())
                }
                (Place::Slot(slot), Direction::Write) => {
                    self.swap.insert(slot.0, bytes.to_vec());
                    Ok(bytes.len())
                }
                (Place::Block { file, block, bytes: own }, Direction::Read) => {
                    files.read(file, block, own as usize, bytes)
                }
                (Place::Block { file, block, bytes: own }, Direction::Write) => {
                    files.write(file, block, own as usize, bytes)
                }
            }
        };
        if moved == Ok(0) {
            return Ok(());
        }
        let begin = *now;
        let size = *moved.as_ref().unwrap_or(&0) as u64;
        *now += self.costs.transfer(size);
        let done = moved.is_ok();
        self.requests.push(Request { direction, device, block, begin, end: *now, done });
        if done {
            *self.counts.entry((direction, device == Device::Swap)).or_default() += 1;
        }
        moved.map(drop)
    }
}
