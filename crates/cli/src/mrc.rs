//! `outcore mrc`: how much memory a program needs.

use crate::draw::{Curves, Line, Mark, Output, on_terminal};
use crate::progress::{Progress, Unit};
use crate::size::{grouped, shown};
use crate::touches::Touches;
use crate::trouble::Trouble;
use clap::Args;
use machine::curves::{Curve, Lru, Shards, Subject, simulated, sizes};
use pager::PolicyKind;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use trace::Source;

pub(crate) const LONG_ABOUT: &str = "\
Draw miss-ratio curves: how often a program misses, for every size of memory.

The curve of LRU comes from one pass over the trace, exact, or with --shards from a sample of its pages. Other \
policies are simulated at --sizes sizes; opt knows the future and is the bound that none beats, and outcore is the \
live pager's own. What is read off the LRU curve: where it bends most (the knee), what no memory avoids (first touches), \
and with --waiting how much memory it takes to wait less.

A trace of a run has the touches of pages that were not mapped. With less memory than the run had, more touches would have \
missed than are in it: below the budget the curve is too low, and says so. 'outcore run --trace-access' samples \
references besides; then the curve of LRU is good for all sizes. Complete traces ('outcore trace import') are as well.";

/// What `outcore mrc` was asked for.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The trace; - for standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// The process, if there are several [default: the one with the most touches]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Other curves: policies, opt, or outcore
    #[arg(long, value_name = "P[,P…]", value_delimiter = ',', value_parser = subject)]
    policy: Vec<Named>,

    /// Sizes at which other policies are simulated
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1000))]
    sizes: u32,

    /// Take the curve of LRU from a sample of at most so many pages [default: exact]
    #[arg(long, value_name = "PAGES", num_args = 0..=1, default_missing_value = "8192", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shards: Option<u32>,

    /// Say how much memory it takes to spend less than this share of the time waiting
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    waiting: Option<f64>,

    /// Draw the curves in this file: .svg or .png; may be repeated
    #[arg(long, short, value_name = "FILE")]
    output: Vec<PathBuf>,

    /// Answer in JSON, with the points of the curves
    #[arg(long)]
    json: bool,
}

/// A policy that can be simulated, as it is named.
#[derive(Clone, Copy, Debug)]
struct Named(Subject);

