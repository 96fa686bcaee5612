//! The C examples, compiled and run against the static library and, by the flags of the
//! pkg-config file, against the shared one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn include() -> PathBuf {
    Path::new(ROOT).join("include")
}

/// A program, and how to tell whether it has said what it should.
#[derive(Clone, Copy)]
struct Example {
    name: &'static str,
    check: fn(&Output),
}

const EXAMPLES: [Example; 5] = [
    Example { name: "families", check: check_families },
    Example { name: "paged", check: check_paged },
    Example { name: "mapped", check: check_mapped },
    Example { name: "backed", check: check_backed },
    Example { name: "shared", check: check_shared },
];

impl Example {
    fn source(self) -> PathBuf {
        Path::new(ROOT).join("../../examples/c").join(self.name).with_extension("c")
    }
}

/// What cargo has built for this test.
fn library(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let library = test.with_file_name(name);
    assert!(library.exists(), "{} is built with this test", library.display());
    library
}

fn compile<A: AsRef<OsStr>>(compiler: &str, arguments: impl IntoIterator<Item = A>) {
    let output = Command::new(compiler).args(["-Wall", "-Wextra", "-Werror"]).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
}

fn check_paged(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    assert_eq!(
        out,
        "refused: outcore_enable: there is no pager: call outcore_init first\n\
         refused: outcore_init: the store directory /nowhere does not exist; create it or choose another\n\
         refused: outcore_init: the pager was started before\n\
         mapping: 64 MiB written and read, 0 words wrong\n\
         status: initialized 1, enabled 1, budget 8 MiB, mapped 64 MiB\n\
         within the budget: yes; to the store: all the rest\n\
         refused: oc_mmap: there are no pages for 209715200 bytes\n\
         in the end: enabled 0, mapped 0, in the store 0\n\
         list: 131072 nodes of 131072 right\n"
    );
}

fn check_mapped(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    assert_eq!(
        out,
        "refused: oc_map_open: /nowhere/at/all: No such file or directory (os error 2)\n\
         refused: oc_map_open: the offset 5 is no multiple of the page size, 4096 bytes\n\
         refused: oc_map_file: -1 is no descriptor\n\
         32 MiB mapped, the sum is 8796090925056\n\
         refused: oc_map_flush: bytes 33554432..33554433 are not all of the map, which has 33554432\n\
         on the disk: 0 of 4194304 numbers wrong\n"
    );
}

fn check_backed(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert_eq!(
        out,
        "refused: oc_map_backing: there is no function that supplies pages\n\
         squares: 8388608 of 8388608 right, 64 MiB in a budget of 8\n\
         notes: refused by the shelf, and still there: changed\n\
         notes: taken back: changed\n\
         ended: 2 of 2\n"
    );
    assert!(err.starts_with("outcore: the shelf did not take back the bytes from 0 on: "), "{err}");
}

fn check_shared(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    assert_eq!(
        out,
        "refused: oc_arena_attach: there is no arena named \"no-such-arena\": create it first (as it should be)\n\
         refused: oc_arena_create_shared: \"a/b\" cannot be an arena's name, because it has a slash: \
         give 1 to 64 bytes without slashes (as it should be)\n\
         refused: oc_arena_create_shared: an arena of 0 bytes cannot be shared: \
         give 1 to 1099511627776 bytes (as it should be)\n\
         the other process read what was written: yes\n\
         64 MiB changed by it and read here, 0 words wrong\n\
         budget 8 MiB, kept: yes; members 1, orphaned 0\n\
         discarded: the first word is 0\n\
         refused: oc_arena_attach: there is no arena named \"no-such-arena\": create it first (as it should be)\n\
         refused: oc_arena_create_shared: a budget of its own and one to share: give either (as it should be)\n\
         2 share a budget of 16 MiB, all of it: yes\n\
         refused: two cannot do with 4 MiB\n\
         the budget is 32 MiB now\n"
    );
}

