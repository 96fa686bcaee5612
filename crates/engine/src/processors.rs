//! On which processor reads end soonest.
//!
//! A disk's interrupts may all arrive at one processor. Where the thread that waits
//! runs on another, each read costs a wake-up across processors more; on a virtual
//! machine that is half of the read. Nothing tells a process where its interrupts
//! arrive, so it is measured: now and then the followed thread is sent elsewhere for a
//! few reads, and stays where they take the least time.

use std::time::{Duration, Instant};

/// Processors that are told apart.
pub(crate) const MAX_PROCESSORS: usize = 256;
/// Reads after which an average says something.
const ENOUGH: u32 = 64;
/// Between two moves, at least.
const SETTLE: Duration = Duration::from_millis(20);
/// Until processors are tried that have not been; doubles with every trial.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    reads: u32,
    typical_ns: u64,
}

/// How long reads take on each processor.
#[derive(Debug)]
pub(crate) struct Processors {
    speeds: [Speed; MAX_PROCESSORS],
    next_move: Instant,
    next_trial: Instant,
    pause: Duration,
}

impl Processors {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            speeds: [Speed::default(); MAX_PROCESSORS],
            next_move: now,
            next_trial: now,
            pause: FIRST_PAUSE,
        }
    }

    /// A read that was waited for on `processor` has ended.
    pub(crate) fn read_took(&mut self, processor: usize, took: Duration) {
        let Some(speed) = self.speeds.get_mut(processor) else { return };
        speed.reads = (speed.reads + 1).min(ENOUGH);
        let change = took.as_nanos() as i64 - speed.typical_ns as i64;
        speed.typical_ns = speed.typical_ns.saturating_add_signed(change / i64::from(speed.reads));
    }

    /// Where the thread that runs `at` a processor should go, if it should; `allowed`
    /// says where it may.
    pub(crate) fn better(
        &mut self,
        at: usize,
        now: Instant,
        allowed: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let here = *self.speeds.get(at)?;
        if here.reads < ENOUGH || now < self.next_move {
            return None;
        }
        let others = || (0..MAX_PROCESSORS).filter(|other| *other != at && allowed(*other));
        let best = others().filter(|other| self.speeds[*other].reads == ENOUGH);
        let best = best.min_by_key(|other| self.speeds[*other].typical_ns);
        // A tenth is what a move must promise.
        let best = best.filter(|best| self.speeds[*best].typical_ns * 10 < here.typical_ns * 9);
        let chosen = best.or_else(|| {
            let untried = (now >= self.next_trial).then(|| {
                self.next_trial = now + self.pause;
                self.pause = (2 * self.pause).min(LONGEST_PAUSE);
                others().find(|other| self.speeds[*other].reads < ENOUGH)
            });
            if untried == Some(None) {
                // All are known: what was true then need not be true the next time.
                self.speeds = [Speed::default(); MAX_PROCESSORS];
            }
            untried.flatten()
        })?;
        self.next_move = now + SETTLE;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a thread ends that starts on processor 0, and how often it moved in `seconds`.
    fn settle(latencies_us: &[u64], seconds: u64) -> (usize, usize) {
        let start = Instant::now();
        let mut processors = Processors::new(start);
        let (mut at, mut moves) = (0, 0);
        for tick in 0..seconds * 200 {
            let now = start + Duration::from_millis(5 * tick);
            (0..30).for_each(|_| processors.read_took(at, Duration::from_micros(latencies_us[at])));
            if let Some(next) = processors.better(at, now, |other| other < latencies_us.len()) {
                (at, moves) = (next, moves + 1);
            }
        }
        (at, moves)
    }

    #[test]
    fn a_thread_stays_where_reads_end_soonest() {
        assert_eq!(settle(&[100, 60], 1).0, 1);
        assert_eq!(settle(&[60, 100], 1).0, 0);
        assert_eq!(settle(&[100, 90, 80, 50], 60).0, 3);
    }

    #[test]
    fn where_all_are_alike_trials_become_rare() {
        let (_, moves) = settle(&[70, 70, 70], 60);
        assert!(moves < 10, "{moves}");
    }

    #[test]
    fn nobody_goes_where_he_may_not() {
        let start = Instant::now();
        let mut processors = Processors::new(start);
        (0..1000).for_each(|_| processors.read_took(0, Duration::from_micros(100)));
        assert_eq!(processors.better(0, start, |_| false), None);
    }
}
