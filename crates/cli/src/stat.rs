//! `outcore stat`: the numbers of processes, once or again and again.

use crate::report::{feature_words, phase_word};
use crate::runs::{Life, Runs, Sample, one_or_all, why_not};
use crate::size::{grouped, shown};
use crate::trouble::{Trouble, say};
use clap::Args;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;
use sys::histogram::Histogram;

const STAT_EXAMPLES: &str = "\
Examples:
  outcore stat                  every process that runs under outcore, a line each
  outcore stat 4242             everything about one
  outcore stat --interval 1     a line each every second, with what happened in it
  outcore stat --json           every number and histogram

Exit status: 0; 2 if there is no such process, or it cannot be looked at.";

/// What `outcore stat` was asked for.
#[derive(Args, Debug)]
#[command(after_help = STAT_EXAMPLES)]
pub(crate) struct Options {
    /// A process, or all
    #[arg(value_name = "PID|all", default_value = "all")]
    which: String,

    /// Again every so many seconds
    #[arg(long, short, value_name = "SECONDS", value_parser = seconds)]
    interval: Option<f64>,

    /// With --interval, so many times
    #[arg(long, short, value_name = "N", requires = "interval")]
    count: Option<u64>,

    /// Answer in JSON, one array a line
    #[arg(long)]
    json: bool,
}

/// An interval in seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.05..=86_400.0).contains(value));
    value.ok_or_else(|| format!("{text} is not a number of seconds from 0.05 to 86400"))
}

/// `outcore stat`.
///
/// # Errors
/// There is no such process, or it cannot be looked at.
pub(crate) fn stat(options: &Options) -> Result<u8, Trouble> {
    let pid = one_or_all(&options.which)?;
    let mut runs = Runs::default();
    let mut before: Vec<Sample> = Vec::new();
    let mut round = 0;
    loop {
        let mut samples = runs.look();
        if round == 0 && pid.is_none() {
            runs.closed.iter().for_each(|closed| say(&closed.to_string()));
        }
        if let Some(pid) = pid {
            // A process that became another program has several records: the last is its own.
            samples.retain(|sample| sample.pid == pid || sample.supervisor == pid);
            if samples.is_empty() {
                return Err(Trouble::bad_input(why_not(pid, &runs.closed)));
            }
            if round == 0 && options.interval.is_none() {
                its_own(&samples).iter().for_each(|sample| sample.wait_for_map());
            }
            if round > 0 && samples.iter().all(|sample| sample.life == Life::Ended) {
                say(&format!("process {pid} has ended"));
                return Ok(0);
            }
        }
        let text = if options.json {
            format!("{}\n", Value::Array(samples.iter().map(all_numbers).collect()))
        } else if pid.is_some() && options.interval.is_none() {
            its_own(&samples).into_iter().map(about).collect::<Vec<_>>().join("\n")
        } else {
            lines(&samples, &before, round == 0)
        };
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            return crate::trace_verbs::written(Err(error)).map(|()| 0);
        }
        round += 1;
        let Some(interval) = options.interval else { return Ok(0) };
        if options.count.is_some_and(|count| round >= count) {
            return Ok(0);
        }
        before = samples;
        std::thread::sleep(Duration::from_secs_f64(interval));
    }
}

/// Of a process's records the last, which is true, and those of its heaps.
fn its_own(samples: &[Sample]) -> Vec<&Sample> {
    let last = samples.iter().rev().find(|sample| sample.heap() == 0).or(samples.last());
    let heaps = samples.iter().filter(|sample| {
        sample.heap() != 0 && last.is_some_and(|last| last.pid == sample.pid && last.heap() == 0)
    });
    last.into_iter().chain(heaps).collect()
}

