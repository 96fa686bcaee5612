//! The header and the libraries, as a C compiler sees them.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// Where cargo has put the libraries: beside this test, or one level up.
fn library(name: &str) -> PathBuf {
    let exe = env::current_exe().expect("a running program");
    let deps = exe.parent().expect("a directory");
    let places = [deps.join(name), deps.with_file_name(name)];
    places
        .iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is not in {}", deps.display()))
        .clone()
}

fn has(compiler: &str) -> bool {
    let found = Command::new(compiler).arg("--version").output().is_ok();
    if !found {
        assert!(env::var_os("CI").is_none(), "{compiler} is needed");
        println!("SKIPPED: no {compiler}");
    }
    found
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

fn compiler(name: &str, standard: &str) -> Command {
    let mut command = Command::new(name);
    command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread", "-I"]);
    command.arg(Path::new(CRATE).join("include"));
    command
}

/// Compiles the scenario, linked to one of the libraries, and runs it.
fn scenario(kind: &str, link: impl Fn(&mut Command)) {
    if !has("cc") {
        return;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kind);
    std::fs::create_dir_all(&dir).expect("a directory");
    let (program, swap) = (dir.join("scenario"), dir.join("swap"));
    let _ = std::fs::remove_file(&swap);
    let mut command = compiler("cc", "-std=c11");
    command.arg(Path::new(CRATE).join("tests/scenario.c")).arg("-o").arg(&program);
    link(&mut command);
    run(&mut command);
    let mut program = Command::new(program);
    assert_eq!(run(program.arg(&swap)), "every call is as it should be\n");
    assert!(!swap.exists(), "the swap file is removed");
}

#[test]
#[cfg(target_os = "linux")]
fn a_c_program_with_the_static_library() {
    scenario("static", |command| {
        command.arg(library("liboutcore_pm.a")).args(["-ldl", "-lm"]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_c_program_with_the_shared_library() {
    let library = library("liboutcore_pm.so");
    let dir = library.parent().expect("a directory");
    scenario("shared", |command| {
        command.arg(&library).arg(format!("-Wl,-rpath,{}", dir.display()));
    });
}

#[test]
fn the_header_is_cpp_as_well() {
    if !has("c++") {
        return;
    }
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.cpp");
    let text = "#include \"outcore_pm.h\"\nint main() { return pm_malloc(1) != nullptr; }\n";
    std::fs::write(&source, text).expect("a file");
    run(compiler("c++", "-std=c++11").args(["-fsyntax-only"]).arg(&source));
}

/// The names after `before` in `text`, up to a parenthesis or an equals sign.
fn names(text: &str, before: &str) -> BTreeSet<String> {
    let after = text.match_indices(before).map(|(at, _)| &text[at + before.len() - 3..]);
    after.map(|rest| rest.split(['(', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// What the header declares is what there is, and the numbers of the errors are the same.
#[test]
fn the_header_declares_what_the_library_has() {
    let read = |path: &str| std::fs::read_to_string(Path::new(CRATE).join(path)).expect("a file");
    let (header, lib, error) = (read("include/outcore_pm.h"), read("src/lib.rs"), read("src/error.rs"));
    let comments_gone: String =
        header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, rest)| rest)).collect();
    let declared: BTreeSet<String> = comments_gone
        .lines()
        .filter_map(|line| line.split_once("pm_")?.1.split_once('(').map(|(name, _)| format!("pm_{name}")))
        .map(|name| name.rsplit([' ', '*']).next().unwrap_or_default().to_owned())
        .collect();
    let defined = names(&(lib + &error), "extern \"C\" fn pm_");
    assert_eq!(declared, defined);
    assert_eq!(defined.len(), 15);
    let numbers = |text: &str, marker: &str| -> Vec<i32> {
        let lines = text.lines().filter(|line| line.trim_start().starts_with(marker) || marker.is_empty());
        lines
            .filter_map(|line| line.split_once(" = ")?.1.split([',', ' ']).next()?.trim().parse().ok())
            .collect()
    };
    let of_header = numbers(&comments_gone, "PM_E");
    let of_code =
        error.split_once("enum Code {").and_then(|(_, rest)| rest.split_once('}')).expect("an enum").0;
    assert_eq!(of_header, numbers(of_code, ""));
    assert_eq!(of_header, (1..=12).collect::<Vec<_>>());
}
