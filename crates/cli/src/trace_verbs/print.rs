//! `outcore trace print`.

use crate::symbols::Symbols;
use crate::traces;
use crate::trouble::Trouble;
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;
use trace::{BlockKind, Event, Stamped, TICK_NS};

/// What `outcore trace print` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The trace; - for standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// Only this process
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Only touches, with their code where it is known
    #[arg(long)]
    touches: bool,
}

/// `outcore trace print`.
///
/// # Errors
/// Nothing of the trace can be read, or the answer cannot be written.
pub(crate) fn print(options: &Options) -> Result<u8, Trouble> {
    // Names need the modules, which come when they are known: after the first events.
    let modules = traces::read(&options.trace, |_, _| {}, |_| {});
    let modules = if options.trace == std::path::Path::new("-") { Ok(Default::default()) } else { modules };
    let modules: traces::Contents = modules?;
    let mut open = traces::open(&options.trace)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut start = None;
    let mut symbols = Symbols::new(Vec::new());
    let mut of = None;
    let mut code = String::new();
    while let Some(block) = open.next_block() {
        let pid = block.head.pid;
        if block.head.kind != BlockKind::Events || options.pid.is_some_and(|only| only != pid) {
            continue;
        }
        if of != Some(pid) {
            let modules = modules.processes.get(&pid).map(|process| process.modules.clone());
            symbols = Symbols::new(modules.unwrap_or_default());
            of = Some(pid);
        }
        for stamped in block.events() {
            let start = *start.get_or_insert(stamped.time);
            let line = match stamped.event {
                Event::Code { addr } => {
                    code = format!("  {}", symbols.name(addr));
                    continue;
                }
                Event::Caller { addr } => {
                    code.push_str(&format!(" < {}", symbols.name(addr)));
                    continue;
                }
                Event::Touch { .. } => {
                    let line = line(start, pid, &stamped) + &code;
                    code.clear();
                    line
                }
                _ if options.touches => continue,
                _ => line(start, pid, &stamped),
            };
            if let Err(error) = writeln!(out, "{line}") {
                return super::written(Err(error)).map(|()| 0);
            }
        }
    }
    super::written(out.flush())?;
    drop(open);
    Ok(super::status(modules.problems))
}

/// One event for people.
fn line(start: u64, pid: u32, stamped: &Stamped) -> String {
    let seconds = stamped.time.saturating_sub(start) as f64 * TICK_NS as f64 / 1e9;
    let what = match stamped.event {
        Event::Touch { page, outcome } => {
            format!("thread {} touches p{page:x}: {}", stamped.thread, outcome.name())
        }
        Event::Area { start, count, rights } => format!("area p{start:x}+{count} {rights:?}"),
        Event::Gone { start, count, why } => format!("gone p{start:x}+{count} {why:?}"),
        Event::Moved { from, to, count } => format!("moved p{from:x}+{count} to p{to:x}"),
        Event::Protected { start, count, rights } => format!("rights p{start:x}+{count} {rights:?}"),
        Event::Change { start, count, begins: true } => format!("change of p{start:x}+{count} begins"),
        Event::Change { start, count, .. } => format!("change of p{start:x}+{count} ends"),
        Event::Held { start, count } => format!("held p{start:x}+{count}"),
        Event::Frames { limit } => format!("frames {limit}"),
        Event::Park { count, .. } => format!("park {count}"),
        Event::Stay { page, why } => format!("stays p{page:x} {why:?}"),
        Event::Along { start, count } => format!("mapped along p{start:x}+{count}"),
        Event::Sampled { page } => format!("sampled p{page:x}"),
        Event::Sweep { most } => format!("sweep {most}"),
        Event::Fates { count, fate } => format!("found {count} {}", fate.name()),
        Event::Start { page, count, direction } => format!("{} p{page:x}+{count} begins", direction.name()),
        Event::End { age, ending } => format!("transfer {age} ends: {ending:?}"),
        Event::Refused { count, writes } => {
            format!("no room for {count} {}", if writes { "writes" } else { "reads" })
        }
        Event::Unmapped { page } => format!("not mapped p{page:x}"),
        Event::Poisoned { page } => format!("lost p{page:x}"),
        Event::Evicted { start, count, fate } => format!("evicted p{start:x}+{count} {}", fate.name()),
        Event::Sample { resident, parked, swapped, rss_bytes } => {
            format!(
                "pages: {resident} resident, {parked} parked, {swapped} swapped; resident set {rss_bytes} bytes"
            )
        }
        Event::Forked => "forked".to_owned(),
        Event::Code { .. } | Event::Caller { .. } => String::new(),
    };
    format!("{seconds:>12.7} {pid} {what}")
}
