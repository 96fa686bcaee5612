//! How many accesses a second the machine serves that hit, faults before them not counted.
//!
//! `cargo run --release -p machine --example hits`

use machine::{Machine, Settings};
use std::hint::black_box;
use std::time::Instant;

const ACCESSES: u64 = 50_000_000;
const PAGES: u64 = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings { frames: PAGES + 1, page_size: 4096, ..Settings::default() };
    let base = settings.base;
    let mut machine = Machine::new(settings)?;
    machine.create(0, 1).map_err(|error| error.to_string())?;
    machine.switch(1).map_err(|error| error.to_string())?;
    for page in 0..PAGES {
        machine.map().map_err(|error| error.to_string())?;
        machine.store(base + page * 4096, 1).map_err(|error| format!("{error:?}"))?;
    }
    let start = Instant::now();
    let mut sum = 0_u64;
    // Every access goes to another page than the one before.
    for n in 0..ACCESSES {
        let addr = base + (n * 4099) % (PAGES * 4096);
        sum += u64::from(machine.load(black_box(addr)).map_err(|error| format!("{error:?}"))?);
    }
    let seconds = start.elapsed().as_secs_f64();
    let million = ACCESSES as f64 / seconds / 1e6;
    println!("{million:.1} million accesses a second that hit ({ACCESSES} in {seconds:.2} s, sum {sum})");
    Ok(())
}
