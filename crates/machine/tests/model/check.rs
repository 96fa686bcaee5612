//! Both carry out the same operations, and are compared.

use crate::plain::{Must, Page, Shows, World};
use crate::shrink::SABOTAGE;
use machine::script::{AreaSource, Line, Name, Op};
use machine::{Costs, Outcome, Ret, Runner, Settings, Stats, Writeback};
use pager::space::{Access, Place, Prot, Share, StackRule};
use pager::{Commit, FrameNo, PolicyKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Blocks of each file.
pub(crate) const FILE_BLOCKS: u64 = 4;

/// Everything about a run but its operations.
pub(crate) struct Setup {
    pub(crate) frames: u64,
    pub(crate) slots: u64,
    pub(crate) page_size: u64,
    pub(crate) base: u64,
    pub(crate) arena_pages: u64,
    pub(crate) commit: Commit,
    pub(crate) policy: PolicyKind,
    pub(crate) at_exit: bool,
    /// Whether transfers are ordered to fail.
    pub(crate) failures: bool,
}

const STACK_PAGES: u64 = 4;

impl Setup {
    pub(crate) fn new(usable: u64) -> Self {
        Self {
            frames: usable + 1,
            slots: 96,
            page_size: 512,
            base: 0x6_0000_0000,
            arena_pages: 16,
            commit: Commit::Strict,
            policy: PolicyKind::Clock,
            at_exit: true,
            failures: false,
        }
    }

    /// Where areas are asked for.
    pub(crate) fn zone(&self) -> u64 {
        0x7_0000_0000
    }

    pub(crate) fn zone_pages(&self) -> u64 {
        8
    }

    pub(crate) fn stack_zone(&self) -> u64 {
        0x8_0000_0000
    }

    /// The same machine on the command line.
    pub(crate) fn options(&self) -> String {
        format!(
            "--frames {} --slots {} --page {} --arena {} --policy {} --commit {} --writeback {} --stack-max {}",
            self.frames,
            self.slots,
            self.page_size,
            self.arena_pages * self.page_size,
            self.policy,
            if self.commit == Commit::Strict { "strict" } else { "lazy" },
            if self.at_exit { "exit" } else { "evict" },
            STACK_PAGES * self.page_size,
        )
    }

    fn settings(&self, files: &Path) -> Settings {
        Settings {
            frames: self.frames,
            slots: self.slots,
            page_size: self.page_size,
            arena: self.arena_pages * self.page_size,
            base: self.base,
            policy: self.policy,
            commit: self.commit,
            writeback: if self.at_exit { Writeback::Exit } else { Writeback::Evict },
            stack: StackRule { slack: 32, most: STACK_PAGES * self.page_size },
            files: files.to_path_buf(),
            costs: Costs::default(),
            watched: false,
        }
    }
}

struct Twins<'a> {
    runner: Runner,
    world: World,
    setup: &'a Setup,
    failing: BTreeSet<String>,
    line: u32,
}

/// Carries `ops` out on both.
///
/// # Errors
/// How they differ, or which law is broken.
pub(crate) fn check(setup: &Setup, ops: &[Op]) -> Result<Stats, String> {
    let mut ops = ops.iter().cloned();
    follow(setup, &mut |_| ops.next())
}

/// Carries out on both what `next` says, given the model, until it says nothing.
///
/// # Errors
/// As [`check`].
pub(crate) fn follow(setup: &Setup, next: &mut dyn FnMut(&World) -> Option<Op>) -> Result<Stats, String> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let directory = tempfile::tempdir().expect("a directory for files");
        let files = write_files(directory.path(), setup.page_size);
        let mut twins = Twins::new(setup, directory.path(), files);
        while let Some(op) = next(&twins.world) {
            twins.step(&op)?;
        }
        twins.finish(directory.path())?;
        Ok(twins.runner.machine().stats().clone())
    }));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

fn write_files(directory: &Path, page_size: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (name, first) in [("f0", b'a'), ("f1", b'k'), ("ro", b'A')] {
        let bytes: Vec<u8> = (0..FILE_BLOCKS * page_size).map(|at| first + (at / page_size) as u8).collect();
        let path = directory.join(name);
        fs::write(&path, &bytes).expect("a file");
        if name == "ro" {
            let mut permissions = fs::metadata(&path).expect("a file").permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions).expect("a file");
        }
        files.insert(name.as_bytes().to_vec(), bytes);
    }
    files
}