/// Every process in a line; those of ended ones only in the first round.
fn lines(samples: &[Sample], before: &[Sample], first: bool) -> String {
    let mut text = String::new();
    if first {
        let _ = writeln!(
            text,
            "{:>7} {:<15} {:<8} {:>9} {:>9} {:>9} {:>10} {:>10} {:>6}",
            "pid", "program", "state", "budget", "heap", "resident", "minor", "major", "wait"
        );
        if samples.is_empty() {
            text.push_str("nothing runs under outcore\n");
        }
    }
    for sample in samples {
        let earlier = before.iter().find(|earlier| sample.follows(earlier));
        if sample.life == Life::Ended && !first {
            continue;
        }
        // Once: since it began. Again: in this interval.
        let count = |name: &str| {
            let now = sample.number(name);
            earlier.map_or(now, |earlier| now.saturating_sub(earlier.number(name)))
        };
        let share = stall_share(sample, earlier).map_or(String::new(), |share| format!("{share:.0} %"));
        let _ = writeln!(
            text,
            "{:>7} {:<15.15} {:<8} {:>9} {:>9} {:>9} {:>10} {:>10} {:>6}",
            sample.pid,
            sample.name,
            state_word(sample),
            shown(sample.number("budget_bytes")),
            shown(sample.number("heap_bytes")),
            shown(sample.resident_bytes()),
            grouped(count("minor_faults")),
            grouped(count("major_faults")),
            share
        );
    }
    text
}

/// What a process is doing.
pub(crate) fn state_word(sample: &Sample) -> &'static str {
    match sample.life {
        Life::Alive => phase_word(sample.phase),
        Life::Ended => "ended",
    }
}

/// The share of time that threads waited for the store, in percent; of several threads together it may be more than
/// 100. Since `earlier`, or else since paging began.
pub(crate) fn stall_share(sample: &Sample, earlier: Option<&Sample>) -> Option<f64> {
    match earlier {
        Some(_) => Some(sample.rate(earlier, "stall_ns") / 1e7),
        None => {
            let began = sample.number("paging_since_ns");
            let paged = sample.number("updated_ns").saturating_sub(began);
            (began > 0 && paged > 0).then(|| sample.number("stall_ns") as f64 * 100.0 / paged as f64)
        }
    }
}

/// Times for people.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{:.1} µs", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// Median, 99 of 100 and 999 of 1000.
pub(crate) fn quantiles(histogram: &Histogram) -> String {
    let at = |share| histogram.per_mille(share).map_or("-".to_owned(), time);
    format!("{:>8} {:>8} {:>8}", at(500), at(990), at(999))
}

/// Everything about one process, for people.
fn about(sample: &Sample) -> String {
    let size = |name: &str| shown(sample.number(name));
    let count = |name: &str| grouped(sample.number(name));
    let pages = |name: &str| shown(sample.number(name) * 4096);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "process {} ({}), {}; run of outcore {}",
        sample.pid,
        sample.name,
        state_word(sample),
        sample.supervisor
    );
    if let Some(message) = &sample.message {
        let _ = writeln!(text, "  it said: {message}");
    }
    let wait = stall_share(sample, None)
        .map_or(String::new(), |share| format!(" ({share:.0} % of the time since paging began)"));
    let waited = format!("{:.1} s{wait}", sample.number("stall_ns") as f64 / 1e9);
    let resident = sample.number("resident_pages").saturating_sub(sample.number("parked_pages")) * 4096;
    let resident_set = match sample.heap() {
        0 => format!("{}, at most {}", size("rss_bytes"), size("peak_rss_bytes")),
        _ => "in that of its process".to_owned(),
    };
    for (name, value) in [
        ("budget", format!("{}, of it frames {}", size("budget_bytes"), pages("frames"))),
        ("resident set", resident_set),
        ("paged heap", format!("{}, at most {}", size("heap_bytes"), size("peak_heap_bytes"))),
        (
            "of it",
            format!(
                "{} resident, {} parked, {} swapped",
                shown(resident),
                pages("parked_pages"),
                pages("swapped_pages")
            ),
        ),
        (
            "faults",
            format!(
                "{} minor, {} major, {} rescues",
                count("minor_faults"),
                count("major_faults"),
                count("rescues")
            ),
        ),
        ("waited", waited),
        ("store", format!("{} written, {} read", size("writeback_bytes"), size("read_bytes"))),
        ("transfers", format!("{} under way, at most {}", count("transfers"), count("peak_transfers"))),
        ("read ahead", format!("{} pages, {} used", count("readahead_pages"), count("readahead_hits"))),
        ("features", feature_words(sample.number("features")).join(", ")),
    ] {
        let _ = writeln!(text, "  {name:<14} {value}");
    }
    let _ =
        writeln!(text, "\n  {:<22} {:>8} {:>8} {:>8} {:>12}", "time of", "median", "99 %", "99.9 %", "count");
    for (name, histogram) in [
        ("a minor fault", &sample.minor),
        ("a wait for the store", &sample.stall),
        ("a read", &sample.read),
        ("a write", &sample.write),
    ] {
        let _ = writeln!(text, "  {name:<22} {} {:>12}", quantiles(histogram), grouped(histogram.count()));
    }
    let parts = sample.parts();
    if !parts.is_empty() {
        let _ = writeln!(
            text,
            "\n  {:<18} {:>10} {:>10} {:>10} {:>10}",
            "area or family", "size", "resident", "parked", "swapped"
        );
        for part in parts.iter().take(12) {
            let pages = |count: u64| shown(count * 4096);
            let _ = writeln!(
                text,
                "  {:<18.18} {:>10} {:>10} {:>10} {:>10}",
                part.name,
                part.used_bytes.map_or_else(|| pages(part.pages), shown),
                pages(part.resident),
                pages(part.parked),
                pages(part.swapped)
            );
        }
    }
    text
}

