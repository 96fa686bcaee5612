#![expect(unsafe_code, reason = "a file table of its own, poll, and the doorbell's page")]
//! The pager's thread.

use crate::PAGE;
use crate::assistant::Assistant;
use crate::core::{Core, Live, Request, page_of, pages_of};
use crate::engine::{Engine, Stage, die, record, say};
use crate::features;
use crate::files;
use crate::home::{self, Guard, Leash};
use crate::slice;
use crate::steer::Waker;
use crate::takeover::Growth;
use crate::tree::{self, Tree};
use crate::wait::{RETRY, SOON, Wait, Woken};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use pager::{PageNo, Pager};
use rustix::io::Errno;
use rustix::thread::{Timespec, futex};
use std::os::fd::{AsFd, RawFd};
use std::time::Instant;
use sys::maps;
use sys::status::{Record, feature};
use sys::uffd::{Access, CopyFlags, Event, EventBuffer};

/// Buffers of events that are read before any is acted on.
const MAX_READS: usize = 16;
/// How often a pager that cannot be woken looks at the ledger while nothing is sampled.
const LOOK_AT_LEDGER: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// Transfers that are finished before it is looked whether the disk has anything to do.
const FEW: usize = 2;

/// The life of the pager thread: open, wait, watch, take over, serve; in a forked child
/// whose parent paged, it succeeds to that and serves.
pub(crate) fn run(engine: &'static Engine, leash: Option<&Leash>) {
    let mut core = engine.lock_core();
    let (frames, slots) = (core.pager.frame_limit(), core.pager.slots_total());
    let estate = core.estate.take();
    drop(core);
    let (starts, voice) = (engine.thread_starts, engine.voice.clone());
    let succeeds = estate.is_some();
    let opened = match estate {
        Some(estate) => features::open_estate(&engine.settings, estate, slots, starts, voice),
        None => features::open(&engine.settings, frames, slots, starts, voice),
    };
    let (live, bits) = match opened {
        Ok(opened) => opened,
        Err(reason) if succeeds => {
            die(&format!("a forked child was stopped, whose memory is paged: {reason}"))
        }
        Err(reason) => {
            say(&format!("{}. The program runs without a RAM limit.", reason.in_environment()));
            engine.set_stage(Stage::Off);
            engine.ready.open();
            engine.files_ready.open();
            return;
        }
    };
    if let Some(record) = record() {
        let process = if leash.is_some() { feature::PAGER_PROCESS } else { 0 };
        record.features.store(bits | process, Relaxed);
    }
    engine.set_mechanism(live.mechanism);
    home::set_descriptors(&live.dismissal, live.nudge.as_ref());
    core = engine.lock_core();
    if let Some(kin) = live.kin {
        let first = engine.kin.set(kin).is_ok();
        debug_assert!(first, "one pager an engine");
        if !succeeds {
            core.pager.join(kin.lineage, kin.member);
        }
    }
    core.live = Some(live);
    drop(core);
    engine.ready.open();
    if leash.is_some() {
        // The program's directory is not kept busy: what is needed is open.
        let _ = rustix::process::chdir("/");
    }
    let guard = if succeeds { succeed(engine, leash) } else { watch(engine, leash) };
    serve(engine, leash, guard);
}

/// Takes over what a forked child inherited. Where nothing is lost without a guard the child goes
/// on at once, and what it touches waits for [`serve`], which else tells it.
fn succeed<'a>(engine: &'static Engine, leash: Option<&'a Leash>) -> Option<Guard<'a>> {
    let mut core = engine.lock_core();
    let Core { pager, live: Some(live), .. } = &mut *core else { die("the pager thread lost its means") };
    live.has_relatives = true;
    live.tree = Tree::new(true);
    // Where it was killed before, the parent has said so.
    live.tree.iter_mut().for_each(|tree| _ = tree.watch_supervisor());
    live.register_bell(engine);
    live.succeed(pager);
    let is_anchored = live.is_anchored;
    engine.set_stage(Stage::Paging);
    drop(core);
    if is_anchored {
        engine.served.open();
    }
    let guard = leash.map(|leash| Guard::start(engine, leash));
    start_helpers(engine, leash);
    guard
}

