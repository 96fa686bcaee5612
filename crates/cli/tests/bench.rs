//! `outcore bench`, on real memory and a real disk.

use std::process::{Command, Output};

fn outcore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outcore")).args(arguments).output().expect("outcore runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every kind is measured, each side by itself, and the simulated machine takes as long with the costs that are written.
#[test]
fn every_kind_of_fault_is_measured() {
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (svg, png, costs) = (at("faults.svg"), at("faults.png"), at("costs.json"));
    let bench = ["bench", "faults", "--ram", "16M", "--data", "64M", "--samples", "300", "--json"];
    let output = outcore(&[&bench[..], &["-o", &svg, "-o", &png, "--fit", &costs]].concat());
    if text(&output.stderr).contains("userfaultfd") && std::env::var_os("CI").is_none() {
        return eprintln!("SKIPPED: {}", text(&output.stderr));
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "no terminal, no bar: {}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let kinds = answer["kinds"].as_array().expect("kinds");
    let mut measured = 0;
    for row in kinds {
        let kind = row["kind"].as_str().expect("a name");
        for side in ["outcore", "kernel"] {
            let figures = &row[side];
            if let Some(why) = figures["missing"].as_str() {
                let expected = match (side, kind) {
                    ("outcore", "stack growth") | ("kernel", "parked" | "handle check") => true,
                    ("kernel", kind) => kind.starts_with("swap-in") && why.contains("swap"),
                    _ => false,
                };
                assert!(expected, "{side}, {kind}: {why}");
                continue;
            }
            let number = |name: &str| figures[name].as_u64().expect("a number");
            assert!(
                number("samples") > 0 && number("median_ns") <= number("p99_ns"),
                "{side}, {kind}: {row}"
            );
            measured += 1;
        }
    }
    assert!(measured >= 20, "{measured} of {kinds:?}");
    let median = |kind: &str, side: &str| {
        let row = kinds.iter().find(|row| row["kind"] == kind).expect("a kind");
        row[side]["median_ns"].as_u64().or(row[side].as_u64()).expect("a number")
    };
    assert!(median("swap-in, alone", "outcore") > median("handle check", "outcore"));
    for kind in ["zero fill, alone", "parked", "swap-in, alone"] {
        let (real, fitted) = (median(kind, "outcore"), median(kind, "fitted_ns"));
        assert!(real.abs_diff(fitted) <= 1 + real / 100, "{kind}: {real} and {fitted}");
    }
    assert!(std::fs::read_to_string(&svg).expect("a picture").starts_with("<svg"));
    assert!(std::fs::read(&png).expect("a picture").starts_with(b"\x89PNG"));

    // The machine takes them: a first write costs a zero fill.
    let script = at("script.oc");
    std::fs::write(&script, "create 0 1\nswitch 1\nmap\nwrite 0x600000000 \"x\"\nstats\n").expect("a script");
    let run = outcore(&["machine", "run", "--page", "4K", "--costs", &costs, &script]);
    let expected = format!("time           {} ns", median("zero fill, alone", "fitted_ns") + 1);
    assert!(text(&run.stdout).contains(&expected), "{expected}: {}", text(&run.stdout));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, says) in [
        (&["--ram", "64M", "--data", "64M"][..], "at least twice --ram 64M"),
        (&["--ram", "1M"], "at least 16M"),
        (&["--samples", "3"], "100..=1000000"),
        (&["--store", "memory"], "so that there is a disk"),
        (&["-o", "faults.gif"], ".svg or .png"),
    ] {
        let output = outcore(&[&["bench", "faults"][..], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("outcore: ") && said.contains(says), "{arguments:?}: {said}");
    }
    let output = outcore(&["machine", "run", "--costs", "/dev/null", "/dev/null"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--costs /dev/null"), "{}", text(&output.stderr));
}
