//! Samples by contender and phase, their medians and their table.

use super::Options;
use super::contender::Contender;
use super::host::Disk;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One measurement of one phase.
struct Sample {
    who: String,
    phase: String,
    seconds: f64,
    bytes: f64,
    touches: f64,
    swap_ins: f64,
    swap_outs: f64,
}

/// All measurements of a bench.
#[derive(Default)]
pub(crate) struct Results {
    samples: Vec<Sample>,
    /// Who failed at what, and why.
    failures: Vec<(String, String, String)>,
    /// Who finished what.
    finished: Vec<(String, String)>,
}

impl Results {
    /// Reads a program's lines.
    pub(crate) fn add(&mut self, who: &str, text: &str) -> Result<(), String> {
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
            let number = |name: &str| value[name].as_f64().ok_or_else(|| format!("no {name} in {line}"));
            self.samples.push(Sample {
                who: who.to_owned(),
                phase: value["phase"].as_str().unwrap_or_default().to_owned(),
                seconds: number("seconds")?,
                bytes: number("bytes")?,
                touches: number("touches")?,
                swap_ins: number("swap_ins")?,
                swap_outs: number("swap_outs")?,
            });
        }
        Ok(())
    }

    pub(crate) fn failed(&mut self, who: &str, program: &str, why: &str) {
        eprintln!("{who}: {why}");
        self.failures.push((who.to_owned(), program.to_owned(), why.to_owned()));
    }

    pub(crate) fn finished(&mut self, who: &str, program: &str) {
        self.finished.push((who.to_owned(), program.to_owned()));
    }

    /// How many runs failed of how many, per contender and program.
    fn losses(&self) -> Vec<(&str, &str, usize, usize, &str)> {
        let mut losses: Vec<(&str, &str, usize, usize, &str)> = Vec::new();
        for (who, program, why) in &self.failures {
            if losses.iter().any(|loss| (loss.0, loss.1) == (who, program)) {
                continue;
            }
            let failed = self.failures.iter().filter(|other| (&other.0, &other.1) == (who, program)).count();
            let finished =
                self.finished.iter().filter(|other| (&other.0, &other.1) == (who, program)).count();
            losses.push((who, program, failed, failed + finished, why.lines().next().unwrap_or_default()));
        }
        losses
    }

    /// Every phase, in order of appearance.
    pub(crate) fn phases(&self) -> Vec<&str> {
        let mut phases: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !phases.contains(&sample.phase.as_str()) {
                phases.push(&sample.phase);
            }
        }
        phases
    }

    fn values(&self, who: &str, phase: &str, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let chosen = self.samples.iter().filter(|sample| sample.who == who && sample.phase == phase);
        let mut values: Vec<f64> = chosen.map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median of the seconds, if it was measured.
    pub(crate) fn median(&self, who: &str, phase: &str) -> Option<f64> {
        middle(&self.values(who, phase, |sample| sample.seconds))
    }

    /// What a median means: MB/s for phases that handle bytes, else µs a touch.
    fn rate(&self, who: &str, phase: &str) -> Option<String> {
        let seconds = self.median(who, phase)?;
        let sample = self.samples.iter().find(|sample| sample.who == who && sample.phase == phase)?;
        Some(if sample.bytes > 0.0 && !phase.starts_with("sort") && phase != "arrays" {
            format!("{:.0} MB/s", sample.bytes / seconds / 1e6)
        } else if sample.bytes > 0.0 || phase == "objects" {
            format!("{seconds:.2} s")
        } else {
            format!("{:.1} µs", seconds / sample.touches * 1e6)
        })
    }

    /// A table for people: a row a phase, a column a contender, and how many times as
    /// fast Outcore is as the kernel's swap file.
    pub(crate) fn table(&self, contenders: &[Contender]) -> String {
        let mut columns: Vec<&str> = contenders.iter().map(|contender| contender.name()).collect();
        columns.extend(["RAM", "device"]);
        let mut text = format!("\n| {:26} |", "phase (median)");
        columns.iter().for_each(|name| text.push_str(&format!(" {name:>16} |")));
        let _ = write!(text, " {:>12} |\n|{}|", "Outcore is", "-".repeat(28));
        columns.iter().for_each(|_| text.push_str("-----------------:|"));
        text.push_str("-------------:|\n");
        for phase in self.phases() {
            let _ = write!(text, "| {phase:26} |");
            for name in &columns {
                let _ = write!(text, " {:>16} |", self.rate(name, phase).unwrap_or_default());
            }
            let kernel = self.median("kernel swap file", phase);
            // What the kernel's swap is not asked to do is compared with plain memory.
            let fits = self.median("shared file", phase).is_none();
            let against = kernel.or_else(|| self.median("RAM", phase).filter(|_| fits));
            let ratio =
                against.zip(self.median("Outcore", phase)).map(|(other, own)| format!("{:.2}×", other / own));
            let _ = writeln!(text, " {:>12} |", ratio.unwrap_or_default());
        }
        for (who, program, failed, tried, why) in self.losses() {
            let _ = writeln!(text, "{who} did not finish {failed} of {tried} runs of {program}: {why}");
        }
        text
    }

    /// Every sample's statistics, for machines.
    pub(crate) fn json(&self, options: &Options, disk: &Disk) -> Value {
        let mut rows = Vec::new();
        let mut seen = Vec::new();
        for sample in &self.samples {
            let key = (sample.who.as_str(), sample.phase.as_str());
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let seconds = self.values(key.0, key.1, |sample| sample.seconds);
            rows.push(json!({
                "who": key.0, "phase": key.1, "rounds": seconds.len(), "seconds_median": middle(&seconds),
                "seconds_min": seconds.first(), "seconds_max": seconds.last(), "bytes": sample.bytes,
                "touches": sample.touches,
                "swap_ins_median": middle(&self.values(key.0, key.1, |sample| sample.swap_ins)),
                "swap_outs_median": middle(&self.values(key.0, key.1, |sample| sample.swap_outs)),
            }));
        }
        let failures = self
            .failures
            .iter()
            .map(|(who, program, why)| json!({"who": who, "program": program, "why": why}));
        json!({
            "data_mib": options.mib, "ram_mib": options.ram, "disk": disk.describe(), "rows": rows,
            "failures": failures.collect::<Vec<_>>(),
        })
    }
}

/// The median; none of nothing.
pub(super) fn middle(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0) }
}