/// Every number of a process, for programs.
fn all_numbers(sample: &Sample) -> Value {
    let mut object = Map::new();
    for (name, value) in &sample.numbers {
        object.insert((*name).to_owned(), json!(value));
    }
    let histogram = |histogram: &Histogram| {
        let buckets: Vec<_> = histogram
            .buckets()
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| json!([sys::histogram::bucket_start(bucket), count]))
            .collect();
        json!({
            "count": histogram.count(), "sum": histogram.sum(), "median": histogram.per_mille(500),
            "p99": histogram.per_mille(990), "buckets": buckets,
        })
    };
    let parts: Vec<_> = sample
        .parts()
        .iter()
        .map(|part| {
            json!({
                "name": part.name, "pages": part.pages, "resident": part.resident, "parked": part.parked,
                "swapped": part.swapped, "used_bytes": part.used_bytes,
            })
        })
        .collect();
    for (name, value) in [
        ("pid", json!(sample.pid)),
        ("supervisor", json!(sample.supervisor)),
        ("program", json!(sample.name)),
        ("alive", json!(sample.life == Life::Alive)),
        ("phase", json!(phase_word(sample.phase))),
        ("feature_names", json!(feature_words(sample.number("features")))),
        ("message", json!(sample.message)),
        ("minor_fault_ns", histogram(&sample.minor)),
        ("stall_ns_each", histogram(&sample.stall)),
        ("read_ns", histogram(&sample.read)),
        ("write_ns", histogram(&sample.write)),
        ("areas", json!(parts)),
    ] {
        object.insert(name.to_owned(), value);
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::tests::{busy, ended};

    #[test]
    fn lines_and_details_look_as_they_did() {
        let (before, now) = busy();
        let mut text = lines(&[now.clone(), ended()], &[], true);
        text.push_str(&lines(std::slice::from_ref(&now), std::slice::from_ref(&before), false));
        text.push('\n');
        text.push_str(&about(&now));
        crate::golden::check("stat.txt", &text);
    }

    #[test]
    fn json_has_every_number() {
        let value = all_numbers(&busy().1);
        assert_eq!(value["major_faults"], 184_242);
        assert_eq!(value["stall_ns_each"]["count"], 1000);
        assert_eq!(value["alive"], true);
    }

    #[test]
    fn intervals_have_limits() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for text in ["0", "-1", "x", "inf", "nan"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
