//! The stack: it grows down where a program may be pushing, and nowhere else.

use super::area::{Origin, Share, Source, SpaceArea};
use super::backing::SpaceNo;
use super::fault::FaultError;
use super::map::MapError;
use super::prot::Prot;
use super::{Spaces, USER_END};
use crate::page::{PageNo, PageRange};

/// How stacks grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackRule {
    /// Bytes below the stack pointer that a program may touch: 32 for what one instruction
    /// pushes, 128 for the red zone of the x86-64 calling convention.
    pub slack: u64,
    /// Bytes that a stack may have.
    pub most: u64,
}

impl Default for StackRule {
    fn default() -> Self {
        Self { slack: 32, most: 8 << 20 }
    }
}

/// A process's stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    /// The page after its highest.
    top: PageNo,
    /// The stack pointer.
    sp: u64,
}

impl Spaces {
    /// Where the stack pointer is. None: the process has no stack.
    pub fn stack_pointer(&self, space: SpaceNo) -> Option<u64> {
        Some(self.space(space)?.stack?.sp)
    }

    /// Sets the stack pointer. A process without a stack gets one of one page, the one that
    /// ends at `sp` or in which it lies.
    ///
    /// # Errors
    /// If there is no room for that page, or no slot to promise it.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn set_stack_pointer(&mut self, space: SpaceNo, sp: u64) -> Result<(), MapError> {
        if let Some(stack) = &mut self.space_mut(space).stack {
            stack.sp = sp;
            return Ok(());
        }
        if sp == 0 || sp > USER_END {
            return Err(MapError::Address);
        }
        let top = PageNo(sp.div_ceil(u64::from(self.config.page_size)));
        let page = PageNo(top.0 - 1);
        if self.space_mut(space).areas.find(page).is_some() {
            return Err(MapError::Overlap);
        }
        self.charge(1)?;
        self.add_stack_page(space, page);
        self.space_mut(space).stack = Some(Stack { top, sp });
        Ok(())
    }

    /// Adds a page to the stack, whose slot has been charged.
    pub(super) fn add_stack_page(&mut self, space: SpaceNo, page: PageNo) {
        self.add_space_area(
            space,
            SpaceArea {
                range: PageRange::one(page),
                prot: Prot::READ_WRITE,
                most: Prot::ALL,
                share: Share::Private,
                source: Source::Zero,
                origin: Origin::Stack,
                charged: true,
            },
        );
    }

    /// Whether a touch at `addr`, where no area is, makes the stack grow.
    pub(super) fn check_growth(&self, space: SpaceNo, addr: u64) -> Result<(), FaultError> {
        let page_size = u64::from(self.config.page_size);
        let rule = self.config.stack;
        let stack = self.space(space).and_then(|space| space.stack).ok_or(FaultError::NoArea)?;
        if addr / page_size >= stack.top.0 {
            return Err(FaultError::NoArea);
        }
        if addr < stack.sp.saturating_sub(rule.slack) {
            return Err(FaultError::BelowStack { sp: stack.sp });
        }
        let pages = stack.top.0 - addr / page_size;
        if pages > (rule.most / page_size).max(1) {
            return Err(FaultError::StackLimit { most: rule.most });
        }
        Ok(())
    }
}
