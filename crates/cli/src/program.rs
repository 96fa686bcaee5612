//! Finding the program, and what keeps it from being run with a preloaded library.

use crate::elf::{self, Finding};
use crate::trouble::Trouble;
use rustix::fs::{Access, access, getxattr};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is searched without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Scripts may be interpreted by scripts, as often as the kernel allows.
const MAX_SCRIPTS: u32 = 4;

/// The longest first line of a script that the kernel reads.
const MAX_FIRST_LINE: u64 = 256;

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// The file that `name` stands for: itself if it has a slash, else the first
/// executable of that name in the directories of `path`.
///
/// # Errors
/// Status 127 if there is none, 126 if there is one that cannot be executed.
pub(crate) fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Trouble> {
    let label = Path::new(name).display();
    if name.as_bytes().contains(&b'/') {
        let file = PathBuf::from(name);
        return match executable(&file) {
            Ok(()) => Ok(file),
            Err(Obstacle::Missing) => Err(Trouble::not_found(format!("{label}: there is no such program"))),
            Err(Obstacle::Forbidden(why)) => Err(Trouble::not_executable(format!("{label} {why}"))),
        };
    }
    let mut forbidden = None;
    if !name.is_empty() {
        for dir in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
            let file = dir.join(name);
            match executable(&file) {
                Ok(()) => return Ok(file),
                Err(Obstacle::Missing) => {}
                Err(Obstacle::Forbidden(why)) => {
                    forbidden.get_or_insert_with(|| format!("{} {why}", file.display()));
                }
            }
        }
    }
    Err(match forbidden {
        Some(text) => Trouble::not_executable(text),
        None => Trouble::not_found(format!(
            "{label}: there is no such program in PATH; for one elsewhere, write its path, such as ./{label}"
        )),
    })
}

/// Why a file cannot be executed.
enum Obstacle {
    /// It is not there.
    Missing,
    /// It is there.
    Forbidden(String),
}

/// Whether `file` is one that we may execute.
fn executable(file: &Path) -> Result<(), Obstacle> {
    let about = file.metadata().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Obstacle::Missing,
        _ => Obstacle::Forbidden(format!("cannot be reached: {error}")),
    })?;
    if about.is_dir() {
        return Err(Obstacle::Forbidden("is a directory".to_owned()));
    }
    if !about.is_file() {
        return Err(Obstacle::Forbidden("is not a file".to_owned()));
    }
    if access(file, Access::EXEC_OK).is_err() {
        let why = if about.permissions().mode() & 0o111 == 0 {
            "is not executable; if it is a program, allow it with chmod +x"
        } else {
            "is not executable for you, or lies on a file system that forbids it"
        };
        return Err(Obstacle::Forbidden(why.to_owned()));
    }
    Ok(())
}

/// Refuses a program into which the loader would not, or could not, load a
/// library: it would run without a limit and nobody would notice.
///
/// # Errors
/// Status 125 for static, setuid and foreign programs, 126 for damaged ones,
/// 127 for one whose interpreter is missing.
pub(crate) fn check(file: &Path, path: Option<&OsStr>) -> Result<(), Trouble> {
    let mut file = file.to_owned();
    for _ in 0..MAX_SCRIPTS {
        let Ok(mut open) = File::open(&file) else {
            // It may be executed but not read; the loader reads it for us.
            return Ok(());
        };
        let mut start = Vec::new();
        if open.by_ref().take(MAX_FIRST_LINE).read_to_end(&mut start).is_err() {
            return Ok(());
        }
        if start.starts_with(elf::MAGIC) {
            return check_elf(&file, &open);
        }
        let Some(line) = FirstLine::parse(&start) else {
            // Some other format: the kernel knows it, or the shell does.
            return Ok(());
        };
        if !line.interpreter.exists() {
            return Err(Trouble::not_found(format!(
                "{} is a script for {}, which does not exist",
                file.display(),
                line.interpreter.display()
            )));
        }
        file = line.program(path);
    }
    Ok(())
}

/// The `#!` line of a script.
struct FirstLine {
    interpreter: PathBuf,
    argument: OsString,
}

impl FirstLine {
    /// Reads it from the start of a file; none if there is no such line.
    fn parse(start: &[u8]) -> Option<Self> {
        let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
        let (interpreter, argument) = match line.iter().position(u8::is_ascii_whitespace) {
            Some(end) => (&line[..end], line[end..].trim_ascii()),
            None => (line, &line[line.len()..]),
        };
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        (!interpreter.is_empty())
            .then(|| Self { interpreter: text(interpreter).into(), argument: text(argument) })
    }