/// Starts the pager's other threads. Without the core's lock: for a thread the C library
/// allocates, and a program thread that forks holds the heap's locks and waits for the core's.
fn start_helpers(engine: &'static Engine, leash: Option<&Leash>) {
    let core = home::lock_core(engine, leash);
    let Some(live) = core.live.as_ref() else { die("the pager thread lost its means") };
    let arena = live.arena.as_fd().try_clone_to_owned();
    let leases =
        || live.files.leases.as_ref().and_then(|leases| leases.uffd().as_fd().try_clone_to_owned().ok());
    let (has_leases, theirs, ours) = (live.files.leases.is_some(), leases(), leases());
    let digester = live.digester.clone();
    drop(core);
    let waker = arena.ok().and_then(|arena| Waker::start(arena, theirs, engine.thread_starts));
    let mut assistant = Assistant::new();
    assistant.begin(&digester, engine.thread_starts);
    let mut core = home::lock_core(engine, leash);
    let Some(live) = core.live.as_mut() else { die("the pager thread lost its means") };
    live.steering.begin(waker, ours);
    live.assistant = assistant;
    drop(core);
    if has_leases {
        files::start_clerk(engine);
    } else {
        engine.files_ready.open();
    }
}

/// Nothing that the program closes reaches our descriptors, and none of its pipe
/// ends or locks is kept alive by us. `kept` stays open.
pub(crate) fn own_file_table(kept: Option<RawFd>) {
    let close = |first: u32, last: u32| {
        // SAFETY: closes descriptors of this thread's own, new table only.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_UNSHARE) };
        if closed != 0 {
            die(
                "the kernel refuses close_range(CLOSE_RANGE_UNSHARE), which paging needs (Linux 5.9 or later)",
            );
        }
    };
    match kept.map(RawFd::cast_unsigned) {
        None => close(0, u32::MAX),
        Some(kept) => {
            close(kept + 1, u32::MAX);
            if kept > 0 {
                close(0, kept - 1);
            }
        }
    }
}

/// Waits until the resident set reaches the budget, then takes memory over. The guard of
/// the pager if it is a process.
fn watch<'a>(engine: &'static Engine, leash: Option<&'a Leash>) -> Option<Guard<'a>> {
    let mut tree = Tree::new(engine.is_child);
    while engine.summons.load(Acquire) == 0 {
        let woken = tree::wake_word().map(|word| (word, word.load(Acquire)));
        publish_budget(record(), tree.as_ref());
        if tree.as_ref().is_some_and(Tree::is_to_give) {
            // What it was promised and does not use others can have.
            engine.watch();
            break;
        }
        match leash {
            Some(leash) => leash.wait_for(&engine.summons, woken),
            None => {
                let look = tree.as_ref().map(|_| &LOOK_AT_LEDGER);
                // Ends early or not: both are looked at again.
                let _ = futex::wait(&engine.summons, futex::Flags::empty(), 0, look);
            }
        }
    }
    engine.set_stage(Stage::Watching);
    // Now, because when the budget is reached there is no time.
    let guard = leash.map(|leash| Guard::start(engine, leash));
    let mut growth = Growth::default();
    slice::ask_for(slice::SHORTEST);
    loop {
        let sample = {
            let core = engine.lock_core();
            let Some(live) = core.live.as_ref() else { die("the pager thread lost its means") };
            live.statm.read()
        };
        let Ok(sample) = sample else { die("/proc/self/statm cannot be read, so the budget cannot be kept") };
        if let Some(record) = record() {
            record.rss_bytes.store(sample.resident_bytes, Relaxed);
            record.peak_rss_bytes.fetch_max(sample.resident_bytes, Relaxed);
        }
        let now = Instant::now();
        let resident = sample.resident_bytes;
        let budget = match tree.as_mut() {
            Some(tree) => tree.watch(resident, sample.shared_bytes, now),
            None => engine.settings.ram_bytes,
        };
        publish_budget(record(), tree.as_ref());
        if let Some(record) = record() {
            record.share_bytes.store(budget, Relaxed);
        }
        match growth.pause(resident, budget, now) {
            Some(pause) => match &tree {
                Some(tree) => tree.wait(pause),
                None => std::thread::sleep(pause),
            },
            None if tree.as_mut().is_some_and(Tree::finds_more) => {}
            None => break,
        }
        if engine.wants_paging.load(Acquire) {
            break;
        }
        leash.into_iter().for_each(Leash::check);
    }
    let mut guard = guard;
    // Nothing is absent yet that would read as zeros without the pager.
    while !is_anchored(engine, leash) && guard.as_mut().is_some_and(Guard::is_starting) {
        leash.into_iter().for_each(Leash::check);
        std::thread::sleep(SOON);
    }
    let address_space = engine.lock_address_space();
    let mut core = engine.lock_core();
    // Discards that began before there was anybody to tell.
    while core.pager.is_changing() {
        drop(core);
        std::thread::sleep(RETRY);
        core = engine.lock_core();
    }
    let Core { pager, live: Some(live), .. } = &mut *core else { die("the pager thread lost its means") };
    let nobody_watches = tree.as_mut().is_some_and(Tree::watch_supervisor);
    live.tree = tree;
    live.register_bell(engine);
    live.take_over(pager);
    engine.set_stage(Stage::Paging);
    drop(core);
    drop(address_space);
    if nobody_watches {
        tree::say_that_nobody_watches();
    }
    slice::ask_for(slice::USUAL);
    start_helpers(engine, leash);
    guard
}

