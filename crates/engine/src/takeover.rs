#![expect(unsafe_code, reason = "registers memory with userfaultfd")]
//! From leaving memory to the kernel to paging it.

use crate::core::{Live, Mechanism, addr_of};
use crate::engine::die;
use crate::recorder::between;
use crate::settings::Scope;
use crate::tree::{Look, Tree};
use pager::{Area, Pager, State};
use rustix::io::Errno;
use std::time::{Duration, Instant};
use sys::maps;
use sys::uffd::Register;

/// What threads can touch per second, all together: to decide how long sampling may pause.
const TOUCH_BYTES_PER_SECOND: u64 = 8 << 30;
/// A processor that is taken away by a host may be away for so long, and nothing tells.
const HICCUP: Duration = Duration::from_millis(10);
const SHORTEST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How often the budget is seen to while anything is paged.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How the resident set grows, and how late samples of it come.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    last: Option<Sample>,
    late: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    rss_bytes: u64,
    pause: Duration,
}

impl Growth {
    /// How long the next sample can wait; none when memory is to be taken over.
    pub(crate) fn pause(&mut self, rss_bytes: u64, budget_bytes: u64, now: Instant) -> Option<Duration> {
        let ahead = self.last.map_or(0, |last| {
            let took = now.saturating_duration_since(last.at);
            // Where others want the processors, the next sample comes as late as this one.
            self.late = took.saturating_sub(last.pause).max(self.late / 8 * 7);
            let grown = u128::from(rss_bytes.saturating_sub(last.rss_bytes));
            let within = |time: Duration| (grown * time.as_nanos() / took.as_nanos().max(1)) as u64;
            within(2 * self.late).min(budget_bytes / 2) + within(HICCUP).min(budget_bytes / 8)
        });
        let pause = pause_before_budget(rss_bytes + ahead, budget_bytes)?;
        self.last = Some(Sample { at: now, rss_bytes, pause });
        Some(pause)
    }
}

