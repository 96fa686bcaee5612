//! What one fault costs, kind by kind, and the parts of it that can be had alone.

use measure::faults::{Extent, Figures, paged, parts};
use serde_json::json;
use std::io::Error;

/// Touches of one kind.
const TOUCHES: usize = 20_000;

/// Measures in a process whose `mib` MiB exceed its budget, so that it is paged.
///
/// # Errors
/// Memory is not to be had, or Outcore does not count here.
pub(crate) fn run(mib: usize) -> Result<(), Error> {
    parts::measure(&mut |name, nanoseconds| Figures::of(nanoseconds).into_iter().for_each(|f| row(name, f)))?;
    paged::measure(Extent { mib, samples: TOUCHES }, &mut |kind, measured| match measured {
        Ok(figures) => row(kind.name(), figures),
        Err(why) => eprintln!("{}: {why}", kind.name()),
    })
}

fn row(kind: &str, figures: Figures) {
    let Figures { median_ns, p99_ns, samples } = figures;
    println!("{}", json!({ "kind": kind, "median_ns": median_ns, "p99_ns": p99_ns, "samples": samples }));
}
