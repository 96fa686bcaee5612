#![expect(
    unsafe_code,
    reason = "write-protects maps of the program's, and copies from one map of its to another"
)]
//! Private maps of files that the program has written.
//!
//! ```text
//! clean     leased, and write-protected                                       leases.rs
//! own       from the first write on, which lifts the protection of all of it: what is not as it is at home goes
//!           to the store when it leaves, like the heap's pages
//! frozen    the kernel is to have it: protected again, and whoever writes waits. What differs from the file is
//!           copied to the spare map, page by page; that then takes the place of what is paged
//! ```
//!
//! Nothing is digested when a map becomes the program's own: what is in memory then is written to the store once
//! when it leaves, changed or not.

use crate::PAGE;
use crate::core::{Core, Live, Mechanism, addr_of, page_of, pages_of};
use crate::engine::{Engine, Stage, die};
use crate::files::leases::{Piece, Returning};
use crate::files::source::Leased;
use core::time::Duration;
use pager::{PageNo, PageRange, Pager, Sharing, SlotNo, State};
use rustix::io::Errno;
use sys::relay::Relay;
use sys::uffd::Protect;

/// Pages that are looked for while the core is locked.
const AT_ONCE: usize = 256;
/// How often it is tried to have pages that a device writes to, and how many times: for five seconds at least.
const AGAIN: Duration = Duration::from_micros(200);
const MOST_TRIES: u32 = 25_000;

impl Live {
    /// The map of the program's that has `page`, and its first home.
    fn lease_at(&self, pager: &Pager, page: PageNo) -> Option<(SlotNo, Leased)> {
        if !self.is_leased(pager, page) {
            return None;
        }
        let home = pager.area(page)?.home(page)?;
        let source = self.files.sources.find(home)?;
        source.leased.map(|leased| (source.first, leased))
    }

    /// Whether a page is one of a private map that the program has written.
    pub(crate) fn is_own(&self, pager: &Pager, page: PageNo) -> bool {
        self.lease_at(pager, page).is_some_and(|(_, leased)| leased.is_own)
    }

    /// Whether who writes to a page of a map is to be heard of.
    pub(crate) fn is_protected(&self, pager: &Pager, page: PageNo) -> bool {
        self.lease_at(pager, page).is_some_and(|(_, leased)| !leased.is_own || leased.is_returning)
    }

    /// A thread of the program's waits to write to a private map that is protected.
    pub(crate) fn note_write(&mut self, page: PageNo) {
        self.files.leases.iter_mut().for_each(|leases| leases.written.push(page));
    }

    /// Makes maps the program's own that it has begun to write, and has their faults served like others; where that
    /// is not possible, the kernel gets the map. What it is getting waits until it has.
    pub(crate) fn see_to_writes(&mut self, engine: &Engine, pager: &mut Pager, faults: &mut Vec<PageNo>) {
        while let Some(page) = self.files.leases.as_mut().and_then(|leases| leases.written.pop()) {
            match self.lease_at(pager, page) {
                None | Some((_, Leased { is_returning: true, .. })) => {}
                Some((home, leased)) if leased.is_own || self.own(engine, pager, home) => faults.push(page),
                Some(_) => self.return_written(page),
            }
        }
    }

    /// Has what the program changes of a map go to the store; false where it cannot.
    fn own(&mut self, engine: &Engine, pager: &mut Pager, home: SlotNo) -> bool {
        let Some(map) = self.returning(pager, home) else { return false };
        let Some(source) = self.files.sources.find_mut(home) else { return false };
        let Some(leased) = &mut source.leased else { return false };
        // Without UFFDIO_MOVE, discards by raw system calls would be writes to what is not there.
        if self.mechanism != Mechanism::Move || !engine.promise(leased.len as u64) {
            return false;
        }
        leased.is_own = true;
        source.sharing = Sharing::Private;
        for (addr, len) in map.places() {
            pager.set_sharing(pages_of(addr, len), Sharing::Private);
            // Refused while a change is announced: then each page is seen to when it is written.
            let _ = self.write_protect_leased(addr, len, Protect::Off);
        }
        true
    }

    /// A page of a map that the program has written may be written.
    pub(crate) fn lift_protection(&mut self, pager: &Pager, page: PageNo) {
        if self.is_own(pager, page)
            && !self.is_protected(pager, page)
            && self.write_protect_leased(addr_of(page), PAGE, Protect::Off) == Err(Errno::AGAIN)
        {
            self.defer(page);
        }
    }

    /// From here on, whoever writes to a map that is given back waits.
    ///
    /// # Errors
    /// What is announced has to be read first; then it is to be tried again.
    pub(crate) fn protect(&self, map: &Returning) -> Result<(), Errno> {
        if !map.is_own {
            return Ok(());
        }
        map.places().try_for_each(|(addr, len)| self.write_protect_leased(addr, len, Protect::On))
    }

    fn write_protect_leased(&self, addr: usize, len: usize, on: Protect) -> Result<(), Errno> {
        let Some(leases) = &self.files.leases else { return Err(Errno::NOTSUP) };
        // SAFETY: faults of writers are served here, or wait until the kernel's map is there.
        unsafe { leases.uffd().write_protect(addr, len, on) }
    }

