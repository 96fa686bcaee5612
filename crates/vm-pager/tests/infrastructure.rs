//! The library behind infrastructures in C and C++: `programs/infrastructure.c` plays the hardware and the disk,
//! and checks what the pager does. It is built as C with the pager's header, and as C++ with declarations of
//! its own and the shim.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const SIGABRT: i32 = 6;

/// Where the libraries are. Cargo does not say where it has put those of the package that is tested, so they
/// are built into a directory of their own.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-pager");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        let mut command = Command::new(cargo);
        command.args(["build", "--locked", "--package", "vm-pager", "--target-dir"]).arg(&target);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CARGO_BUILD_TARGET");
        succeeds(&mut command);
        target.join("debug")
    })
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    output
}

/// A compiler, with what every program needs; the sources and the library are to be added.
fn compiler(name: &str, standard: &str) -> Command {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(name);
    command.args([standard, "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I"]).arg(package.join("include"));
    command.current_dir(package.join("tests/programs"));
    command
}

/// Finishes the command of a compiler; the program.
fn program(mut command: Command, dir: &Path) -> PathBuf {
    let program = dir.join("infrastructure");
    command.args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program);
    succeeds(&mut command);
    program
}

#[track_caller]
fn every_check_holds(program: &Path) {
    let output = succeeds(&mut Command::new(program));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "every check holds\n");
}

fn in_c(dir: &Path) -> PathBuf {
    let mut command = compiler("cc", "-std=c11");
    command.args(["-Wpedantic", "infrastructure.c"]).arg(libraries().join("libvm_pager.a"));
    program(command, dir)
}

#[test]
fn in_c_with_the_static_library() {
    let dir = tempfile::tempdir().unwrap();
    every_check_holds(&in_c(dir.path()));
}

#[test]
fn in_c_with_the_shared_library() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = compiler("cc", "-std=c11");
    command.arg("infrastructure.c").arg("-L").arg(libraries()).arg("-lvm_pager");
    command.arg(format!("-Wl,-rpath,{}", libraries().display()));
    every_check_holds(&program(command, dir.path()));
}

#[test]
fn in_cpp_through_the_shim() {
    for count in ["unsigned int", "size_t"] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = compiler("c++", "-std=c++17");
        command.arg(format!("-DCOUNT={count}")).args([
            "-x",
            "c++",
            "infrastructure.c",
            "shim.cpp",
            "-x",
            "none",
        ]);
        command.arg(libraries().join("libvm_pager.a"));
        every_check_holds(&program(command, dir.path()));
    }
}

/// What no call can answer stops the program, and says why.
#[test]
fn what_cannot_be_answered_stops_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = in_c(dir.path());
    for (what, why) in [
        ("early", "outcore: vm_switch: called before vm_init\n"),
        ("small", "outcore: vm_init: 1 pages of memory: there must be 2 (one holds zeros) to 1048576\n"),
        ("large", "outcore: vm_init: 4294967295 pages of memory: "),
        ("swap", "outcore: vm_init: 4294967295 swap blocks: at most 134217728 are possible\n"),
        ("reenter", "outcore: vm_destroy: called during another call: one thread at a time"),
    ] {
        let output = Command::new(&program).arg(what).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{what}: {stderr}");
        assert!(stderr.starts_with(why), "{what}: {stderr}");
    }
}