/// Whether nobody reads zeros if the pager is killed before it has a guard.
fn is_anchored(engine: &Engine, leash: Option<&Leash>) -> bool {
    home::lock_core(engine, leash).live.as_ref().is_some_and(|live| live.is_anchored)
}

/// The budget may be changed while processes run.
fn publish_budget(record: Option<&Record>, tree: Option<&Tree>) {
    if let (Some(record), Some(tree)) = (record, tree) {
        record.budget_bytes.store(tree.account().ledger().budget(), Relaxed);
    }
}

/// Serves faults until it is asked to stop, which no engine of a process is.
pub(crate) fn serve(engine: &Engine, leash: Option<&Leash>, mut guard: Option<Guard<'_>>) {
    let mut events = EventBuffer::new();
    // One more for the views of files.
    let mut faults: Vec<PageNo> = Vec::with_capacity((MAX_READS + 1) * EventBuffer::CAPACITY);
    let mut wait = Wait::new();
    let mut is_awaited = !engine.served.is_open();
    let is_anchored = is_anchored(engine, leash);
    loop {
        // The thread that becomes the guard may touch what is served here.
        let guard_starts = guard.as_mut().is_some_and(Guard::is_starting);
        if is_awaited && (is_anchored || !guard_starts) {
            engine.served.open();
            is_awaited = false;
        }
        let mut core = home::lock_core(engine, leash);
        let mut acted = turn(engine, &mut core, &mut events, &mut faults);
        let Core { pager, live: Some(live), .. } = &mut *core else { die("the pager thread lost its means") };
        if live.stops {
            return;
        }
        // The followed thread goes on only when this one waits.
        acted &= !live.steering.holds_somebody_up();
        if !acted {
            let quiet_work = pager.has_stale_slots() || live.map_is_stale() || live.may_be_dirty(pager);
            wait.prepare(live, guard.as_mut(), quiet_work);
        }
        drop(core);
        if acted {
            wait.has_work();
            continue;
        }
        let woken = wait.wait();
        if wait.is_short {
            // The waker may have had no chance.
            let mut core = home::lock_core(engine, leash);
            core.live.as_mut().into_iter().for_each(Live::catch_up);
        }
        if woken == Woken::GuardKilled {
            guard.as_mut().into_iter().for_each(Guard::replace);
        }
        if woken == Woken::Quiet {
            let mut core = home::lock_core(engine, leash);
            let Core { pager, live: Some(live), .. } = &mut *core else {
                die("the pager thread lost its means")
            };
            live.punch_holes(pager);
            live.draw_at_rest(pager);
            wait.rests(live.limits.rss_bytes);
        }
        if woken == Woken::Unwatched {
            let mut core = home::lock_core(engine, leash);
            let tree = core.live.as_mut().and_then(|live| live.tree.as_mut());
            tree.into_iter().for_each(Tree::supervisor_has_ended);
        }
        // Without a guard nobody else says so.
        if woken == Woken::Dismissed || guard_starts && leash.is_some_and(Leash::is_loose) {
            let mut core = home::lock_core(engine, leash);
            home::leave_by(|| core.live.as_mut().into_iter().for_each(Live::leave));
        }
    }
}