    /// Where private maps are that the program has written.
    fn own_files(&self, pager: &Pager) -> Vec<(usize, usize)> {
        let sources = self.files.sources.all();
        let own = sources.filter(|source| source.leased.is_some_and(|leased| leased.is_own));
        own.filter_map(|source| self.returning(pager, source.first))
            .filter_map(|map| map.places().next())
            .collect()
    }

    /// The next pages of a range that may not be what the file has.
    fn changed(&self, pager: &Pager, mut range: PageRange, pages: &mut Vec<PageNo>) {
        pages.clear();
        while pages.len() < AT_ONCE
            && let Some((page, state)) = pager.next_touched(range)
        {
            range = PageRange::between(page.plus(1), range.end());
            let is_home = |slot: SlotNo| self.files.is_home(slot);
            let is_as_in_file = match state {
                State::Filling { slot, .. } | State::Parked { slot: Some(slot), ahead: true, .. } => {
                    is_home(slot)
                }
                _ => false,
            };
            if !is_as_in_file {
                pages.push(page);
            }
        }
    }
}

impl Core {
    fn own_files(&self) -> Vec<(usize, usize)> {
        self.live.as_ref().map_or(Vec::new(), |live| live.own_files(&self.pager))
    }

    /// Whether there is a private map that the program has written.
    pub(crate) fn has_own_files(&self) -> bool {
        !self.own_files().is_empty()
    }
}

impl Engine {
    /// Gives private maps that the program has written back to the kernel, which knows how to copy them.
    pub(crate) fn return_own_files(&self) {
        if !self.settings.map_files || self.stage() != Stage::Paging {
            return;
        }
        let space = self.address_space();
        let own = self.lock_core().own_files();
        own.into_iter().for_each(|(addr, len)| space.return_files(addr, len));
    }
}

/// Copies what the program has changed of a map to the spare one; what is left of the map then, as it may be
/// unmapped by raw system calls meanwhile. Nobody can write to it: it is [protected](Live::protect).
pub(super) fn keep_changes(engine: &Engine, home: SlotNo, map: Returning) -> Option<Returning> {
    if !map.is_own {
        return Some(map);
    }
    let Ok(relay) = Relay::new() else { die("no pipe can be had to give a private map of a file back with") };
    let mut pages = Vec::with_capacity(AT_ONCE);
    for piece in &map.pieces {
        let mut rest = pages_of(piece.addr, piece.len);
        loop {
            let core = engine.lock_core();
            let Core { pager, live: Some(live), .. } = &*core else { return None };
            live.changed(pager, rest, &mut pages);
            drop(core);
            let Some(last) = pages.last() else { break };
            rest = PageRange::between(last.plus(1), rest.end());
            wait_for_devices(engine, &pages);
            pages.iter().for_each(|page| keep(engine, &relay, piece, *page));
        }
    }
    let core = engine.lock_core();
    core.live.as_ref()?.returning(&core.pager, home)
}

/// Takes pages out of memory once, which is not possible while a device writes to them; who has not begun to
/// cannot any more.
fn wait_for_devices(engine: &Engine, pages: &[PageNo]) {
    for _ in 0..MOST_TRIES {
        let mut core = engine.lock_core();
        let Core { pager, live: Some(live), .. } = &mut *core else { return };
        let is_mapped = |pager: &Pager, page: PageNo| matches!(pager.state(page), State::Resident { .. });
        let mut mapped = pages.iter().copied().filter(|page| is_mapped(pager, *page)).collect::<Vec<_>>();
        for run in mapped.chunk_by(|one, next| one.plus(1) == *next) {
            live.park_run(pager, PageRange { start: run[0], count: run.len() as u64 });
        }
        mapped.retain(|page| is_mapped(pager, *page));
        if mapped.is_empty() {
            return;
        }
        drop(core);
        std::thread::sleep(AGAIN);
    }
    die(
        "a private map of a file cannot be given back to the kernel, because a device has pages of it for long (a \
         buffer that is registered with io_uring?): the program is stopped, because what is written there would be lost",
    );
}

/// The same for a page, which comes in by being read.
fn keep(engine: &Engine, relay: &Relay, piece: &Piece, page: PageNo) {
    let from = addr_of(page);
    let to = piece.spare + (from - piece.addr);
    let (mut own, mut of_file) = ([0; PAGE], [0; PAGE]);
    // SAFETY: the program's page, which nobody can write to, and ours, of which nobody knows.
    let kept = unsafe {
        match (relay.read(from, &mut own), relay.read(to, &mut of_file)) {
            (Ok(()), Ok(())) if own == of_file => Ok(()),
            (Ok(()), Ok(())) => relay.write(&own, to),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    };
    // What has been unmapped by a raw system call need not be kept.
    if let Err(error) = kept
        && engine.lock_core().pager.area(page_of(from)).is_some()
    {
        die(&format!(
            "a page that the program may have changed in a private map of a file cannot be given back to the kernel \
             ({error}): the page at {from:#x}. The program is stopped, because it would read other bytes there"
        ));
    }
}