    /// The program that ends up running: `env` is looked through.
    fn program(&self, path: Option<&OsStr>) -> PathBuf {
        let through_env = || {
            if self.interpreter.file_name()? != "env" {
                return None;
            }
            let words = self.argument.as_bytes().split(u8::is_ascii_whitespace);
            let name = words
                .into_iter()
                .find(|word| !word.is_empty() && !word.starts_with(b"-") && !word.contains(&b'='))?;
            find(OsStr::from_bytes(name), path).ok()
        };
        through_env().unwrap_or_else(|| self.interpreter.clone())
    }
}

/// [`check`] of an ELF file.
fn check_elf(file: &Path, open: &File) -> Result<(), Trouble> {
    let label = file.display();
    if let Some(kind) = open.metadata().ok().and_then(|about| privileged(file, &about)) {
        return Err(Trouble::own(format!(
            "{label} is {kind}: for safety the loader loads no libraries into such programs, so Outcore cannot \
             page it. Run a copy of it (cp drops the privilege) if it works without"
        )));
    }
    match elf::inspect(open) {
        Finding::Preloadable { loader } if Path::new(&loader).exists() => Ok(()),
        Finding::Preloadable { loader } => Err(Trouble::not_found(format!(
            "{label} needs the loader {}, which does not exist",
            loader.display()
        ))),
        Finding::Musl => Err(Trouble::own(format!(
            "{label} is built for the C library musl, and Outcore's library for glibc; run a glibc build of it"
        ))),
        Finding::Static => Err(Trouble::own(format!(
            "{label} is statically linked: no library can be loaded into it, so Outcore cannot page it. Run a \
             dynamically linked build of it"
        ))),
        Finding::Foreign(machine) => Err(Trouble::own(format!(
            "{label} is a program for {machine}, and this is {}: Outcore cannot page it",
            elf::HOST
        ))),
        Finding::Damaged => {
            Err(Trouble::not_executable(format!("{label} cannot be executed: its ELF headers are damaged")))
        }
    }
}

/// What makes the kernel run this file with more privilege than its caller has.
///
/// A file whose owner is the caller would in fact gain nothing; it is refused
/// all the same, so that the answer does not depend on who asks.
fn privileged(file: &Path, about: &Metadata) -> Option<&'static str> {
    let mode = about.mode();
    if mode & SET_USER_ID != 0 {
        return Some("setuid");
    }
    // Without the execute bit it once meant mandatory locking.
    if mode & SET_GROUP_ID != 0 && mode & GROUP_EXECUTE != 0 {
        return Some("setgid");
    }
    let mut capabilities = [0_u8; 64];
    getxattr(file, "security.capability", &mut capabilities).is_ok().then_some("given file capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        let read =
            |text: &str| FirstLine::parse(text.as_bytes()).map(|line| (line.interpreter, line.argument));
        assert_eq!(read("#!/bin/sh\nx"), Some(("/bin/sh".into(), "".into())));
        assert_eq!(
            read("#! /usr/bin/env -S a=b python3 -u \n"),
            Some(("/usr/bin/env".into(), "-S a=b python3 -u".into()))
        );
        assert_eq!(read("#!\n"), None);
        assert_eq!(read("echo"), None);
    }

    #[test]
    fn env_is_looked_through() {
        let line = FirstLine::parse(b"#!/usr/bin/env -S A=1 sh -e").unwrap();
        let program = line.program(Some(OsStr::new("/nowhere:/bin")));
        assert_eq!(program, Path::new("/bin/sh"));
    }

    #[test]
    fn names_are_searched_and_paths_are_not() {
        let path = Some(OsStr::new("/nowhere:/bin:/usr/bin"));
        assert_eq!(find(OsStr::new("sh"), path).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(OsStr::new("no-such-program"), path).unwrap_err().status, 127);
        assert_eq!(find(OsStr::new(""), path).unwrap_err().status, 127);
        assert_eq!(find(OsStr::new("./sh"), path).unwrap_err().status, 127);
        assert_eq!(find(OsStr::new("/etc"), path).unwrap_err().status, 126);
        assert_eq!(find(OsStr::new("/etc/passwd"), path).unwrap_err().status, 126);
    }
}