/// Which userfaultfd announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcer {
    /// That of the arena.
    Arena,
    /// That of files which the program has mapped.
    Leases,
}

/// Where a program thread leaves a request, and finds what became of it.
struct Asked<'a> {
    request: &'a mut Option<Request>,
    file_answer: &'a mut Option<Result<(), Errno>>,
}

/// One round of everything there is to do; whether there was anything.
fn turn(engine: &Engine, core: &mut Core, events: &mut EventBuffer, faults: &mut Vec<PageNo>) -> bool {
    let Core { pager, live: Some(live), request, file_answer, .. } = core else {
        die("the pager thread lost its means")
    };
    let mut asked = Asked { request, file_answer };
    live.watch.begin_turn();
    let called = live.answer_members(pager);
    let (mut finished, mut read) = (0, 0);
    loop {
        let ended = live.finish_transfers(pager, FEW);
        finished += ended;
        if ended < FEW {
            break;
        }
        // A disk ends together what it was told together. It is told the next before all
        // threads are woken: those that were have faulted again.
        if live.store.is_idle() {
            read += live.serve_faults(engine, pager, &mut asked, events, faults);
            live.submit();
        }
    }
    // Threads that were woken together fault again together: one submission for all of
    // them costs as much as for the first.
    for _ in 0..MAX_READS {
        read += live.serve_faults(engine, pager, &mut asked, events, faults);
        if faults.len() < 2 {
            break;
        }
    }
    // The disk works while frames are found.
    live.submit();
    let mut acted = called || finished + read > 0;
    let next_sample = live.limits.next_sample;
    live.keep_budget(pager, false);
    let sampled = live.limits.next_sample != next_sample;
    // A thread that can go on does so first, while there are frames for it.
    if !(live.steering.holds_somebody_up() && pager.reclaim_can_wait()) {
        acted |= live.reclaim(pager);
    }
    acted |= live.retry_deferred(pager);
    live.sample_accesses(pager);
    if !live.files.are_none() {
        live.write_back(pager);
        acted |= live.go_on_flushing(pager);
        acted |= live.go_on_populating(pager);
    }
    live.submit();
    // Otherwise the numbers are what they were.
    if acted || sampled || live.watch.is_drawing() {
        live.publish(pager, acted);
    }
    acted
}

impl Live {
    fn register_bell(&self, engine: &Engine) {
        // SAFETY: the doorbell is ours; this thread serves it.
        let bell = unsafe { self.bell.register(engine.doorbell.addr(), PAGE, sys::uffd::Register::Missing) };
        if bell.is_err() || maps::do_fork(engine.doorbell.addr(), PAGE).is_err() {
            die("the doorbell cannot be registered with userfaultfd");
        }
    }

    /// The address space was copied by who did not say so.
    fn note_raw_clone(&mut self) {
        say(
            "a process was made by a clone(2) that was not called by way of fork(3): what is paged is not in its \
             memory, and it gets SIGSEGV where it touches it. Programs that do so need enough --ram.",
        );
    }

    /// All transfers end, and then what was held is nobody's.
    fn leave(&mut self) {
        let Some(kin) = self.kin.take() else { return };
        self.submit();
        while self.ops.under_way() > 0 {
            match self.store.complete() {
                Some(completion) => self.ops.end(completion.token),
                // Whatever it says, it is looked again.
                None => drop(self.store.wait()),
            }
        }
        kin.lineage.leave(kin.member);
    }

