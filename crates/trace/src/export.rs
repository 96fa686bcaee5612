//! Traces for other programs: CSV, and the Trace Event Format that Perfetto and Chrome open.

use crate::TICK_NS;
use crate::decode::Stamped;
use crate::event::{Direction, Ending, Event, Outcome};
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};

/// Writes events as comma-separated values, with a line of names.
pub mod csv {
    use super::{Event, Stamped, TICK_NS, Write, io};

    /// The line of names.
    ///
    /// # Errors
    /// What writing says.
    pub fn begin(into: &mut impl Write) -> io::Result<()> {
        writeln!(into, "time_ns,pid,thread,event,page,count,detail")
    }

    /// One event of process `pid`; times are counted from `start`.
    ///
    /// # Errors
    /// What writing says.
    pub fn add(into: &mut impl Write, start: u64, pid: u32, stamped: &Stamped) -> io::Result<()> {
        let time = stamped.time.saturating_sub(start) * TICK_NS;
        let fields = super::fields(&stamped.event);
        let thread = if matches!(stamped.event, Event::Touch { .. }) { stamped.thread } else { 0 };
        let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
        let page = fields.page.map_or(String::new(), |page| format!("{page:#x}"));
        let (name, count, detail) = (fields.name, number(fields.count), fields.detail);
        writeln!(into, "{time},{pid},{thread},{name},{page},{count},{detail}")
    }
}

/// An event in columns.
struct Fields {
    name: &'static str,
    page: Option<u64>,
    count: Option<u64>,
    detail: String,
}

fn fields(event: &Event) -> Fields {
    let of = |name, page, count, detail: String| Fields { name, page, count, detail };
    match *event {
        Event::Touch { page, outcome } => of("touch", Some(page), None, outcome.name().into()),
        Event::Code { addr } => of("code", None, None, format!("{addr:#x}")),
        Event::Caller { addr } => of("caller", None, None, format!("{addr:#x}")),
        Event::Area { start, count, rights } => of("area", Some(start), Some(count), format!("{rights:?}")),
        Event::Gone { start, count, why } => of("gone", Some(start), Some(count), format!("{why:?}")),
        Event::Moved { from, to, count } => of("moved", Some(from), Some(count), format!("to {to:#x}")),
        Event::Protected { start, count, rights } => {
            of("protected", Some(start), Some(count), format!("{rights:?}"))
        }
        Event::Change { start, count, begins } => {
            of("change", Some(start), Some(count), if begins { "begins" } else { "ends" }.into())
        }
        Event::Held { start, count } => of("held", Some(start), Some(count), String::new()),
        Event::Frames { limit } => of("frames", None, Some(limit.into()), String::new()),
        Event::Park { count, found } => of("park", None, Some(count.into()), format!("{found:?}")),
        Event::Stay { page, why } => of("stay", Some(page), None, format!("{why:?}")),
        Event::Along { start, count } => of("along", Some(start), Some(count), String::new()),
        Event::Sampled { page } => of("sampled", Some(page), None, String::new()),
        Event::Sweep { most } => of("sweep", None, Some(most.into()), String::new()),
        Event::Fates { count, fate } => of("fates", None, Some(count.into()), fate.name().into()),
        Event::Start { page, count, direction } => {
            of("start", Some(page), Some(count.into()), direction.name().into())
        }
        Event::End { age, ending } => of("end", None, Some(age.into()), format!("{ending:?}")),
        Event::Refused { count, writes } => {
            of("refused", None, Some(count.into()), if writes { "writes" } else { "reads" }.into())
        }
        Event::Unmapped { page } => of("unmapped", Some(page), None, String::new()),
        Event::Poisoned { page } => of("poisoned", Some(page), None, String::new()),
        Event::Evicted { start, count, fate } => of("evicted", Some(start), Some(count), fate.name().into()),
        Event::Sample { resident, parked, swapped, rss_bytes } => {
            let detail = format!("parked {parked} swapped {swapped} rss_bytes {rss_bytes}");
            of("sample", None, Some(resident), detail)
        }
        Event::Forked => of("forked", None, None, String::new()),
    }
}

/// Writes events as Chrome trace events (the JSON object form).
#[derive(Debug)]
pub struct Chrome<W> {
    into: W,
    start: u64,
    first: bool,
    named: BTreeSet<(u32, u32)>,
    /// Transfers told of so far.
    transfers: u64,
    /// Transfers under way of the process whose block is read: when they began, and what they are.
    under_way: VecDeque<Option<(u64, u64, u32, Direction)>>,
    pid: u32,
}

