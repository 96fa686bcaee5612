//! A timed part of a program, and what moved during it.

use serde_json::json;
use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Page counts so far: this process's under Outcore, else the whole machine's.
struct Counts {
    ins: u64,
    outs: u64,
}

impl Counts {
    fn now() -> Self {
        own_record().unwrap_or_else(machine)
    }
}

/// From the status page that `outcore run` made, if it did.
fn own_record() -> Option<Counts> {
    let page = sys::status::StatusPage::open(std::env::var_os("OUTCORE_STATUS")?.as_ref())?;
    let record = page.find(std::process::id())?;
    Some(Counts { ins: record.swap_ins.load(Relaxed), outs: record.swap_outs.load(Relaxed) })
}

fn machine() -> Counts {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0);
    Counts { ins: field("pswpin "), outs: field("pswpout ") }
}

/// Times `work`, which handles `bytes` or makes so many `touches`, and prints it.
pub(crate) fn phase(name: &str, bytes: usize, touches: usize, work: impl FnOnce()) {
    let before = Counts::now();
    let start = Instant::now();
    work();
    let seconds = start.elapsed().as_secs_f64();
    let after = Counts::now();
    println!(
        "{}",
        json!({
            "phase": name, "seconds": seconds, "bytes": bytes, "touches": touches,
            "swap_ins": after.ins - before.ins, "swap_outs": after.outs - before.outs,
        })
    );
}