fn subject(text: &str) -> Result<Named, String> {
    if text == "outcore" {
        return Ok(Named(Subject::Own));
    }
    match text.parse::<PolicyKind>() {
        Ok(kind) => Ok(Named(Subject::Policy(kind))),
        Err(error) => Err(format!("{error}, outcore")),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let value = text.trim_end_matches('%').trim().parse::<f64>();
    value
        .ok()
        .filter(|value| *value > 0.0 && *value < 100.0)
        .ok_or_else(|| format!("{text} is not a share between 0 and 100 %"))
}

/// A curve with its name.
struct Found {
    name: String,
    curve: Curve,
    exact_everywhere: bool,
}

/// `outcore mrc`.
///
/// # Errors
/// The trace cannot be read, or a picture not be written.
pub(crate) fn mrc(options: &Options) -> Result<u8, Trouble> {
    let outputs = options.output.iter().map(|path| Output::named(path)).collect::<Result<Vec<_>, _>>()?;
    let touches = Touches::read(&options.trace, options.pid)?;
    let found = curves(options, &touches)
        .map_err(|why| Trouble::bad_input(format!("{}: {why}", options.trace.display())))?;
    let picture = picture(&touches, &found);
    for (path, output) in options.output.iter().zip(outputs) {
        output.write(&picture, path)?;
    }
    let text = if options.json {
        json(options, &touches, &found)
    } else {
        text(options, &touches, &found, &picture)
    };
    crate::trace_verbs::written(std::io::stdout().write_all(text.as_bytes()))?;
    Ok(crate::trace_verbs::status(touches.contents.problems))
}

/// The curve of LRU alone.
pub(crate) fn lru(touches: &Touches, shards: Option<u32>) -> Curve {
    if let Source::Samples(one_in) = touches.contents.header.source {
        let mut lru = Lru::new(0);
        let mut numbers = pager::PageMap::default();
        for page in touches.sampled(one_in) {
            let next = numbers.len() as u32;
            lru.touch(numbers.get_or_insert(page, next));
        }
        return lru.curve(one_in);
    }
    let numbers = touches.trace.numbers();
    match shards {
        None => {
            let mut lru = Lru::new(touches.trace.pages());
            numbers.iter().for_each(|page| lru.touch(*page));
            lru.curve(1)
        }
        Some(most) => {
            let mut shards = Shards::new(most as usize);
            let mut distinct = 0;
            for page in numbers {
                // Pages are numbered in the order of their first references.
                distinct = distinct.max(u64::from(*page) + 1);
                shards.touch((*page).into(), distinct);
            }
            shards.curve()
        }
    }
}

fn curves(options: &Options, touches: &Touches) -> Result<Vec<Found>, String> {
    let sampled = matches!(touches.contents.header.source, Source::Samples(_));
    let name = match options.shards {
        Some(most) if !sampled => format!("lru (sample of {} pages)", grouped(most.into())),
        _ if sampled => "lru (sampled references)".to_owned(),
        _ => "lru".to_owned(),
    };
    let mut found = vec![Found { name, curve: lru(touches, options.shards), exact_everywhere: true }];
    let subjects: Vec<Subject> = options.policy.iter().map(|named| named.0).collect();
    if subjects.is_empty() {
        return Ok(found);
    }
    let sizes = sizes(touches.trace.pages(), options.sizes);
    let progress = Progress::new("simulating", (subjects.len() * sizes.len()) as u64, Unit::Steps);
    let curves = simulated(&touches.trace, &subjects, &sizes, &|| progress.add(1));
    progress.finish();
    let curves = curves.map_err(|error| error.to_string())?;
    found.extend(subjects.into_iter().zip(curves).map(|(subject, curve)| Found {
        name: subject.name().to_owned(),
        curve,
        exact_everywhere: false,
    }));
    Ok(found)
}

/// The picture of the curve of LRU, with what is read off it.
pub(crate) fn picture_of(touches: &Touches, curve: Curve) -> Curves {
    picture(touches, &[Found { name: "lru".to_owned(), curve, exact_everywhere: true }])
}

fn picture(touches: &Touches, found: &[Found]) -> Curves {
    let page = touches.contents.header.page_bytes as f64;
    let lines = found.iter().map(|found| {
        let points = found.curve.points().iter();
        Line {
            name: found.name.clone(),
            points: points
                .map(|point| (point.frames * page, point.misses / found.curve.references()))
                .collect(),
            steps: found.exact_everywhere,
        }
    });
    let first = &found[0].curve;
    let budget = touches.contents.header.budget_bytes as f64;
    let mut marks = Vec::new();
    if budget > 0.0 {
        marks.push(Mark { name: "the run's budget".into(), at: budget });
    }
    if let Some(knee) = knee(touches, first) {
        marks.push(Mark { name: "knee".into(), at: knee });
    }
    let end = found.iter().map(|found| found.curve.end() * page).fold(1.06 * budget, f64::max) * 1.03;
    Curves {
        title: format!("{}: misses by memory", touches.name()),
        lines: lines.collect(),
        marks,
        floor: first.floor() / first.references(),
        valid_from: touches.valid_from().map(|bytes| bytes as f64),
        end: end.max(page),
    }
}

/// The knee in bytes, if the curve is good there.
fn knee(touches: &Touches, curve: &Curve) -> Option<f64> {
    let page = touches.contents.header.page_bytes as f64;
    let knee = curve.knee()?.frames * page;
    touches.valid_from().is_none_or(|from| knee >= from as f64).then_some(knee)
}

/// How much memory it takes to wait less than a share of the time, if any does.
struct Waiting {
    share_now: f64,
    miss_seconds: f64,
    needed: Option<f64>,
}

/// What a miss costs is what it cost in the run; what the program does besides takes as long with any memory.
fn waiting(touches: &Touches, curve: &Curve, percent: f64) -> Option<Waiting> {
    let process = &touches.process;
    let stalls = process.number("stall_ns")? as f64 / 1e9;
    let majors = process.number("major_faults").filter(|majors| *majors > 0)? as f64;
    let threads = touches.threads.max(1) as f64;
    let works = (process.seconds() * threads - stalls).max(1e-6);
    let miss_seconds = stalls / majors;
    let share = percent / 100.0;
    // waits / (waits + works) = share
    let most = works * share / (1.0 - share) / miss_seconds;
    let frames = curve.frames_for(curve.floor() + most);
    let page = touches.contents.header.page_bytes as f64;
    let valid = touches.valid_from().map_or(0.0, |from| from as f64);
    Some(Waiting {
        share_now: stalls / (stalls + works),
        miss_seconds,
        needed: frames.map(|frames| (frames * page).max(valid)),
    })
}

fn text(options: &Options, touches: &Touches, found: &[Found], picture: &Curves) -> String {
    let page = touches.contents.header.page_bytes as f64;
    let curve = &found[0].curve;
    let bytes = |value: f64| shown(value.round() as u64);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} references to {} pages, {}\n",
        touches.name(),
        grouped(curve.references() as u64),
        grouped(curve.floor() as u64),
        bytes(curve.floor() * page),
    );
    text.push_str(&on_terminal(picture, 78, 18));
    let _ = writeln!(text);
    let percent = |ratio: f64| format!("{:.2} %", ratio * 100.0);
    let budget = touches.contents.header.budget_bytes as f64;
    if budget > 0.0 {
        let ratio = curve.ratio((budget / page).floor());
        let _ = writeln!(text, "the run's budget   {:>10}   {:>8} miss", bytes(budget), percent(ratio));
    }
    match knee(touches, curve) {
        Some(knee) => {
            let ratio = curve.ratio((knee / page).round());
            let _ = writeln!(text, "knee               {:>10}   {:>8} miss", bytes(knee), percent(ratio));
        }
        None => drop(writeln!(text, "knee                     none")),
    }
    let floor = curve.floor() / curve.references();
    let _ = writeln!(
        text,
        "all that helps     {:>10}   {:>8} miss",
        bytes(curve.end() * page),
        percent(curve.ratio(curve.end()))
    );
    let _ = writeln!(text, "first touches                   {:>8}", percent(floor));
    if let Some(share) = options.waiting {
        let _ = match waiting(touches, curve, share) {
            None => writeln!(text, "waiting: the trace does not say how long the run waited"),
            Some(Waiting { share_now, miss_seconds, needed }) => {
                let now = format!(
                    "the run waited {:.1} % of its threads' time, {:.0} µs a miss",
                    share_now * 100.0,
                    miss_seconds * 1e6
                );
                match needed {
                    Some(needed) => writeln!(text, "to wait less than {share} %: {} ({now})", bytes(needed)),
                    None => writeln!(text, "to wait less than {share} %: no memory is enough ({now})"),
                }
            }
        };
    }
    if let Some(from) = touches.valid_from() {
        let _ = writeln!(
            text,
            "\nThis is a trace of faults: touches of mapped pages are not in it, so it is valid at or above the run's \
             budget of {} only. For less memory: outcore run --trace-access 32.",
            shown(from)
        );
    }
    text
}