fn check_families(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for expected in [
        "object bytes alignment  family\n           1        16  bytes\n          36         4  emp_t\n          56         8  student_t\n",
        "family emp_t, objects of 36 bytes\n  blocks: 1 free, 3 used, 4 in all\n",
        "  bytes: 108 used, 3988 free\n",
        "family student_t, objects of 56 bytes\n  blocks: 1 free, 1 used, 2 in all\n",
        "  bytes: 1680 used, 2416 free\n",
        "      36       36  free        0       72  0x",
        r#"[{"name":"emp_t","object_bytes":36,"pages":1,"page_bytes":4096,"kernel_calls":2,"blocks":4,"#,
        "refused: xcalloc: no family is named \"long\": register it with OC_REGISTER(long)\n",
        "a mark lies in a student, 432 bytes into its block of 1680\n",
        "in the end:\nfamily emp_t, objects of 36 bytes\n  blocks: 0 free, 0 used, 0 in all\n  pages: 0 with 0 bytes",
    ] {
        assert!(out.contains(expected), "{expected:?} is not in:\n{out}");
    }
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 2, "{err}");
    assert!(lines[0].starts_with("outcore: xfree: 0x") && lines[0].ends_with(" is free already"), "{err}");
    assert!(lines[1].contains(" lies 392 bytes into the block at 0x"), "{err}");
}

#[test]
fn the_examples_run_with_the_static_library() {
    let dir = TempDir::new().expect("a directory");
    for example in EXAMPLES {
        let program = dir.path().join(example.name);
        let arguments: Vec<PathBuf> = vec![
            "-std=c11".into(),
            "-pedantic".into(),
            "-I".into(),
            include(),
            example.source(),
            library("liboutcore.a"),
            "-lgcc_s".into(),
            "-lpthread".into(),
            "-lm".into(),
            "-ldl".into(),
            "-o".into(),
            program.clone(),
        ];
        compile("gcc", arguments);
        (example.check)(&Command::new(&program).current_dir(dir.path()).output().expect("the example runs"));
    }
}

/// The value of a field of a pkg-config file, its variables put in.
fn field(file: &str, name: &str) -> String {
    let value = |name: &str, mark: char| {
        let line = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(mark));
        line.unwrap_or_else(|| panic!("no {name} in:\n{file}")).trim().to_owned()
    };
    let mut text = value(name, ':');
    while let Some(start) = text.find("${") {
        let end = start + text[start..].find('}').expect("a variable ends");
        text = text.replace(&text[start..=end], &value(&text[start + 2..end], '='));
    }
    text
}

#[test]
fn the_examples_run_with_the_shared_library_by_the_pkg_config_file() {
    let dir = TempDir::new().expect("a directory");
    for name in ["lib", "include"] {
        std::fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    for name in ["outcore.h", "outcore_macros.h"] {
        std::fs::copy(include().join(name), dir.path().join("include").join(name)).expect("a header");
    }
    std::fs::copy(library("liboutcore.so"), dir.path().join("lib/liboutcore.so")).expect("the library");
    let template = std::fs::read_to_string(Path::new(ROOT).join("outcore.pc.in")).expect("a template");
    let prefix = dir.path().to_str().expect("a path of text");
    let file = template.replace("@PREFIX@", prefix).replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    assert!(!file.contains('@') && field(&file, "Version") == env!("CARGO_PKG_VERSION"));
    let flags = format!("{} {}", field(&file, "Cflags"), field(&file, "Libs"));
    for example in EXAMPLES {
        let program = dir.path().join(example.name);
        let source = example.source();
        let mut arguments: Vec<&OsStr> = vec![source.as_os_str()];
        arguments.extend(flags.split_whitespace().map(OsStr::new));
        arguments.extend([OsStr::new("-o"), program.as_os_str()]);
        compile("gcc", arguments);
        let mut run = Command::new(&program);
        let output = run.env("LD_LIBRARY_PATH", dir.path().join("lib")).current_dir(dir.path()).output();
        (example.check)(&output.expect("the example runs"));
    }
}

#[test]
fn the_headers_are_cpp_as_well() {
    let header = include().join("outcore_macros.h");
    let arguments = ["-std=c++11", "-fsyntax-only", "-x", "c++"].map(OsStr::new);
    compile(
        "g++",
        arguments.into_iter().chain([OsStr::new("-include"), header.as_os_str(), OsStr::new("/dev/null")]),
    );
}
