//! What a bench of faults found, as a table, as JSON, and as a picture.

use super::costs;
use crate::draw::{Bar, Bars, time};
use crate::size::{grouped, shown};
use machine::Costs;
use measure::faults::{Figures, Kind, Measured};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug)]
pub(super) struct Answer {
    ram_bytes: u64,
    data_bytes: u64,
    dir: PathBuf,
    outcore: BTreeMap<Kind, Measured>,
    kernel: BTreeMap<Kind, Measured>,
    machine: BTreeMap<Kind, u64>,
    fitted: BTreeMap<Kind, u64>,
    costs: Costs,
}

/// Why there is nothing to measure of a kind, by Outcore or by the kernel.
fn why_not(kind: Kind, kernel: bool) -> &'static str {
    match (kind, kernel) {
        (Kind::Stack, false) => "not paged, their growth is the kernel's",
        (Kind::Parked, true) => "references are noted in the page table, without a fault",
        (Kind::Handle, true) => "there are none",
        _ => "it was not measured",
    }
}

impl Answer {
    /// Nothing yet.
    pub(super) fn new(ram_bytes: u64, data_bytes: u64, dir: &Path) -> Self {
        Self {
            ram_bytes,
            data_bytes,
            dir: dir.to_path_buf(),
            outcore: BTreeMap::new(),
            kernel: BTreeMap::new(),
            machine: BTreeMap::new(),
            fitted: BTreeMap::new(),
            costs: Costs::default(),
        }
    }

    /// What a part has measured.
    pub(super) fn add(&mut self, kernel: bool, measured: BTreeMap<Kind, Measured>) {
        if kernel { &mut self.kernel } else { &mut self.outcore }.extend(measured);
    }

    /// What the simulated machine says: by default, and with costs that fit.
    pub(super) fn simulated(
        &mut self,
        machine: BTreeMap<Kind, u64>,
        fitted: BTreeMap<Kind, u64>,
        costs: Costs,
    ) {
        (self.machine, self.fitted, self.costs) = (machine, fitted, costs);
    }

    /// Medians of what the simulated machine is to do as well: Outcore's, or the kernel's where Outcore has none.
    pub(super) fn to_fit(&self) -> BTreeMap<Kind, u64> {
        let median = |measured: &Measured| measured.as_ref().ok().map(|figures| figures.median_ns);
        let of = |kind: &Kind| {
            let own = self.outcore.get(kind).and_then(median);
            own.or_else(|| self.kernel.get(kind).and_then(median))
        };
        Kind::ALL.iter().filter_map(|kind| Some((*kind, of(kind)?))).collect()
    }