impl<'a> Twins<'a> {
    fn new(setup: &'a Setup, directory: &Path, files: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let first = setup.base / setup.page_size;
        let world = World {
            processes: BTreeMap::new(),
            current: None,
            files,
            objects: BTreeMap::new(),
            next_object: 0,
            page_size: setup.page_size,
            slots: setup.slots,
            commit: setup.commit,
            stack_pages: STACK_PAGES,
            arena: first..first + setup.arena_pages,
        };
        let runner = Runner::new(setup.settings(directory)).expect("a machine that is possible");
        Self { runner, world, setup, failing: BTreeSet::new(), line: 0 }
    }

    /// Whether a fault may fail for a reason that the model does not know.
    fn may_fail(&self) -> bool {
        // A dirty page of a read-only file cannot be written: whoever needs its frame finds out.
        !self.failing.is_empty() || self.setup.commit == Commit::Lazy || self.has_dirty_read_only()
    }

    fn has_dirty_read_only(&self) -> bool {
        let spaces = self.runner.machine().spaces();
        let dirty = |frame| spaces.holding(FrameNo(frame)).filter(|holding| holding.dirty);
        (1..self.setup.frames as u32).filter_map(dirty).any(|holding| match holding.place {
            Some(Place::Block { file, .. }) => self.runner.machine().file_name(file).ends_with(b"ro"),
            _ => false,
        })
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        self.line += 1;
        if *op == SABOTAGE {
            let page = self.world.running_mut().and_then(|process| process.pages.values_mut().next());
            if let Some(Page { shows: Shows::Own(bytes), .. }) = page {
                bytes.fill(0xee);
            }
            return Ok(());
        }
        let doubtful = self.may_fail();
        let outcome = self.runner.step(&Line { number: self.line, op: op.clone() });
        self.runner.machine().check();
        let doubtful = doubtful || self.may_fail();
        self.follow(op, &outcome, doubtful)
            .map_err(|error| format!("operation {} `{op}`: {error}", self.line))?;
        let current = self.runner.machine().current().map(|space| space.0);
        if current != self.world.current {
            return Err(format!(
                "operation {} `{op}`: {current:?} runs, not {:?}",
                self.line, self.world.current
            ));
        }
        if self.setup.commit == Commit::Strict {
            let (free, model) = (self.runner.machine().spaces().slots_free(), self.world.free_slots());
            if free != model {
                return Err(format!("operation {} `{op}`: {free} slots are free, not {model}", self.line));
            }
        }
        Ok(())
    }

    fn follow(&mut self, op: &Op, outcome: &Outcome, doubtful: bool) -> Result<(), String> {
        let needs_process = !matches!(op, Op::Create { .. } | Op::Switch { .. } | Op::Fail { .. });
        if needs_process && self.world.current.is_none() {
            return expect(&Ret::MinusOne, outcome);
        }
        match op {
            Op::Create { parent, child } => self.create(*parent, *child, outcome),
            Op::Fork { child } => self.create(self.world.current.unwrap_or(0), *child, outcome),
            Op::Switch { pid } => {
                let known = self.world.processes.contains_key(pid);
                if known {
                    self.world.current = Some(*pid);
                }
                expect(if known { &Ret::Zero } else { &Ret::MinusOne }, outcome)
            }
            Op::Destroy | Op::Exit => {
                self.world.end();
                expect(&Ret::Zero, outcome)
            }
            Op::Map => self.map(None, outcome),
            Op::MapFile { name: Name::Given(name), block } => self.map(Some((name.clone(), *block)), outcome),
            Op::MapFile { name: Name::At(addr), block } => self.map_named(*addr, *block, outcome, doubtful),
            Op::Write { addr, data } => {
                let bytes = data.pattern.iter().cycle().take(data.count as usize).copied();
                self.access(*addr, bytes.map(Some).collect(), Access::Write, outcome, doubtful)
            }
            Op::Read { addr, count } => {
                self.access(*addr, vec![None; *count as usize], Access::Read, outcome, doubtful)
            }
            Op::Fetch { addr } => self.access(*addr, vec![None], Access::Execute, outcome, doubtful),
            Op::Push { count } => {
                let Some((_, sp)) = self.world.running_mut().and_then(|process| process.stack.as_mut())
                else {
                    let addr = 0_u64.wrapping_sub(*count);
                    return self.access(addr, vec![Some(0)], Access::Write, outcome, doubtful);
                };
                *sp = sp.wrapping_sub(*count);
                let addr = *sp;
                self.access(addr, vec![Some(0)], Access::Write, outcome, doubtful)
            }
            Op::Fault { addr, access } => self.fault(*addr, *access, outcome, doubtful),
            Op::Sp { addr } => self.stack_pointer(*addr, outcome),
            Op::Mmap { addr, len, prot, share, source } => {
                self.mmap(*addr, *len, *prot, *share, source, outcome)
            }
            Op::Munmap { addr, len } => {
                let Some(pages) = self.pages(*addr, *len) else { return expect(&Ret::MinusOne, outcome) };
                let process = self.world.running_mut().expect("it runs");
                process.pages.retain(|page, _| !pages.contains(page));
                self.world.collect();
                expect(&Ret::Zero, outcome)
            }
            Op::Mprotect { addr, len, prot } => self.mprotect(*addr, *len, *prot, outcome),
            Op::Msync { addr, len } => {
                let process = self.world.running().expect("it runs");
                let whole = self
                    .pages(*addr, *len)
                    .is_some_and(|mut pages| pages.all(|page| process.pages.contains_key(&page)));
                if whole && doubtful && outcome.ret == Ret::MinusOne {
                    return Ok(());
                }
                expect(if whole { &Ret::Zero } else { &Ret::MinusOne }, outcome)
            }
            Op::Fail { direction, file, block, on } => {
                let file = file.as_ref().map(|name| plain(name).to_vec());
                let what = format!("{direction} {file:?} {block}");
                if *on {
                    self.failing.insert(what);
                } else {
                    self.failing.remove(&what);
                }
                expect(&Ret::Zero, outcome)
            }
            Op::Exec { .. } | Op::Expect(_) | Op::Dump | Op::Stats => unreachable!("not generated"),
        }
    }

