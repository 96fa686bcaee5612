//! Any bytes as a recorded trace: what is whole is read, the rest is named, and what has been read can be replayed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use machine::replay::{Alone, Rerun};
use trace::{Event, Header, Reader, Writer};

/// Larger areas and stores take memory, not other paths.
const LARGE: u64 = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    // With a header of its own, or with a whole one before the bytes.
    let Some((how, bytes)) = bytes.split_first() else { return };
    let mut file = Vec::new();
    if how % 2 == 0 {
        let header = Header { page_bytes: 4096, ..Header::default() };
        Writer::new(&mut file, &header).expect("a vector takes bytes").finish().expect("it does");
    }
    file.extend_from_slice(bytes);
    let Ok(mut reader) = Reader::open(&file[..]) else { return };
    let slots = reader.header().slots.clamp(1, LARGE as u32);
    let header = Header { slots, ..reader.header().clone() };
    let (mut rerun, mut alone) = (Rerun::new(&header), Alone::new(&header));
    while let Some(block) = reader.next_block() {
        block.events().map(|stamped| stamped.event).filter(is_small).for_each(|event| {
            rerun.apply(&event);
            alone.apply(&event);
        });
    }
});

fn is_small(event: &Event) -> bool {
    match *event {
        Event::Area { start, count, .. } | Event::Held { start, count } => start < LARGE && count < LARGE,
        Event::Moved { from, to, count } => from < LARGE && to < LARGE && count < LARGE,
        Event::Frames { limit } => u64::from(limit) < LARGE,
        _ => true,
    }
}
