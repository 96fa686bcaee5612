//! Scripts with the options they are to be run with, and what each line is to do.
//!
//! The first line may be `#! OPTIONS`, those of `outcore machine run`. After an operation,
//! `#= EVENTS` and `#= EVENTS | PAGES` say exactly which faults and transfers it takes (`-`: none)
//! and what the page table says then: `#= fault w 0x600000000; read letters 0 | 0:rw:1 1:-:-`.
//! A fault that is not served is `fault!`.

use machine::script::{Line, parse};
use machine::{Outcome, Ran, Runner, Settings, Writeback};
use pager::Commit;
use std::fs;
use std::path::Path;

/// The settings that a script's first line asks for.
pub(crate) fn settings(script: &str, files: &Path) -> Settings {
    let mut settings = Settings { files: files.to_path_buf(), ..Settings::default() };
    let Some(options) = script.lines().next().and_then(|line| line.strip_prefix("#!")) else {
        return settings;
    };
    let words: Vec<&str> = options.split_whitespace().collect();
    for pair in words.chunks(2) {
        let number = || {
            let text = pair[1].trim_end_matches(['K', 'M']);
            let unit =
                [("K", 10), ("M", 20)].iter().find(|(unit, _)| pair[1].ends_with(unit)).map_or(0, |u| u.1);
            text.parse::<u64>().expect("a number") << unit
        };
        match pair[0] {
            "--frames" => settings.frames = number(),
            "--slots" => settings.slots = number(),
            "--page" => settings.page_size = number(),
            "--arena" => settings.arena = number(),
            "--stack-max" => settings.stack.most = number(),
            "--stack-slack" => settings.stack.slack = number(),
            "--policy" => settings.policy = pair[1].parse().expect("a policy"),
            "--commit" => settings.commit = if pair[1] == "lazy" { Commit::Lazy } else { Commit::Strict },
            "--writeback" => {
                settings.writeback = if pair[1] == "evict" { Writeback::Evict } else { Writeback::Exit };
            }
            other => panic!("option {other} is not known here"),
        }
    }
    settings
}

/// `letters`, four blocks of `a` to `d`; `short`, ten digits; `locked`, which is read-only.
pub(crate) fn write_files(directory: &Path, page_size: u64) {
    let blocks: Vec<u8> = (0..4 * page_size).map(|at| b'a' + (at / page_size) as u8).collect();
    fs::write(directory.join("letters"), blocks).expect("a file");
    fs::write(directory.join("short"), "0123456789").expect("a file");
    let locked = directory.join("locked");
    fs::write(&locked, vec![b'L'; page_size as usize]).expect("a file");
    let mut permissions = fs::metadata(&locked).expect("a file").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).expect("a file");
}

/// Runs a script, checks every law after every operation, and that all is as expected.
pub(crate) fn run(name: &str, script: &str, files: &Path) -> Runner {
    let lines = parse(script.as_bytes()).unwrap_or_else(|error| panic!("{name}:{error}"));
    let mut runner = Runner::new(settings(script, files)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for line in &lines {
        let outcome = runner.step(line);
        runner.machine().check();
        let place = format!("{name}:{}: {}", line.number, line.op);
        assert_ne!(runner.ran(), Ran::Unexpected, "{place}: {:?}", outcome.reason);
        compare(&place, script, line, &outcome);
    }
    assert_eq!(runner.ran(), Ran::Well, "{name}");
    runner
}

fn compare(place: &str, script: &str, line: &Line, outcome: &Outcome) {
    let text = script.lines().nth(line.number as usize - 1).expect("the line is there");
    let Some((_, wanted)) = text.split_once("#=") else { return };
    let (events, pages) =
        wanted.split_once('|').map_or((wanted, None), |(events, pages)| (events, Some(pages)));
    let faults = outcome
        .faults
        .iter()
        .map(|(addr, access, ret)| format!("fault{} {access} {addr:#x}", if *ret < 0 { "!" } else { "" }));
    let io = outcome
        .io
        .iter()
        .map(|(direction, name, block)| format!("{direction} {} {block}", String::from_utf8_lossy(name)));
    let found: Vec<String> = faults.chain(io).collect();
    let found = if found.is_empty() { "-".into() } else { found.join("; ") };
    assert_eq!(events.trim(), found, "{place}: faults and transfers");
    if let Some(pages) = pages {
        let found: Vec<String> = outcome.ptes.iter().map(ToString::to_string).collect();
        let wanted: Vec<&str> = pages.split_whitespace().collect();
        assert_eq!(wanted, found, "{place}: page table");
    }
}