fn json(options: &Options, touches: &Touches, found: &[Found]) -> String {
    let page = touches.contents.header.page_bytes as f64;
    let curve = &found[0].curve;
    let points = |curve: &Curve| -> Vec<_> {
        curve
            .points()
            .iter()
            .map(|point| json!([point.frames * page, point.misses / curve.references()]))
            .collect()
    };
    let curves: Vec<_> =
        found.iter().map(|found| json!({ "name": found.name, "points": points(&found.curve) })).collect();
    let waiting = options.waiting.and_then(|share| {
        let waiting = waiting(touches, curve, share)?;
        Some(json!({
            "percent": share, "percent_in_the_run": waiting.share_now * 100.0,
            "seconds_a_miss": waiting.miss_seconds, "bytes": waiting.needed,
        }))
    });
    let answer = json!({
        "program": touches.contents.header.program, "pid": touches.pid, "page_bytes": page,
        "references": curve.references(), "pages": curve.floor(),
        "budget_bytes": touches.contents.header.budget_bytes, "valid_from_bytes": touches.valid_from(),
        "knee_bytes": knee(touches, curve), "all_that_helps_bytes": curve.end() * page,
        "floor": curve.floor() / curve.references(), "waiting": waiting, "curves": curves,
    });
    format!("{answer}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_between_none_and_all() {
        assert_eq!(percent("5"), Ok(5.0));
        assert_eq!(percent("2.5%"), Ok(2.5));
        for text in ["0", "100", "-3", "x", ""] {
            assert!(percent(text).is_err(), "{text}");
        }
        assert!(subject("lirs").is_ok() && subject("outcore").is_ok());
        assert!(subject("mru").unwrap_err().contains("outcore"));
    }
}
