//! Any bytes as a trace: they are read or refused with a place that is there, never worse; and what is read
//! can be replayed under every policy, none of which beats OPT.

#![no_main]

use libfuzzer_sys::fuzz_target;
use machine::replay::{Format, Trace, TraceError, grid};
use pager::PolicyKind;

const FORMATS: [Format; 3] = [Format::Auto, Format::Text, Format::U64Le];
/// Longer traces replay the same code for longer.
const REPLAYED: u64 = 2000;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    match Trace::read(bytes, FORMATS[usize::from(*how) % FORMATS.len()]) {
        Ok(trace) if trace.references() <= REPLAYED => replay(&trace, u32::from(how / 3) + 1),
        Ok(_) | Err(TraceError::Empty) => {}
        Err(TraceError::Malformed { line, column, .. } | TraceError::TooLarge { line, column }) => {
            let line = bytes.split(|byte| *byte == b'\n').nth(line as usize - 1).expect("the line is there");
            assert!(line.len() >= column as usize, "the column is there");
        }
        Err(TraceError::Torn { bytes: count }) => {
            assert!(count == bytes.len() as u64 && count % 8 != 0);
        }
        Err(error) => panic!("{error}"),
    }
});

fn replay(trace: &Trace, frames: u32) {
    let rows = grid(trace, &PolicyKind::ALL, &[frames]).expect("a short trace");
    let least = rows.last().expect("OPT is the last").misses;
    assert!(rows.iter().all(|row| (least..=trace.references()).contains(&row.misses)), "{rows:?}");
    assert!(least >= u64::from(trace.pages()));
}
