//! Random operations from a seed, chosen so that processes live long enough to do something:
//! the generator looks at the model for what is mapped, and only sometimes elsewhere.

use crate::check::{FILE_BLOCKS, Setup};
use crate::plain::{Page, Shows, World};
use machine::Direction;
use machine::script::{AreaSource, Data, Name, Op};
use pager::space::{Access, Prot, Share};

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

const PIDS: u64 = 5;

/// Names that are mapped: two files, one that is read-only, and one that is not there.
const NAMES: [&[u8]; 4] = [b"f0", b"f1", b"ro", b"none"];

pub(crate) struct Generator<'a> {
    random: Random,
    setup: &'a Setup,
    /// What is to follow the last operation.
    next: Option<Op>,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(seed: u64, setup: &'a Setup) -> Self {
        Self { random: Random(seed), setup, next: None }
    }

    /// The next operation, given what the model says.
    pub(crate) fn operation(&mut self, world: &World) -> Op {
        if let Some(op) = self.next.take() {
            return op;
        }
        if world.current.is_none() && self.random.below(8) > 0 {
            let pids: Vec<u32> = world.processes.keys().copied().collect();
            return if pids.is_empty() || self.random.below(3) == 0 {
                Op::Create { parent: self.pid(), child: 1 + self.random.below(PIDS) as u32 }
            } else {
                Op::Switch { pid: self.random.one_of(&pids) }
            };
        }
        let process = world.running().filter(|process| process.pages.len() < 4);
        if process.is_some() && self.random.below(4) > 0 {
            return if self.random.below(4) > 0 { Op::Map } else { self.mmap() };
        }
        self.one(world)
    }

    fn page_size(&self) -> u64 {
        self.setup.page_size
    }

    /// An address that is mapped, as a rule.
    fn addr(&mut self, world: &World) -> u64 {
        let pages: Vec<u64> =
            world.running().map(|process| process.pages.keys().copied().collect()).unwrap_or_default();
        if pages.is_empty() || self.random.below(200) == 0 {
            return self.anywhere();
        }
        self.random.one_of(&pages) * self.page_size() + self.offset()
    }

    /// An address that allows `access`, as a rule.
    fn reachable(&mut self, world: &World, access: Access) -> u64 {
        let allowed = |page: &Page| {
            page.prot.allows(access)
                && !matches!(&page.shows, Shows::File(name, _) if !world.files.contains_key(name))
        };
        let pages: Vec<u64> = world
            .running()
            .map(|process| {
                process.pages.iter().filter(|(_, page)| allowed(page)).map(|(at, _)| *at).collect()
            })
            .unwrap_or_default();
        if pages.is_empty() || self.random.below(300) == 0 {
            return self.addr(world);
        }
        self.random.one_of(&pages) * self.page_size() + self.offset()
    }

    /// So many bytes that the access stays within pages that allow it, as a rule.
    fn clip(&mut self, world: &World, addr: u64, count: u64, access: Access) -> u64 {
        let Some(process) = world.running() else { return count };
        if self.random.below(300) == 0 {
            return count;
        }
        let first = addr / self.page_size();
        let allowed = |page: &u64| {
            process.pages.get(page).is_some_and(|page| {
                let there = match &page.shows {
                    Shows::File(name, _) => world.files.contains_key(name),
                    _ => true,
                };
                there && page.prot.allows(access)
            })
        };
        let pages = (first..).take(4).take_while(allowed).count() as u64;
        count.min(((first + pages.max(1)) * self.page_size()).saturating_sub(addr))
    }

    fn offset(&mut self) -> u64 {
        match self.random.below(3) {
            0 => 0,
            1 => self.page_size() - 1 - self.random.below(8),
            _ => self.random.below(self.page_size()),
        }
    }

    /// An address near what may be mapped: the arena, a zone for areas, or the stack's.
    fn anywhere(&mut self) -> u64 {
        let (zone, pages) = match self.random.below(10) {
            0..=5 => (self.setup.base, self.setup.arena_pages),
            6 | 7 => (self.setup.zone(), self.setup.zone_pages()),
            8 => (self.setup.stack_zone(), 8),
            _ => (self.setup.base + self.setup.arena_pages * self.page_size() - 8, 1),
        };
        let page = self.random.below(pages);
        zone + page * self.page_size() + self.offset()
    }

    fn aligned(&mut self) -> u64 {
        let addr = self.anywhere();
        if self.random.below(30) == 0 { addr } else { addr / self.page_size() * self.page_size() }
    }

    fn len(&mut self) -> u64 {
        match self.random.below(20) {
            0 => 0,
            1 => 1 + self.random.below(self.page_size()),
            _ => (1 + self.random.below(4)) * self.page_size(),
        }
    }

    fn prot(&mut self) -> Prot {
        let prots = ["rw-", "rw-", "rw-", "r--", "r-x", "---", "rwx"];
        Prot::parse(self.random.one_of(&prots)).expect("three letters")
    }

    fn pid(&mut self) -> u32 {
        self.random.below(PIDS + 1) as u32
    }

    fn name(&mut self) -> Vec<u8> {
        let name = self.random.one_of(&NAMES).to_vec();
        if self.random.below(8) == 0 { [b"./", &name[..]].concat() } else { name }
    }

    /// For `map`, which knows nothing of permissions: a dirty page of a read-only file can never
    /// leave, and stops whoever needs its frame. That is for the runs in which transfers fail.
    fn map_name(&mut self) -> Vec<u8> {
        loop {
            let name = self.name();
            let rarely = self.setup.failures && self.random.below(20) == 0;
            if rarely || !name.ends_with(b"ro") {
                return name;
            }
        }
    }

    fn data(&mut self) -> Data {
        if self.random.below(3) == 0 {
            let count = 1 + self.random.below(self.page_size() * 2);
            return Data { pattern: vec![1 + self.random.below(255) as u8], count: count.max(2) };
        }
        let pattern: Vec<u8> = (0..=self.random.below(12)).map(|_| self.random.next() as u8).collect();
        Data { count: pattern.len() as u64, pattern }
    }

    fn one(&mut self, world: &World) -> Op {
        match self.random.below(100) {
            0..=26 => {
                let addr = self.reachable(world, Access::Read);
                let most = if self.random.below(20) == 0 { 2 * self.page_size() } else { 8 };
                let count = 1 + self.random.below(most);
                Op::Read { addr, count: self.clip(world, addr, count, Access::Read) }
            }
            27..=52 => {
                let addr = self.reachable(world, Access::Write);
                let mut data = self.data();
                data.count = self.clip(world, addr, data.count, Access::Write);
                if data.pattern.len() > 1 {
                    data.pattern.truncate(data.count as usize);
                }
                Op::Write { addr, data }
            }
            53..=57 => Op::Map,
            58..=60 => {
                Op::MapFile { name: Name::Given(self.map_name()), block: self.random.below(FILE_BLOCKS) }
            }
            61..=63 => {
                // A name somewhere in the arena, then a map that reads it; or one that reads garbage.
                let addr = self.reachable(world, Access::Write);
                let map = Op::MapFile { name: Name::At(addr), block: self.random.below(FILE_BLOCKS) };
                if self.random.below(4) == 0 {
                    return map;
                }
                self.next = Some(map);
                let mut name = self.map_name();
                name.push(0);
                let count = self.clip(world, addr, name.len() as u64, Access::Write);
                name.truncate(count as usize);
                Op::Write { addr, data: Data { count, pattern: name } }
            }
            64..=66 => Op::Fork { child: self.pid() },
            67 => Op::Create { parent: self.pid(), child: self.pid() },
            68..=75 => Op::Switch { pid: self.pid() },
            76 if self.random.below(4) == 0 => Op::Exit,
            77..=81 => {
                let access = self.random.one_of(&[Access::Read, Access::Write, Access::Execute]);
                Op::Fault { addr: self.addr(world), access }
            }
            82..=87 => self.mmap(),
            88 if self.random.below(2) == 0 => Op::Munmap { addr: self.aligned(), len: self.len() },
            89 | 90 => Op::Mprotect { addr: self.aligned(), len: self.len(), prot: self.prot() },
            91 => Op::Msync { addr: self.aligned(), len: self.len() },
            92 if self.random.below(10) == 0 => Op::Fetch { addr: self.addr(world) },
            93 => Op::Sp { addr: self.setup.stack_zone() + self.random.below(8 * self.page_size()) },
            94 | 95 if world.running().is_some_and(|process| process.stack.is_some()) => {
                Op::Push { count: self.random.below(self.page_size()) }
            }
            _ if self.setup.failures => {
                let direction = self.random.one_of(&[Direction::Read, Direction::Write]);
                let file = if self.random.below(2) == 0 { None } else { Some(self.name()) };
                // Mostly healed, so that most of the time nothing fails.
                let on = self.random.below(3) == 0;
                Op::Fail { direction, file, block: self.random.below(FILE_BLOCKS + 4), on }
            }
            _ => Op::Read { addr: self.reachable(world, Access::Read), count: 1 },
        }
    }

    fn mmap(&mut self) -> Op {
        let share = self.random.one_of(&[Share::Shared, Share::Private]);
        let len = self.len();
        let source = if self.random.below(2) == 0 {
            AreaSource::Anonymous { replace: self.random.below(3) == 0 }
        } else {
            // Not past the end of the file: what is written there is lost.
            let first = FILE_BLOCKS.saturating_sub(len.div_ceil(self.page_size()));
            let odd = u64::from(self.random.below(20) == 0);
            AreaSource::File {
                name: self.name(),
                offset: self.random.below(first + 1) * self.page_size() + odd,
            }
        };
        let addr = if self.random.below(6) == 0 { None } else { Some(self.aligned()) };
        Op::Mmap { addr, len, prot: self.prot(), share, source }
    }
}
