//! The scripts of `tests/scripts`: what the pager does, line by line. See [`common`] for how
//! they say what is expected.

mod common;

use std::fs;
use std::path::Path;

/// Runs every script; each has its own files.
#[test]
fn every_script_does_what_it_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut count = 0;
    let mut paths: Vec<_> =
        fs::read_dir(&directory).expect("scripts").map(|entry| entry.expect("a script").path()).collect();
    paths.sort();
    for path in paths {
        let script = fs::read_to_string(&path).expect("a script");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let files = tempfile::tempdir().expect("a directory");
        common::write_files(files.path(), common::settings(&script, files.path()).page_size);
        println!("{name}");
        common::run(&name, &script, files.path());
        count += 1;
    }
    assert!(count >= 20, "only {count} scripts were found");
}

/// The same with pages of 4 KiB: addresses scale with the page size, and nothing else changes.
#[test]
fn scripts_without_options_of_their_own_run_the_same_with_small_pages() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("scripts") {
        let path = entry.expect("a script").path();
        let script = fs::read_to_string(&path).expect("a script");
        if script.starts_with("#!") && script.lines().next().expect("a line").contains("--page") {
            continue;
        }
        let first = script.lines().next().expect("a line");
        let options = first.strip_prefix("#!").unwrap_or_default();
        let small = format!("#! --page 4K --arena 1M {options}\n{}", scale(&script));
        let files = tempfile::tempdir().expect("a directory");
        common::write_files(files.path(), 4096);
        common::run(&path.display().to_string(), &small, files.path());
        count += 1;
    }
    assert!(count >= 10, "only {count} scripts were found");
}

/// Every hexadecimal number, from pages of 64 KiB to pages of 4 KiB: lengths and offsets of whole
/// pages, and addresses, which keep their distance from the nearer end of their page.
fn scale(script: &str) -> String {
    let mut text = String::new();
    let mut rest = script;
    while let Some(at) = rest.find("0x") {
        text.push_str(&rest[..at]);
        let hex: String = rest[at + 2..].chars().take_while(char::is_ascii_hexdigit).collect();
        let number = u64::from_str_radix(&hex, 16).expect("digits");
        text.push_str(&format!("{:#x}", scale_number(number)));
        rest = &rest[at + 2 + hex.len()..];
    }
    text.push_str(rest);
    text
}

fn scale_number(number: u64) -> u64 {
    const OLD: u64 = 65536;
    const NEW: u64 = 4096;
    // The zones of addresses in the scripts begin at multiples of this.
    const ZONE: u64 = 1 << 28;
    let offset = number % ZONE;
    if number < 1 << 32 {
        return if number.is_multiple_of(OLD) { number / OLD * NEW } else { number };
    }
    if offset > ZONE - ZONE / 16 {
        // Just below a zone.
        return number;
    }
    let (page, within) = (offset / OLD, offset % OLD);
    let within = if within >= OLD / 2 { within - (OLD - NEW) } else { within };
    number - offset + page * NEW + within
}