    /// What was measured of a kind, or why nothing was.
    fn measured(&self, kind: Kind, kernel: bool) -> Result<Figures, &str> {
        let from = if kernel { &self.kernel } else { &self.outcore };
        match from.get(&kind) {
            Some(Ok(figures)) => Ok(*figures),
            Some(Err(why)) => Err(why),
            None => Err(why_not(kind, kernel)),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} of data in {} of RAM, the rest in {}\n\n",
            shown(self.data_bytes),
            shown(self.ram_bytes),
            self.dir.display()
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<30} {:>17}  {:>17}  {:>17}", "", "Outcore", "the kernel", "the machine");
        let _ = writeln!(
            text,
            "{:<30} {:>8} {:>8}  {:>8} {:>8}  {:>8} {:>8}",
            "", "median", "99 %", "median", "99 %", "default", "fitted"
        );
        let mut notes = Vec::new();
        for kind in Kind::ALL {
            let mut columns = Vec::new();
            for kernel in [false, true] {
                let measured = self.measured(kind, kernel);
                columns.extend(match measured {
                    Ok(figures) => [time(figures.median_ns), time(figures.p99_ns)],
                    Err(_) => ["-".to_owned(), "-".to_owned()],
                });
                if let Err(why) = measured {
                    let who = if kernel { "the kernel" } else { "Outcore" };
                    notes.push((who, kind, why));
                }
            }
            let simulated =
                |from: &BTreeMap<Kind, u64>| from.get(&kind).map_or("-".to_owned(), |ns| time(*ns));
            columns.extend([simulated(&self.machine), simulated(&self.fitted)]);
            let [median, p99, kernel, kernel_p99, machine, fitted] = &columns[..] else { continue };
            let _ = writeln!(
                text,
                "{:<30} {median:>8} {p99:>8}  {kernel:>8} {kernel_p99:>8}  {machine:>8} {fitted:>8}",
                kind.name()
            );
        }
        text.push('\n');
        while let Some((who, _, why)) = notes.first().copied() {
            // Kinds that are missing for the same reason, together.
            let same = |note: &(&str, Kind, &str)| (note.0, note.2) == (who, why);
            let kinds: Vec<&str> = notes.iter().filter(|note| same(note)).map(|note| note.1.name()).collect();
            let _ = writeln!(text, "- {who}, {}: {why}", kinds.join("; "));
            notes.retain(|note| !same(note));
        }
        text.push_str("- the machine brings in one page at a time, and has no handles\n\n");
        let Costs { fault, zero, stack, copy, mapped, file, latency, bandwidth } = self.costs;
        let _ = writeln!(
            text,
            "Costs with which the machine takes as long as this one, in ns: fault {}; besides: zeros {}, stack {}, copy {}, \
             mapped {}, file {}; disk: first byte {}, then {}/s",
            grouped(fault),
            grouped(zero),
            grouped(stack),
            grouped(copy),
            grouped(mapped),
            grouped(file),
            grouped(latency),
            shown(bandwidth)
        );
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let one = |kind: Kind, kernel: bool| match self.measured(kind, kernel) {
            Ok(Figures { median_ns, p99_ns, samples }) => {
                json!({ "median_ns": median_ns, "p99_ns": p99_ns, "samples": samples })
            }
            Err(why) => json!({ "missing": why }),
        };
        let row = |kind: Kind| {
            json!({
                "kind": kind.name(),
                "outcore": one(kind, false),
                "kernel": one(kind, true),
                "machine_ns": self.machine.get(&kind),
                "fitted_ns": self.fitted.get(&kind),
            })
        };
        let kinds: Vec<Value> = Kind::ALL.into_iter().map(row).collect();
        let all = json!({
            "data_bytes": self.data_bytes,
            "ram_bytes": self.ram_bytes,
            "store": self.dir.to_string_lossy(),
            "kinds": kinds,
            "costs": costs::json(self.costs),
        });
        format!("{all}\n")
    }

    /// To look at.
    pub(super) fn picture(&self) -> Bars {
        let measured = |kind: Kind, kernel: bool| {
            let figures = self.measured(kind, kernel).ok()?;
            Some(Bar { median_ns: figures.median_ns, p99_ns: Some(figures.p99_ns) })
        };
        let fitted = |kind: Kind| self.fitted.get(&kind).map(|ns| Bar { median_ns: *ns, p99_ns: None });
        let row = |kind: Kind| {
            (kind.name().to_owned(), vec![measured(kind, false), measured(kind, true), fitted(kind)])
        };
        Bars {
            title: format!("faults: {} of data in {} of RAM", shown(self.data_bytes), shown(self.ram_bytes)),
            whose: ["Outcore", "the kernel", "the machine, fitted"].map(String::from).to_vec(),
            rows: Kind::ALL.into_iter().map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit::tests::MEASURED;
    use super::super::{fit, model};
    use super::*;

    fn example() -> Answer {
        let mut answer = Answer::new(64 << 20, 256 << 20, Path::new("/var/tmp"));
        let figures = |median_ns| Ok(Figures { median_ns, p99_ns: 4 * median_ns, samples: 5000 });
        let measured = |kinds: &[(Kind, u64)]| {
            kinds.iter().map(|(kind, median)| (*kind, figures(*median))).collect::<BTreeMap<_, _>>()
        };
        answer.add(false, measured(&[&MEASURED[..], &[(Kind::Handle, 21)]].concat()));
        answer.add(true, measured(&[(Kind::ZeroFill, 1_100), (Kind::Stack, 1_300), (Kind::File, 88_000)]));
        answer.add(true, BTreeMap::from([(Kind::SwapIn, Err("no swap space is on".to_owned()))]));
        let costs = fit::fit(&answer.to_fit());
        answer.simulated(model::figures(Costs::default()).unwrap(), model::figures(costs).unwrap(), costs);
        answer
    }

    #[test]
    fn the_table_looks_as_it_did() {
        crate::golden::check("bench-faults.txt", &example().text());
    }

    #[test]
    fn the_json_has_every_kind_and_says_why_one_is_missing() {
        let answer: Value = serde_json::from_str(&example().json()).unwrap();
        let kinds = answer["kinds"].as_array().unwrap();
        assert_eq!(kinds.len(), Kind::ALL.len());
        let of = |kind: Kind| kinds.iter().find(|row| row["kind"] == kind.name()).unwrap();
        assert_eq!(of(Kind::SwapIn)["outcore"]["median_ns"], 81_700);
        assert_eq!(of(Kind::SwapIn)["kernel"]["missing"], "no swap space is on");
        assert_eq!(of(Kind::SwapIn)["fitted_ns"], 81_700);
        assert_eq!(of(Kind::Handle)["machine_ns"], Value::Null);
        assert!(of(Kind::Stack)["outcore"]["missing"].as_str().unwrap().contains("not paged"));
        assert_eq!(answer["costs"]["fault_ns"], 1_300);
    }
}