/// How long the resident set cannot exceed the budget; none when it is time.
fn pause_before_budget(rss_bytes: u64, budget_bytes: u64) -> Option<Duration> {
    // Sampling comes late when cores are busy: keep some milliseconds of touches free.
    let margin = (budget_bytes / 8).min(24 << 20);
    let room = budget_bytes.saturating_sub(margin).saturating_sub(rss_bytes);
    if room == 0 {
        return None;
    }
    let safe = Duration::from_nanos(room.saturating_mul(1_000_000_000 / 2) / TOUCH_BYTES_PER_SECOND);
    Some(safe.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// What the budget bounds, in bytes.
struct Measure {
    /// What is not paged, and that with the frames.
    unpaged: u64,
    resident: u64,
    /// Of a process, what is resident and of files or shared memory.
    shared: u64,
}

impl Live {
    /// Registers every area and takes over what is resident as it is.
    pub(crate) fn take_over(&mut self, pager: &mut Pager) {
        self.watch.begin(pager);
        for area in pager.areas().collect::<Vec<Area>>() {
            if !self.register(area.range) {
                // Not what we were told it is (unmapped or replaced by a raw system
                // call): the kernel keeps it.
                pager.remove_area(area.range, |_, _| {});
                self.watch.gone(area.range, true);
                continue;
            }
            let (start, end) = (addr_of(area.range.start), addr_of(area.range.end()));
            let recorder = &mut self.watch.recorder;
            let adopted = self.pagemap.scan_present(start, end, |from, to| {
                let range = between(from, to);
                range.pages().for_each(|page| pager.adopt(page));
                recorder.held(range);
            });
            if adopted.is_err() {
                die("/proc/self/pagemap cannot be read, so what is resident cannot be found");
            }
        }
        self.keep_budget(pager, true);
    }

    /// Registers `range`; false when it is not anonymous private memory.
    pub(crate) fn register(&mut self, range: pager::PageRange) -> bool {
        let (addr, len) = (addr_of(range.start), range.count as usize * crate::PAGE);
        // Collapsing small pages into huge ones behind our back would undo evictions.
        let _ = maps::no_huge_pages(addr, len);
        let mode = match self.mechanism {
            Mechanism::Move => Register::Missing,
            Mechanism::Copy => Register::MissingAndWriteProtect,
        };
        // Whoever copies the address space and does not say so must not read zeros.
        if maps::dont_fork(addr, len).is_err() {
            return false;
        }
        // SAFETY: the range is the program's anonymous memory, whose faults this
        // process's pager thread serves from now on.
        let registered = unsafe { self.arena.register(addr, len, mode) };
        if registered.is_err() {
            let _ = maps::do_fork(addr, len);
        }
        if registered == Err(Errno::NOMEM) {
            self.voice.say("the kernel has no memory to register a mapping with; it is not paged");
        }
        registered.is_ok()
    }

    /// In a forked child: registers every area. What is resident and what is not is known.
    pub(crate) fn succeed(&mut self, pager: &mut Pager) {
        for area in pager.areas().collect::<Vec<Area>>() {
            if self.register(area.range) {
                continue;
            }
            let mut swapped = false;
            pager.for_each_touched(area.range, |_, state| {
                swapped |= !matches!(state, State::Resident { .. });
            });
            if swapped {
                die("paged memory of a forked child cannot be registered with userfaultfd");
            }
            pager.remove_area(area.range, |_, _| {});
        }
        if maps::dont_fork(self.pool.addr(), self.pool.len()).is_err() {
            die("the kernel refuses madvise on the frame pool");
        }
        self.keep_budget(pager, true);
    }

    /// Fits the frame limit to what the rest of the process leaves of the budget.
    pub(crate) fn keep_budget(&mut self, pager: &mut Pager, now: bool) {
        let instant = if now { Instant::now() } else { self.watch.instant() };
        let is_woken = self.tree.as_ref().is_some_and(Tree::is_woken);
        if !now && !is_woken && instant < self.limits.next_sample {
            return;
        }
        self.limits.next_sample = instant + LOOK_EVERY;
        let Some(Measure { unpaged, resident, shared }) = self.measure(pager) else { return };
        let limits = &mut self.limits;
        // What is being dropped has left the core before it leaves the kernel, and would seem not to be paged.
        let is_unsure = pager.is_changing() && limits.unsure < MOST_UNSURE;
        limits.unsure = if is_unsure { limits.unsure + 1 } else { 0 };
        let unpaged = if is_unsure { unpaged.min(limits.unpaged_bytes) } else { unpaged };
        if let Some(tree) = &mut self.tree {
            let counters = pager.counters();
            let look = Look {
                resident,
                unpaged,
                shared,
                faults: counters.minor_faults + counters.major_faults,
                refaults: counters.refaults,
                stall_ns: self.tally.stall_ns,
                is_full: pager.frames_used() + 2 * pager.reserve() >= pager.frame_limit(),
            };
            limits.budget_bytes = tree.look(look, instant);
            self.assistant.beside(tree.short_pagers());
        }
        limits.rss_bytes = resident;
        limits.peak_rss_bytes = limits.peak_rss_bytes.max(resident);
        limits.unpaged_bytes = unpaged;
        limits.peak_unpaged_bytes = limits.peak_unpaged_bytes.max(limits.unpaged_bytes);
        let left = limits.budget_bytes.saturating_sub(limits.unpaged_bytes);
        let frames = (left / crate::PAGE as u64).max(MIN_FRAMES);
        let frames = u32::try_from(frames).unwrap_or(u32::MAX >> 4).saturating_add(limits.overdraft);
        if frames != pager.frame_limit() {
            pager.set_frame_limit(frames);
            self.watch.recorder.frames(frames);
        }
        self.watch.recorder.sample(pager, self.limits.rss_bytes);
    }

    /// What the budget bounds besides the frames, and with them. None if the kernel does
    /// not say.
    fn measure(&self, pager: &Pager) -> Option<Measure> {
        let page = crate::PAGE as u64;
        match self.limits.scope {
            Scope::Process => {
                let sample = self.statm.read().ok()?;
                let (resident, shared) = (sample.resident_bytes, sample.shared_bytes);
                // A store in memory is outside the budget.
                let stored = if self.store.in_memory() { pager.slots_used() } else { 0 };
                let paged = u64::from(pager.frames_used() + stored) * page;
                Some(Measure { unpaged: resident.saturating_sub(paged), resident, shared })
            }
            Scope::Areas => {
                let tables = (pager.metadata_bytes() + self.pool.metadata_bytes()) as u64;
                let own = tables + u64::from(self.pool.idle_buffers()) * page;
                let resident = own + u64::from(pager.frames_used()) * page;
                Some(Measure { unpaged: own, resident, shared: 0 })
            }
        }
    }
}

/// Samples in a row that may come in the middle of a change before one counts.
const MOST_UNSURE: u32 = 32;

/// Fewer frames than this cannot hold the transfers of a moment: 4 MiB.
pub(crate) const MIN_FRAMES: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The resident bytes at which memory is taken over that grows by 2 GiB a second, where
    /// every sample comes so late.
    fn taken_over_at(late: Duration) -> u64 {
        let mut growth = Growth::default();
        let (mut now, mut rss) = (Instant::now(), 10 * MIB);
        while let Some(pause) = growth.pause(rss, 256 * MIB, now) {
            let took = pause + late;
            now += took;
            rss += took.as_micros() as u64 * 2048 * MIB / 1_000_000;
        }
        rss
    }

    #[test]
    fn late_samples_are_reckoned_with() {
        let [soon, late] = [0, 10].map(|late| taken_over_at(Duration::from_millis(late)));
        assert!((195 * MIB..240 * MIB).contains(&soon), "{} MiB", soon / MIB);
        assert!((130 * MIB..soon).contains(&late), "{} MiB", late / MIB);
    }

    #[test]
    fn what_does_not_grow_is_left_alone() {
        let mut growth = Growth::default();
        let start = Instant::now();
        for second in 0..10 {
            assert!(growth.pause(200 * MIB, 256 * MIB, start + Duration::from_secs(second)).is_some());
        }
    }
}
