//! Serving a fault: the core decides, the machine moves the bytes.

use super::Machine;
use crate::disk::{Direction, TransferError};
use pager::space::{Access, FaultError, Next, SpaceNo, Transfer};
use pager::{FillResult, WriteResult};
use std::fmt;

/// Why a fault was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultFailure {
    /// The process may not do this, or the core cannot.
    Refused(FaultError),
    /// The disk failed; the page is as it was.
    Transfer(TransferError),
}

impl fmt::Display for FaultFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Transfer(TransferError(error)) => write!(f, "the transfer failed: {error}"),
        }
    }
}

impl Machine {
    /// Serves a fault of `space` at `addr`, whether or not its entry asks for one. It takes part
    /// in what [`Self::faults`] tells.
    ///
    /// # Errors
    /// [`FaultFailure`]; the page is as it was.
    pub fn fault(&mut self, space: SpaceNo, addr: u64, access: Access) -> Result<(), FaultFailure> {
        self.spent += self.settings.costs.fault;
        let result = self.serve(space, addr, access);
        self.install();
        self.faults.push((addr, access, result.is_ok()));
        self.stats.failed += u64::from(result.is_err());
        result
    }

    fn serve(&mut self, space: SpaceNo, addr: u64, access: Access) -> Result<(), FaultFailure> {
        let mut fault = self.spaces.begin_fault(space, addr, access).map_err(FaultFailure::Refused)?;
        loop {
            match self.spaces.advance(&mut fault).map_err(FaultFailure::Refused)? {
                Next::Ready(served) => {
                    self.spent += self.settings.costs.besides(served.kind);
                    self.stats.count(served);
                    return Ok(());
                }
                Next::Write(transfer) => {
                    let result = self.transfer(Direction::Write, transfer);
                    let done = if result.is_ok() { WriteResult::Done } else { WriteResult::Failed };
                    self.spaces.write_done(transfer.frame, done);
                    result.map_err(FaultFailure::Transfer)?;
                }
                Next::Read(transfer) => {
                    let result = self.transfer(Direction::Read, transfer);
                    let done = if result.is_ok() { FillResult::Good } else { FillResult::Bad };
                    self.spaces.read_done(transfer.frame, done);
                    result.map_err(FaultFailure::Transfer)?;
                }
                Next::Zero(frame) => self.memory.fill(frame, 0),
                Next::Stage(frame) => self.staged.copy_from_slice(self.memory.bytes(frame)),
                Next::Unstage(frame) => self.memory.bytes_mut(frame).copy_from_slice(&self.staged),
                Next::Wait => unreachable!("the machine takes one fault at a time"),
            }
        }
    }

    pub(super) fn transfer(&mut self, direction: Direction, transfer: Transfer) -> Result<(), TransferError> {
        let bytes = self.memory.bytes_mut(transfer.frame);
        self.disk.transfer(direction, transfer, bytes, &mut self.files, &mut self.spent)
    }
}
