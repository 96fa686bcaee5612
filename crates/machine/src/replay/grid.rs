//! Every policy with every number of frames.

use super::{Trace, future, misses};
use pager::PolicyKind;
use pager::policy::TooLong;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// One result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The policy.
    pub policy: PolicyKind,
    /// The frames that it had.
    pub frames: u32,
    /// How often it had to bring a page in, first touches included.
    pub misses: u64,
}

/// Replays `trace` under each of `policies` with each of `sizes` (frames), side by side on as many
/// processors as there are. The rows are in order of policy, then of size, as given.
///
/// # Errors
/// [`TooLong`], for OPT.
///
/// # Panics
/// If a size is 0 or more than [`MOST_FRAMES`](super::MOST_FRAMES).
pub fn grid(trace: &Trace, policies: &[PolicyKind], sizes: &[u32]) -> Result<Vec<Row>, TooLong> {
    grid_telling(trace, policies, sizes, &|| {})
}

/// [`grid()`], and after each row `done` is called.
///
/// # Errors
/// [`TooLong`], for OPT.
///
/// # Panics
/// As [`grid()`].
pub fn grid_telling(
    trace: &Trace,
    policies: &[PolicyKind],
    sizes: &[u32],
    done_one: &(dyn Fn() + Sync),
) -> Result<Vec<Row>, TooLong> {
    let future = policies.contains(&PolicyKind::Opt).then(|| future(trace)).transpose()?;
    let mut rows: Vec<Row> = policies
        .iter()
        .flat_map(|policy| sizes.iter().map(|frames| Row { policy: *policy, frames: *frames, misses: 0 }))
        .collect();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    // The order of what is taken does not matter: nothing is shared but the trace.
    let work = || {
        let mut done = Vec::new();
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(Row { misses: misses(trace, row.policy, row.frames, future.as_ref()), ..*row });
            done_one();
        }
        done
    };
    let done: Vec<Row> = thread::scope(|scope| {
        let helpers: Vec<_> = (1..processors.min(rows.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    for row in &mut rows {
        let found = done.iter().find(|other| (other.policy, other.frames) == (row.policy, row.frames));
        row.misses = found.map_or(0, |found| found.misses);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_asked_for_and_each_its_own() {
        let trace = Trace::from_pages((0..2000).map(|n| n * n % 97 % (n % 31 + 1))).expect("a trace");
        let sizes = [3, 50, 1, 3];
        let rows = grid(&trace, &PolicyKind::ALL, &sizes).expect("a short trace");
        assert_eq!(rows.len(), PolicyKind::ALL.len() * sizes.len());
        let future = future(&trace).expect("a short trace");
        let mut index = 0;
        for policy in PolicyKind::ALL {
            for frames in sizes {
                let misses = misses(&trace, policy, frames, Some(&future));
                assert_eq!(rows[index], Row { policy, frames, misses });
                index += 1;
            }
        }
    }
}