/// Begins to write Chrome trace events; times are counted from `start`.
///
/// # Errors
/// What writing says.
pub fn chrome<W: Write>(mut into: W, start: u64) -> io::Result<Chrome<W>> {
    write!(into, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    Ok(Chrome {
        into,
        start,
        first: true,
        named: BTreeSet::new(),
        transfers: 0,
        under_way: VecDeque::new(),
        pid: 0,
    })
}

/// Transfers that are remembered until they end.
const MOST_UNDER_WAY: usize = 256;

impl<W: Write> Chrome<W> {
    fn micros(&self, time: u64) -> f64 {
        (time.saturating_sub(self.start) * TICK_NS) as f64 / 1e3
    }

    fn object(&mut self, text: &str) -> io::Result<()> {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        write!(self.into, "{comma}\n{{{text}}}")
    }

    fn name(&mut self, pid: u32, thread: u32, name: &str) -> io::Result<()> {
        if !self.named.insert((pid, thread)) {
            return Ok(());
        }
        self.object(&format!(
            "\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{pid},\"tid\":{thread},\"args\":{{\"name\":\"{name}\"}}"
        ))
    }

    /// Adds an event of process `pid`.
    ///
    /// # Errors
    /// What writing says.
    pub fn add(&mut self, pid: u32, stamped: &Stamped) -> io::Result<()> {
        if pid != self.pid {
            self.under_way.clear();
            self.pid = pid;
        }
        let at = self.micros(stamped.time);
        match stamped.event {
            Event::Touch { page, outcome } => {
                let thread = stamped.thread;
                self.name(pid, thread, &format!("thread {thread}"))?;
                let kind = match outcome {
                    Outcome::Reference => "reference",
                    outcome if outcome.is_major() => "major fault",
                    _ => "minor fault",
                };
                self.object(&format!(
                    "\"ph\":\"i\",\"s\":\"t\",\"name\":\"{kind}\",\"cat\":\"fault\",\"ts\":{at:.1},\"pid\":{pid},\
                     \"tid\":{thread},\"args\":{{\"page\":\"{page:#x}\",\"outcome\":\"{}\"}}",
                    outcome.name()
                ))
            }
            Event::Start { page, count, direction } => {
                if self.under_way.len() == MOST_UNDER_WAY {
                    self.under_way.pop_front();
                }
                self.under_way.push_back(Some((stamped.time, page, count, direction)));
                Ok(())
            }
            Event::End { age, ending } => {
                let index = self.under_way.len().checked_sub(age as usize + 1);
                let Some(entry) = index.and_then(|index| self.under_way.get_mut(index)) else { return Ok(()) };
                let Some((began, page, count, direction)) = entry.take() else { return Ok(()) };
                let (from, took) = (self.micros(began), self.micros(stamped.time) - self.micros(began));
                // Transfers overlap: each gets an asynchronous track of its own.
                let id = self.transfers;
                self.transfers += 1;
                let name = direction.name();
                let failed = ending != Ending::Done;
                let common = format!("\"name\":\"{name}\",\"cat\":\"transfer\",\"pid\":{pid},\"tid\":0,\"id\":\"{id:#x}\"");
                self.object(&format!(
                    "\"ph\":\"b\",{common},\"ts\":{from:.1},\"args\":{{\"page\":\"{page:#x}\",\"pages\":{count},\
                     \"failed\":{failed}}}"
                ))?;
                self.object(&format!("\"ph\":\"e\",{common},\"ts\":{:.1}", from + took))
            }
            Event::Evicted { start, count, fate } => self.object(&format!(
                "\"ph\":\"i\",\"s\":\"p\",\"name\":\"evicted\",\"cat\":\"eviction\",\"ts\":{at:.1},\"pid\":{pid},\
                 \"tid\":0,\"args\":{{\"page\":\"{start:#x}\",\"pages\":{count},\"held\":\"{}\"}}",
                fate.name()
            )),
            Event::Sample { resident, parked, swapped, .. } => self.object(&format!(
                "\"ph\":\"C\",\"name\":\"pages\",\"ts\":{at:.1},\"pid\":{pid},\"tid\":0,\
                 \"args\":{{\"resident\":{resident},\"parked\":{parked},\"swapped\":{swapped}}}"
            )),
            Event::Gone { start, count, .. } => self.object(&format!(
                "\"ph\":\"i\",\"s\":\"p\",\"name\":\"discarded\",\"cat\":\"program\",\"ts\":{at:.1},\"pid\":{pid},\
                 \"tid\":0,\"args\":{{\"page\":\"{start:#x}\",\"pages\":{count}}}"
            )),
            _ => Ok(()),
        }
    }

    /// Ends the document.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(mut self) -> io::Result<()> {
        writeln!(self.into, "\n]}}")?;
        self.into.flush()
    }
}
