//! Builds the preload library, so that it can travel inside the `outcore` binary.
//!
//! Cargo cannot yet make one package embed another's cdylib, so a second cargo
//! runs here, in a target directory of its own (the outer one is locked). The
//! library is always optimised: it is the part that programs wait for.
//!
//! Tools that only look at the code (clippy, rust-analyzer) get an empty file
//! in its place; `outcore run` says so when it finds itself built that way.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The preload library's package and everything in this workspace it is made of.
const SOURCES: &[&str] = &["preload", "engine", "heap", "store", "sys", "trace", "pager"];

/// Variables that the outer cargo sets for itself or for this package, and that
/// would make the inner one build something else.
const NOT_FOR_THE_INNER_CARGO: &[&str] = &[
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    announce_inputs(&workspace);
    let library = if only_looking() { placeholder(&out) } else { build(&workspace, &out) };
    println!("cargo::rustc-env=OUTCORE_PRELOAD_LIBRARY={}", library.display());
}

/// Tells the outer cargo when this script has to run again.
fn announce_inputs(workspace: &Path) {
    for file in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(file).display());
    }
    for package in SOURCES {
        let package = workspace.join("crates").join(package);
        for part in ["Cargo.toml", "build.rs", "src"] {
            let part = package.join(part);
            if part.exists() {
                println!("cargo::rerun-if-changed={}", part.display());
            }
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["CLIPPY_ARGS", "RA_RUSTC_WRAPPER", "CARGO_NET_OFFLINE"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
}

/// Whether nothing that is built now will ever be run.
fn only_looking() -> bool {
    ["CLIPPY_ARGS", "RA_RUSTC_WRAPPER"].iter().any(|name| env::var_os(name).is_some())
}

/// An empty file, apart from the real one so that neither replaces the other.
fn placeholder(out: &Path) -> PathBuf {
    let path = out.join("no-preload-library");
    std::fs::write(&path, []).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}

/// Builds the library and returns where it is.
fn build(workspace: &Path, out: &Path) -> PathBuf {
    let target_dir = out.join("preload");
    let (host, target) = (variable("HOST"), variable("TARGET"));
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--package", "preload", "--target-dir"])
        .arg(&target_dir);
    if env::var_os("CARGO_NET_OFFLINE").is_some_and(|value| value == "true" || value == "1") {
        cargo.arg("--offline");
    }
    let mut library = target_dir;
    if host != target {
        cargo.args(["--target", &target]);
        library.push(&target);
    }
    for name in NOT_FOR_THE_INNER_CARGO {
        cargo.env_remove(name);
    }
    // Every start of a program compares and maps these bytes; panics name their
    // file and line without it.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the preload library did not build ({status}); its errors are above"),
        Err(error) => panic!("cannot run cargo for the preload library: {error}"),
    }
    library.join("release").join("liboutcore_preload.so")
}

/// A variable that cargo always sets for build scripts.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo did not set {name}: {error}"))
}
