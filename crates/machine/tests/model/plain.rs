//! The model: plain maps of bytes.

use pager::Commit;
use pager::space::{Access, Prot, Share};
use std::collections::BTreeMap;

/// What a page shows.
#[derive(Clone, Debug)]
pub(crate) enum Shows {
    /// Bytes of its own.
    Own(Vec<u8>),
    /// A block of a file, for all to see.
    File(Vec<u8>, u64),
    /// A block of a file, until it is written.
    Copy(Vec<u8>, u64),
    /// A block of shared memory.
    Object(u32, u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) shows: Shows,
    pub(crate) prot: Prot,
    /// Whether it may be given the right to write.
    pub(crate) writable: bool,
    pub(crate) charged: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) pages: BTreeMap<u64, Page>,
    /// The page after the stack, and the stack pointer.
    pub(crate) stack: Option<(u64, u64)>,
}

/// Whether something must happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    Succeed,
    Fail,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) processes: BTreeMap<u32, Process>,
    pub(crate) current: Option<u32>,
    pub(crate) files: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) objects: BTreeMap<(u32, u64), Vec<u8>>,
    pub(crate) next_object: u32,
    pub(crate) page_size: u64,
    pub(crate) slots: u64,
    pub(crate) commit: Commit,
    pub(crate) stack_pages: u64,
    pub(crate) arena: std::ops::Range<u64>,
}

impl World {
    pub(crate) fn running(&self) -> Option<&Process> {
        self.processes.get(&self.current?)
    }

    pub(crate) fn running_mut(&mut self) -> Option<&mut Process> {
        self.processes.get_mut(&self.current?)
    }

    /// Slots that are not promised.
    pub(crate) fn free_slots(&self) -> u64 {
        let charged = |process: &Process| process.pages.values().filter(|page| page.charged).count() as u64;
        let promised: u64 = self.processes.values().map(charged).sum();
        self.slots - promised - self.objects.len() as u64
    }

    pub(crate) fn can_promise(&self, pages: u64) -> bool {
        self.commit == Commit::Lazy || pages <= self.free_slots()
    }

    /// Shared memory that nobody maps is gone.
    pub(crate) fn collect(&mut self) {
        let processes = &self.processes;
        self.objects.retain(|(object, block), _| {
            processes
                .values()
                .flat_map(|process| process.pages.values())
                .any(|page| matches!(page.shows, Shows::Object(own, at) if own == *object && at == *block))
        });
    }

    pub(crate) fn end(&mut self) {
        if let Some(pid) = self.current.take() {
            self.processes.remove(&pid);
            self.collect();
        }
    }

    /// Whether a touch makes the stack grow, were a slot free.
    fn grows(&self, process: &Process, addr: u64) -> bool {
        let page = addr / self.page_size;
        process.stack.is_some_and(|(top, sp)| {
            page < top && addr >= sp.saturating_sub(32) && top - page <= self.stack_pages
        })
    }

    /// Whether an access is possible while no transfer fails; the stack grows where it may.
    pub(crate) fn touch(&mut self, addr: u64, access: Access) -> Must {
        let page = addr / self.page_size;
        let Some(process) = self.running() else { return Must::Fail };
        match process.pages.get(&page) {
            Some(page) if !page.prot.allows(access) => Must::Fail,
            Some(page) => match &page.shows {
                Shows::File(name, _) | Shows::Copy(name, _) if !self.files.contains_key(name) => Must::Fail,
                _ => Must::Succeed,
            },
            None if access != Access::Execute && self.grows(process, addr) && self.can_promise(1) => {
                let shows = Shows::Own(vec![0; self.page_size as usize]);
                let grown = Page { shows, prot: Prot::READ_WRITE, writable: true, charged: true };
                self.running_mut().expect("it runs").pages.insert(page, grown);
                Must::Succeed
            }
            None => Must::Fail,
        }
    }

    pub(crate) fn byte(&self, addr: u64) -> u8 {
        let offset = (addr % self.page_size) as usize;
        let page = &self.running().expect("it runs").pages[&(addr / self.page_size)];
        match &page.shows {
            Shows::Own(bytes) => bytes[offset],
            Shows::Object(object, block) => self.objects[&(*object, *block)][offset],
            Shows::File(name, block) | Shows::Copy(name, block) => {
                let at = block.saturating_mul(self.page_size).saturating_add(offset as u64);
                self.files[name].get(usize::try_from(at).unwrap_or(usize::MAX)).copied().unwrap_or(0)
            }
        }
    }

    pub(crate) fn set_byte(&mut self, addr: u64, byte: u8) {
        let page_size = self.page_size;
        let (page, offset) = (addr / page_size, (addr % page_size) as usize);
        let copied = |world: &Self, name: &[u8], block: u64| {
            let start = block as usize * page_size as usize;
            world.files[name][start..start + page_size as usize].to_vec()
        };
        match self.running().expect("it runs").pages[&page].shows.clone() {
            Shows::Own(_) => {}
            Shows::Object(object, block) => {
                self.objects.get_mut(&(object, block)).expect("it is mapped")[offset] = byte;
                return;
            }
            Shows::File(name, block) => {
                let at = (block * page_size) as usize + offset;
                self.files.get_mut(&name).expect("it is there")[at] = byte;
                return;
            }
            Shows::Copy(name, block) => {
                let own = Shows::Own(copied(self, &name, block));
                self.running_mut().expect("it runs").pages.get_mut(&page).expect("mapped").shows = own;
            }
        }
        let page = self.running_mut().expect("it runs").pages.get_mut(&page).expect("mapped");
        let Shows::Own(bytes) = &mut page.shows else { unreachable!("it was made so") };
        bytes[offset] = byte;
    }

    pub(crate) fn arena_gap(&self) -> Option<u64> {
        let process = self.running()?;
        self.arena.clone().find(|page| !process.pages.contains_key(page))
    }

    /// Whether a page of such an area is charged from the start.
    pub(crate) fn charged(share: Share, of_file: bool, prot: Prot) -> bool {
        share == Share::Private && (!of_file || prot.contains(Prot::WRITE))
    }
}
