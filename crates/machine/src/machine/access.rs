//! What a program does with its memory: byte by byte upwards, through the page table.

use super::{FaultFailure, Machine, NoProcess};
use pager::space::Access;

/// Why an access ended: without a process, or with the death of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// No process runs.
    NoProcess,
    /// The process was killed.
    Killed(FaultFailure),
}

impl From<NoProcess> for AccessError {
    fn from(_: NoProcess) -> Self {
        Self::NoProcess
    }
}

impl Machine {
    /// The frame and offset that an access goes to, after the faults it takes. What cannot be
    /// served kills the process.
    #[inline]
    fn reach(&mut self, addr: u64, access: Access) -> Result<(pager::FrameNo, usize), AccessError> {
        let space = self.current.ok_or(AccessError::NoProcess)?;
        let page = self.page(addr);
        let offset = (addr & (self.settings.page_size - 1)) as usize;
        loop {
            if let Some(frame) = self.tables[&space].translate(page, access) {
                self.hits += 1;
                return Ok((frame, offset));
            }
            if let Err(failure) = self.fault(space, addr, access) {
                self.kill();
                return Err(AccessError::Killed(failure));
            }
        }
    }

    /// Reads one byte, as the program would.
    ///
    /// # Errors
    /// [`AccessError`].
    #[inline]
    pub fn load(&mut self, addr: u64) -> Result<u8, AccessError> {
        let (frame, offset) = self.reach(addr, Access::Read)?;
        Ok(self.memory.bytes(frame)[offset])
    }

    /// Writes one byte, as the program would.
    ///
    /// # Errors
    /// [`AccessError`].
    #[inline]
    pub fn store(&mut self, addr: u64, byte: u8) -> Result<(), AccessError> {
        let (frame, offset) = self.reach(addr, Access::Write)?;
        self.memory.bytes_mut(frame)[offset] = byte;
        Ok(())
    }

    /// Fetches an instruction, as the program would.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn fetch(&mut self, addr: u64) -> Result<u8, AccessError> {
        let (frame, offset) = self.reach(addr, Access::Execute)?;
        Ok(self.memory.bytes(frame)[offset])
    }

    /// Reads `count` bytes upwards from `addr`.
    ///
    /// # Errors
    /// [`AccessError`], at the first byte that cannot be had; nothing follows the last address.
    pub fn read(&mut self, addr: u64, count: u64) -> Result<Vec<u8>, AccessError> {
        let mut bytes = Vec::new();
        let mut done = 0;
        while done < count {
            let (frame, offset) = self.reach_next(addr, done, Access::Read)?;
            let page = self.memory.bytes(frame);
            let some = (page.len() - offset).min(usize::try_from(count - done).unwrap_or(usize::MAX));
            bytes.extend_from_slice(&page[offset..offset + some]);
            done += some as u64;
        }
        Ok(bytes)
    }

    /// Writes `count` bytes upwards from `addr`: the pattern, again and again.
    ///
    /// # Errors
    /// [`AccessError`], at the first byte that cannot be written; those before it are.
    pub fn write(&mut self, addr: u64, pattern: &[u8], count: u64) -> Result<(), AccessError> {
        let mut done = 0;
        while done < count {
            let (frame, offset) = self.reach_next(addr, done, Access::Write)?;
            let page = self.memory.bytes_mut(frame);
            let some = (page.len() - offset).min(usize::try_from(count - done).unwrap_or(usize::MAX));
            for byte in &mut page[offset..offset + some] {
                *byte = pattern[(done % pattern.len() as u64) as usize];
                done += 1;
            }
        }
        Ok(())
    }

    /// The byte at `addr` + `done`, which may lie past the last address there is.
    fn reach_next(
        &mut self,
        addr: u64,
        done: u64,
        access: Access,
    ) -> Result<(pager::FrameNo, usize), AccessError> {
        match addr.checked_add(done) {
            Some(next) => self.reach(next, access),
            None => {
                self.current.ok_or(AccessError::NoProcess)?;
                self.kill();
                Err(AccessError::Killed(FaultFailure::Refused(pager::space::FaultError::NoArea)))
            }
        }
    }

    /// Moves the stack pointer down by `count` bytes and touches where it points then.
    ///
    /// # Errors
    /// [`AccessError`]; a process without a stack is killed.
    pub fn push(&mut self, count: u64) -> Result<(), AccessError> {
        let space = self.current.ok_or(AccessError::NoProcess)?;
        let sp = self.spaces.stack_pointer(space).unwrap_or(0).wrapping_sub(count);
        if self.spaces.stack_pointer(space).is_some() {
            // Cannot fail: there is a stack.
            let _ = self.spaces.set_stack_pointer(space, sp);
        }
        self.store(sp, 0)
    }
}