    fn create(&mut self, parent: u32, child: u32, outcome: &Outcome) -> Result<(), String> {
        if self.world.processes.contains_key(&child) {
            return expect(&Ret::MinusOne, outcome);
        }
        let copy = self.world.processes.get(&parent).cloned().unwrap_or_default();
        let charged = copy.pages.values().filter(|page| page.charged).count() as u64;
        if !self.world.can_promise(charged) {
            return expect(&Ret::MinusOne, outcome);
        }
        self.world.processes.insert(child, copy);
        expect(&Ret::Zero, outcome)
    }

    fn map(&mut self, file: Option<(Vec<u8>, u64)>, outcome: &Outcome) -> Result<(), String> {
        let gap = self.world.arena_gap();
        let promised = file.is_some() || self.world.can_promise(1);
        let Some(page) = gap.filter(|_| promised) else { return expect(&Ret::Null, outcome) };
        let charged = file.is_none();
        let shows = match file {
            Some((name, block)) => Shows::File(plain(&name).to_vec(), block),
            None => Shows::Own(vec![0; self.setup.page_size as usize]),
        };
        let mapped = Page { shows, prot: Prot::READ_WRITE, writable: true, charged };
        self.world.running_mut().expect("it runs").pages.insert(page, mapped);
        expect(&Ret::Address(page * self.setup.page_size), outcome)
    }

    fn map_named(&mut self, addr: u64, block: u64, outcome: &Outcome, doubtful: bool) -> Result<(), String> {
        if self.world.arena_gap().is_none() {
            if !outcome.faults.is_empty() {
                return Err("the name is read although the arena is full".into());
            }
            return expect(&Ret::Null, outcome);
        }
        let mut name = Vec::new();
        loop {
            let at = addr + name.len() as u64;
            let inside = self.world.arena.contains(&(at / self.setup.page_size));
            if !inside || self.world.touch(at, Access::Read) == Must::Fail {
                return expect(&Ret::Null, outcome);
            }
            match self.world.byte(at) {
                0 => break,
                byte => name.push(byte),
            }
        }
        if doubtful && outcome.ret == Ret::Null {
            return Ok(());
        }
        self.map(Some((name, block)), outcome)
    }

    /// Bytes that are written, or read where there is none.
    fn access(
        &mut self,
        addr: u64,
        bytes: Vec<Option<u8>>,
        access: Access,
        outcome: &Outcome,
        doubtful: bool,
    ) -> Result<(), String> {
        let mut read = Vec::new();
        // Where it failed, if that was no mistake of the process: pages before it were reached.
        let stopped = outcome.faults.last().filter(|(_, _, ret)| *ret < 0).map(|(addr, ..)| *addr);
        for (index, byte) in bytes.iter().enumerate() {
            let at = addr.wrapping_add(index as u64);
            let failed_here = doubtful && outcome.dead && stopped == Some(at);
            if failed_here || at < addr || self.world.touch(at, access) == Must::Fail {
                self.world.end();
                if !outcome.dead {
                    return Err(format!("{at:#x} can be reached"));
                }
                return expect(&Ret::MinusOne, outcome);
            }
            match byte {
                Some(byte) => self.world.set_byte(at, *byte),
                None => read.push(self.world.byte(at)),
            }
        }
        if outcome.dead {
            return Err(format!("the process died: {:?}", outcome.reason));
        }
        expect(&if access == Access::Write { Ret::Zero } else { Ret::Bytes(read) }, outcome)
    }

