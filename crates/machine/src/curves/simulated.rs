//! Curves of policies that have to be simulated, size by size.

use super::curve::{Curve, Point};
use crate::replay::{FEWEST_FRAMES, Trace, future, misses, own};
use pager::PolicyKind;
use pager::policy::TooLong;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A policy of the core.
    Policy(PolicyKind),
    /// The live pager's own replacement, without read-ahead.
    Own,
}

impl Subject {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy(kind) => kind.name(),
            Self::Own => "outcore",
        }
    }
}

/// Sizes at which a curve up to `pages` frames is simulated, smallest first: about `count`, as many for small sizes
/// as their share of the picture.
pub fn sizes(pages: u32, count: u32) -> Vec<u32> {
    let step = |index: u32| (u64::from(pages) * u64::from(index) / u64::from(count.max(1))).max(1) as u32;
    let mut sizes: Vec<u32> = (1..=count).map(step).collect();
    sizes.push(pages);
    sizes.dedup();
    sizes
}

/// The curve of each subject at `sizes`; after each simulation `done` is called.
///
/// # Errors
/// [`TooLong`], for OPT.
pub fn simulated(
    trace: &Trace,
    subjects: &[Subject],
    sizes: &[u32],
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Curve>, TooLong> {
    let has_opt = subjects.contains(&Subject::Policy(PolicyKind::Opt));
    let future = has_opt.then(|| future(trace)).transpose()?;
    let tasks: Vec<(usize, u32)> =
        (0..subjects.len()).flat_map(|subject| sizes.iter().map(move |size| (subject, *size))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some((subject, frames)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let count = match subjects[subject] {
                Subject::Policy(kind) => misses(trace, kind, frames, future.as_ref()),
                Subject::Own if frames < FEWEST_FRAMES => trace.references(),
                Subject::Own => own(trace.numbers(), trace.pages(), frames, false).misses,
            };
            found.push((subject, frames, count));
            done();
        }
        found
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let found: Vec<(usize, u32, u64)> = thread::scope(|scope| {
        let helpers: Vec<_> = (1..processors.min(tasks.len())).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for helper in helpers {
            found.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    let references = trace.references() as f64;
    let curve = |subject: usize| {
        let mut points = vec![Point { frames: 0.0, misses: references }];
        let own = found.iter().filter(|(of, ..)| *of == subject);
        points.extend(
            own.map(|(_, frames, count)| Point { frames: f64::from(*frames), misses: *count as f64 }),
        );
        points.sort_by(|a, b| a.frames.total_cmp(&b.frames));
        Curve::new(points, references, f64::from(trace.pages()))
    };
    Ok((0..subjects.len()).map(curve).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_gets_its_own_curve() {
        let trace = Trace::from_pages((0..8000_u64).map(|n| n * n % 997)).expect("a trace");
        let subjects = [Subject::Policy(PolicyKind::Lru), Subject::Policy(PolicyKind::Opt), Subject::Own];
        let sizes = sizes(trace.pages(), 10);
        let curves = simulated(&trace, &subjects, &sizes, &|| {}).expect("a short trace");
        for size in sizes {
            assert_eq!(curves[0].misses(size.into()), misses(&trace, PolicyKind::Lru, size, None) as f64);
            assert!(curves[1].misses(size.into()) <= curves[0].misses(size.into()));
        }
        assert!(curves[..2].iter().all(|curve| curve.misses(1e9) == f64::from(trace.pages())));
        // It keeps frames free, and so never uses all.
        assert!(curves[2].misses(1e9) > f64::from(trace.pages()));
    }
}
