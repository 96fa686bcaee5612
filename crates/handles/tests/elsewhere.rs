//! The heap needs nothing but the standard library: it is checked for other systems, where the
//! compiler has what that takes, and its sources and dependencies are looked at everywhere.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Whether the standard library of `target` is installed.
fn has(target: &str) -> bool {
    let output = rustc().args(["--print", "target-libdir", "--target", target]).output().expect("rustc runs");
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some())
}

fn check(target: &str) {
    if !has(target) {
        println!("SKIPPED: no standard library for {target}; `rustup target add {target}` brings it");
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "check",
        "--quiet",
        "--locked",
        "--package",
        "handles",
        "--package",
        "handles-c",
        "--target",
        target,
    ]);
    cargo.arg("--target-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("elsewhere"));
    let output = cargo.current_dir(CRATE).output().expect("cargo runs");
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[cfg_attr(miri, ignore = "runs cargo")]
fn it_compiles_for_windows_and_macos() {
    check("x86_64-pc-windows-gnu");
    check("aarch64-apple-darwin");
}

/// All sources of this crate and of the core.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![Path::new(CRATE).join("src"), Path::new(CRATE).join("../pager/src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("a source");
                found.push((path, text));
            }
        }
    }
    found
}

/// Where the compiler has nothing for other systems, this is what is left to say: system-specific
/// names occur in the swap file only, where every system has its variant.
#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn nothing_of_one_system_is_used() {
    let sources = sources();
    assert!(sources.len() > 40, "{} sources", sources.len());
    for (path, text) in sources {
        for name in ["libc::", "rustix", "std::os::linux", "/proc", "/dev/", "extern \"C\"", "unsafe {"] {
            assert!(!text.contains(name), "{} uses {name}", path.display());
        }
        let is_swap_file = path.ends_with("swap_file.rs");
        for name in ["std::os::unix", "std::os::windows"] {
            assert_eq!(text.contains(name), is_swap_file, "{} and {name}", path.display());
        }
        if is_swap_file {
            for system in ["#[cfg(unix)]", "#[cfg(windows)]", "#[cfg(not(any(unix, windows)))]"] {
                assert!(text.matches(system).count() >= 2, "{system}");
            }
        }
    }
    let manifest = fs::read_to_string(Path::new(CRATE).join("Cargo.toml")).expect("a manifest");
    let needed = manifest
        .split_once("[dependencies]")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .expect("a section")
        .0;
    assert_eq!(needed.trim(), "pager.workspace = true\ntwox-hash.workspace = true");
}