    /// Reads everything announced and acts on it, changes before faults, which are then in
    /// `faults`; how much it was.
    fn serve_faults(
        &mut self,
        engine: &Engine,
        pager: &mut Pager,
        asked: &mut Asked<'_>,
        events: &mut EventBuffer,
        faults: &mut Vec<PageNo>,
    ) -> usize {
        faults.clear();
        let mut read = self.read_announcements(pager, Announcer::Arena, events, faults);
        if self.files.leases.is_some() {
            read += self.read_announcements(pager, Announcer::Leases, events, faults);
            engine.renounce(self.end_unused_leases(pager));
            self.see_to_writes(engine, pager, faults);
        }
        if !self.files.are_none() {
            read += self.read_view_faults(events, faults);
        }
        read += self.read_members(events, faults);
        if asked.request.is_some() || self.bell_is_watched {
            read += self.answer_bell(engine, pager, asked, events);
        }
        for page in faults.iter().copied() {
            self.resolve(pager, page);
        }
        read
    }

    /// Reads everything announced; applies changes of the address space at once and
    /// leaves faults, which the kernel hands out first even when they came later.
    fn read_announcements(
        &mut self,
        pager: &mut Pager,
        announcer: Announcer,
        events: &mut EventBuffer,
        faults: &mut Vec<PageNo>,
    ) -> usize {
        let mut total = 0;
        let mut drained = false;
        for _ in 0..MAX_READS {
            if drained {
                break;
            }
            let uffd = match (announcer, &self.files.leases) {
                (Announcer::Leases, Some(leases)) => leases.uffd(),
                _ => &self.arena,
            };
            let count = match uffd.read_events(events) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => die("the userfaultfd cannot be read"),
            };
            total += count;
            drained = count < EventBuffer::CAPACITY;
            for index in 0..count {
                match events.take(index) {
                    Event::Fault { addr, access: Access::Write, .. }
                        if announcer == Announcer::Leases && self.is_protected(pager, page_of(addr)) =>
                    {
                        self.note_write(page_of(addr));
                    }
                    Event::Fault { addr, thread, .. } => {
                        self.steering.fault(thread);
                        let page = page_of(addr);
                        if !self.refuse_growth(pager, page, thread) {
                            self.watch.faulted(pager, page, thread);
                            faults.push(page);
                        }
                    }
                    Event::Remove { start, end } => {
                        self.note_change(pager, start, end);
                        self.removed(pager, start, end, false);
                    }
                    Event::Unmap { start, end } => {
                        self.note_change(pager, start, end);
                        self.removed(pager, start, end, true);
                    }
                    Event::Remap { from, to, len } => {
                        let (old, new) = (pages_of(from, len), pages_of(to, len));
                        self.note_change(pager, from, from + len);
                        if new.count > 0 && old.count > 0 {
                            self.removed(pager, to, to + len, true);
                            pager.remap(old, new.start);
                        }
                        self.wake_all(from, len);
                        self.note_unmapped(old);
                        self.watch.moved(old, new.start);
                    }
                    // Forks are not asked for.
                    Event::Fork(_) | Event::Unknown(_) => {}
                }
            }
        }
        total
    }

    /// When a change ends that nobody said would begin is not known.
    fn note_change(&mut self, pager: &Pager, start: usize, end: usize) {
        self.tally.raw_changes += u64::from(!pager.knows_change(pages_of(start, end - start)));
    }

    fn removed(&mut self, pager: &mut Pager, start: usize, end: usize, area: bool) {
        let range = pages_of(start, end - start);
        self.watch.gone(range, area);
        let drop_bytes = |_, state| {
            if let pager::State::Parked { frame, .. } = state {
                self.drop_place(frame);
            }
        };
        if area {
            pager.remove_area(range, drop_bytes);
            self.stacks.remove(range);
            self.note_unmapped(range);
        } else {
            pager.discard(range, drop_bytes);
            self.stacks.forgive(range);
        }
        // Whoever waited for a page that is gone must find out.
        self.wake_all(start, end - start);
    }

    /// Does what program threads have asked for; how many.
    fn answer_bell(
        &mut self,
        engine: &Engine,
        pager: &mut Pager,
        asked: &mut Asked<'_>,
        events: &mut EventBuffer,
    ) -> usize {
        let mut answered = 0;
        while let Ok(1..) = self.bell.read_events(events) {
            answered += 1;
            if matches!(events.take(0), Event::Fork(_)) {
                self.note_raw_clone();
                continue;
            }
            match asked.request.take() {
                Some(Request::Manage(range, rights)) if self.register(range) => {
                    pager.discard(range, |_, _| {});
                    pager.add_area(range, rights);
                    self.watch.recorder.area(range, rights);
                }
                Some(Request::HandOver(address)) => {
                    self.watch.recorder.forked();
                    self.hand_over(address);
                }
                Some(Request::Stacks(range, stride)) if self.register(range) => {
                    pager.discard(range, |_, _| {});
                    self.stacks.add(range, stride);
                }
                Some(Request::Cool(range)) => self.cool(pager, range),
                Some(Request::File(request)) => {
                    *asked.file_answer = Some(self.answer_about_files(pager, request));
                }
                Some(Request::Stop) => self.stops = true,
                Some(Request::Manage(..) | Request::Stacks(..)) | None => {}
            }
            // SAFETY: the doorbell's page is ours.
            let _ = unsafe {
                self.bell.copy(engine.doorbell.addr(), self.zeros.addr(), PAGE, CopyFlags::empty())
            };
            let _ = self.bell.wake(engine.doorbell.addr(), PAGE);
        }
        answered
    }

    /// Hands over what has been queued. What the kernel does not take is offered again
    /// with the next completion or submission.
    fn submit(&mut self) {
        let _ = self.store.submit();
    }

    fn catch_up(&mut self) {
        self.steering.catch_up(&self.arena);
    }

    fn retry_deferred(&mut self, pager: &mut Pager) -> bool {
        let mut again = core::mem::take(&mut self.deferred);
        let before = again.len();
        for page in again.drain(..) {
            self.resolve(pager, page);
        }
        let progressed = self.deferred.len() < before;
        if self.deferred.capacity() < again.capacity() {
            // Keep the larger buffer: the path of a fault does not allocate.
            again.append(&mut self.deferred);
            self.deferred = again;
        }
        progressed
    }

    /// Writes the numbers for whoever watches: because it `acted`, or for a new sample only.
    fn publish(&mut self, pager: &Pager, acted: bool) {
        let Some(record) = self.voice.record().filter(|_| self.watch.counted) else { return };
        let c = pager.counters();
        publish_budget(Some(record), self.tree.as_ref());
        record.share_bytes.store(self.limits.budget_bytes, Relaxed);
        let t = &mut self.tally;
        t.peak_touched = t.peak_touched.max(pager.pages_touched());
        let page = PAGE as u64;
        for (cell, value) in [
            (&record.minor_faults, c.minor_faults),
            (&record.major_faults, c.major_faults),
            (&record.swap_ins, c.swap_ins),
            (&record.swap_outs, c.swap_outs),
            (&record.pages_scanned, c.pages_scanned),
            (&record.pages_reclaimed, c.pages_reclaimed),
            (&record.rescues, c.rescues),
            (&record.refaults, c.refaults),
            (&record.clean_evictions, c.clean_evictions),
            (&record.zero_evictions, c.zero_evictions),
            (&record.readahead_pages, c.readahead_pages),
            (&record.readahead_hits, c.readahead_hits),
            (&record.poisoned_pages, c.poisoned_pages),
            (&record.read_bytes, t.read_bytes),
            (&record.writeback_bytes, t.writeback_bytes),
            (&record.stall_ns, t.stall_ns),
            (&record.busy_moves, t.busy_moves),
            (&record.heap_bytes, pager.pages_touched() * page),
            (&record.peak_heap_bytes, t.peak_touched * page),
            (&record.resident_pages, u64::from(pager.frames_used())),
            (&record.rss_bytes, self.limits.rss_bytes),
            (&record.unpaged_bytes, self.limits.peak_unpaged_bytes),
            (&record.forked_children, t.forks),
            (&record.metadata_bytes, (pager.metadata_bytes() + self.pool.metadata_bytes()) as u64),
        ] {
            cell.store(value, Relaxed);
        }
        record.peak_rss_bytes.fetch_max(self.limits.peak_rss_bytes, Relaxed);
        self.publish_watch(pager, acted);
    }
}