    fn fault(&mut self, addr: u64, access: Access, outcome: &Outcome, doubtful: bool) -> Result<(), String> {
        if doubtful && outcome.ret == Ret::MinusOne {
            return Ok(());
        }
        match self.world.touch(addr, access) {
            Must::Succeed => {
                if access == Access::Write {
                    // A private page of a file is copied now, whatever is written later.
                    let byte = self.world.byte(addr);
                    self.world.set_byte(addr, byte);
                }
                expect(&Ret::Zero, outcome)
            }
            Must::Fail => expect(&Ret::MinusOne, outcome),
        }
    }

    fn stack_pointer(&mut self, addr: u64, outcome: &Outcome) -> Result<(), String> {
        let promised = self.world.can_promise(1);
        let bytes = vec![0; self.setup.page_size as usize];
        let top = addr.div_ceil(self.setup.page_size);
        let process = self.world.running_mut().expect("it runs");
        if let Some((_, sp)) = &mut process.stack {
            *sp = addr;
        } else if !promised || process.pages.contains_key(&(top - 1)) {
            return expect(&Ret::MinusOne, outcome);
        } else {
            process.stack = Some((top, addr));
            let page =
                Page { shows: Shows::Own(bytes), prot: Prot::READ_WRITE, writable: true, charged: true };
            process.pages.insert(top - 1, page);
        }
        expect(&Ret::Zero, outcome)
    }

    /// The pages of a range. None: it is no range.
    fn pages(&self, addr: u64, len: u64) -> Option<std::ops::Range<u64>> {
        let page_size = self.setup.page_size;
        let start = addr / page_size;
        (addr.is_multiple_of(page_size) && len > 0).then(|| start..start + len.div_ceil(page_size))
    }

    fn mmap(
        &mut self,
        addr: Option<u64>,
        len: u64,
        prot: Prot,
        share: Share,
        source: &AreaSource,
        outcome: &Outcome,
    ) -> Result<(), String> {
        let page_size = self.setup.page_size;
        let (refused, world) = (expect(&Ret::Null, outcome), &mut self.world);
        let (replace, file) = match source {
            AreaSource::Anonymous { replace } => (*replace, None),
            AreaSource::File { name, offset } => (false, Some((plain(name).to_vec(), *offset))),
        };
        let writable = file.as_ref().is_none_or(|(name, _)| share == Share::Private || name != b"ro");
        if let Some((name, offset)) = &file
            && (!offset.is_multiple_of(page_size) || !world.files.contains_key(name))
        {
            return refused;
        }
        if len == 0 || addr.is_some_and(|addr| !addr.is_multiple_of(page_size)) {
            return refused;
        }
        if prot.contains(Prot::WRITE) && !writable {
            return refused;
        }
        let count = len.div_ceil(page_size);
        let process = world.running().expect("it runs");
        let start = match addr {
            Some(addr) => addr / page_size,
            // Anywhere: the first gap from there on.
            None => {
                (1 << 40) / page_size
                    + (0..)
                        .find(|skip| {
                            (0..count)
                                .all(|n| !process.pages.contains_key(&((1 << 40) / page_size + skip + n)))
                        })
                        .expect("a gap")
            }
        };
        let pages = start..start + count;
        let in_the_way = process.pages.iter().filter(|(page, _)| pages.contains(page));
        let (mut taken, mut returned) = (0, 0);
        for (_, page) in in_the_way {
            taken += 1;
            returned += u64::from(page.charged);
        }
        if taken > 0 && !replace {
            return refused;
        }
        let charged = World::charged(share, file.is_some(), prot);
        let object = share == Share::Shared && file.is_none();
        let wanted = if charged || object { count } else { 0 };
        if self.setup.commit == Commit::Strict && wanted > world.free_slots() + returned {
            return refused;
        }
        world.next_object += 1;
        for (n, page) in pages.enumerate() {
            let block = n as u64;
            let shows = match (&file, share) {
                (Some((name, offset)), Share::Shared) => {
                    Shows::File(name.clone(), offset / page_size + block)
                }
                (Some((name, offset)), Share::Private) => {
                    Shows::Copy(name.clone(), offset / page_size + block)
                }
                (None, Share::Private) => Shows::Own(vec![0; page_size as usize]),
                (None, Share::Shared) => {
                    world.objects.insert((world.next_object, block), vec![0; page_size as usize]);
                    Shows::Object(world.next_object, block)
                }
            };
            let page_of = Page { shows, prot, writable, charged };
            world.running_mut().expect("it runs").pages.insert(page, page_of);
        }
        world.collect();
        expect(&Ret::Address(start * page_size), outcome)
    }

