//! Leaving out operations that a failure does not need.

use crate::check::{Setup, check};
use machine::script::{Data, Op};

/// An operation of which the model is not told: the test of the shrinker.
pub(crate) const SABOTAGE: Op = Op::Write { addr: u64::MAX, data: Data { pattern: Vec::new(), count: 0 } };

/// The shortest part of `ops` that was found to fail, and how it fails.
pub(crate) fn shrink(setup: &Setup, mut ops: Vec<Op>, mut failure: String) -> (Vec<Op>, String) {
    let mut size = ops.len() / 2;
    while size > 0 {
        let mut start = 0;
        let before = ops.len();
        while start < ops.len() {
            let end = (start + size).min(ops.len());
            let fewer: Vec<Op> = ops[..start].iter().chain(&ops[end..]).cloned().collect();
            match check(setup, &fewer) {
                Err(still) => (ops, failure) = (fewer, still),
                Ok(_) => start = end,
            }
        }
        if size > 1 || ops.len() == before {
            size /= 2;
        }
    }
    (ops, failure)
}