    fn mprotect(&mut self, addr: u64, len: u64, prot: Prot, outcome: &Outcome) -> Result<(), String> {
        let Some(pages) = self.pages(addr, len) else { return expect(&Ret::MinusOne, outcome) };
        let process = self.world.running().expect("it runs");
        let mut more = 0;
        for page in pages.clone() {
            match process.pages.get(&page) {
                Some(page) if page.writable || !prot.contains(Prot::WRITE) => {
                    more += u64::from(becomes_charged(page, prot));
                }
                _ => return expect(&Ret::MinusOne, outcome),
            }
        }
        if !self.world.can_promise(more) {
            return expect(&Ret::MinusOne, outcome);
        }
        for page in pages {
            let page = self.world.running_mut().expect("it runs").pages.get_mut(&page).expect("mapped");
            page.charged |= becomes_charged(page, prot);
            page.prot = prot;
        }
        expect(&Ret::Zero, outcome)
    }

    /// Every byte of every process is compared, then all end, and the accounts must close.
    fn finish(&mut self, directory: &Path) -> Result<(), String> {
        for pid in self.world.processes.keys().copied().collect::<Vec<_>>() {
            self.step(&Op::Switch { pid })?;
            if self.world.current.is_none() {
                continue;
            }
            if !self.may_fail() {
                let pages: Vec<u64> = self.world.processes[&pid]
                    .pages
                    .iter()
                    .filter(|(_, page)| readable(page, &self.world))
                    .map(|(page, _)| *page)
                    .collect();
                for page in pages {
                    self.step(&Op::Read { addr: page * self.setup.page_size, count: self.setup.page_size })?;
                }
            }
            self.step(&Op::Destroy)?;
        }
        let spaces = self.runner.machine().spaces();
        let holdings: Vec<_> =
            (1..self.setup.frames as u32).filter_map(|frame| spaces.holding(FrameNo(frame))).collect();
        let cached = holdings.iter().filter(|held| matches!(held.place, Some(Place::Block { .. }))).count();
        let used = spaces.frames_used() as usize;
        if (spaces.slots_used(), spaces.slots_reserved(), used, cached) != (0, 0, 1 + cached, holdings.len())
        {
            return Err(format!(
                "in use at the end: {} slots, {} promised, {used} frames, {cached} of them file pages",
                spaces.slots_used(),
                spaces.slots_reserved(),
            ));
        }
        // What is cached and dirty has not reached the files; everything else has.
        let dirty: BTreeSet<(Vec<u8>, u64)> = holdings
            .iter()
            .filter(|held| held.dirty)
            .filter_map(|held| match held.place {
                Some(Place::Block { file, block, .. }) => {
                    Some((plain(self.runner.machine().file_name(file)).to_vec(), block))
                }
                _ => None,
            })
            .collect();
        for (name, bytes) in &self.world.files {
            let path = directory.join(String::from_utf8_lossy(name).into_owned());
            let on_disk = fs::read(path).map_err(|error| error.to_string())?;
            let size = self.setup.page_size as usize;
            for (block, (found, wanted)) in on_disk.chunks(size).zip(bytes.chunks(size)).enumerate() {
                if found != wanted && !dirty.contains(&(name.clone(), block as u64)) {
                    return Err(format!("block {block} of {} on disk", String::from_utf8_lossy(name)));
                }
            }
        }
        Ok(())
    }
}

fn readable(page: &Page, world: &World) -> bool {
    let there = match &page.shows {
        Shows::File(name, _) | Shows::Copy(name, _) => world.files.contains_key(name),
        Shows::Own(_) | Shows::Object(..) => true,
    };
    there && page.prot.allows(Access::Read)
}

fn becomes_charged(page: &Page, prot: Prot) -> bool {
    matches!(page.shows, Shows::Copy(..)) && !page.charged && prot.contains(Prot::WRITE)
}

/// The file that a name means.
fn plain(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"./").unwrap_or(name)
}

fn expect(ret: &Ret, outcome: &Outcome) -> Result<(), String> {
    if outcome.ret == *ret {
        return Ok(());
    }
    Err(format!(
        "returned {} ({:?}), not {ret}",
        outcome.ret,
        outcome.reason.as_ref().or(outcome.error.as_ref())
    ))
}
