//! The files with which the machine begins: a shell, modules, and what to do.

use super::kernel::Kernel;
use super::run_tool;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first program; what it is told is in `command`.
const INIT: &str = include_str!("init.sh");
/// The second, once this machine's files are there.
const ERRAND: &str = include_str!("errand.sh");

/// Where a shell without libraries may be.
const BUSYBOX: [&str; 4] =
    ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/lib/busybox/busybox"];

/// What the command has of the environment here: names, and beginnings of names.
const PASSED_ON: [&str; 9] =
    ["CARGO_HOME", "CARGO_TARGET_DIR", "CI", "HOME", "LANG", "OUTCORE_", "PATH", "RUSTUP_", "RUST_"];

/// What is to be run.
pub(super) struct Errand<'a> {
    pub(super) command: &'a [OsString],
}

impl Errand<'_> {
    /// As a shell's script.
    fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        if let Ok(dir) = std::env::current_dir() {
            script.extend_from_slice(b"cd ");
            quote(&mut script, dir.as_os_str());
            script.extend_from_slice(b" || exit 1\n");
        }
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if PASSED_ON.iter().any(|known| name == *known || known.ends_with('_') && name.starts_with(known))
            {
                script.extend_from_slice(format!("export {name}=").as_bytes());
                quote(&mut script, &value);
                script.push(b'\n');
            }
        }
        script.extend_from_slice(b"exec");
        for word in self.command {
            script.push(b' ');
            quote(&mut script, word);
        }
        script.push(b'\n');
        script
    }
}

/// Appends `word` as a shell reads it back.
fn quote(script: &mut Vec<u8>, word: &OsStr) {
    script.push(b'\'');
    for byte in word.as_bytes() {
        match byte {
            b'\'' => script.extend_from_slice(b"'\\''"),
            byte => script.push(*byte),
        }
    }
    script.push(b'\'');
}

/// Makes the archive in `dir`, and says where it is.
pub(super) fn build(dir: &Path, kernel: &Kernel, errand: &Errand<'_>) -> Result<PathBuf, String> {
    let busybox = busybox()?;
    let mut files = vec!["bin".to_owned(), "bin/busybox".to_owned(), "init".to_owned()];
    let tree = dir.join("initramfs");
    let put = |name: &str, bytes: &[u8]| -> Result<(), String> {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&tree))
            .and_then(|()| fs::write(&path, bytes))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    put("bin/busybox", &fs::read(&busybox).map_err(|error| format!("{}: {error}", busybox.display()))?)?;
    put("init", INIT.as_bytes())?;
    put("errand", ERRAND.as_bytes())?;
    put("command", &errand.script())?;
    files.extend(["errand".to_owned(), "command".to_owned(), "modules".to_owned()]);
    let mut order = String::new();
    for (name, bytes) in kernel.modules()? {
        let name = format!("modules/{name}");
        put(&name, &bytes)?;
        order.push_str(&format!("/{name}\n"));
        files.push(name);
    }
    put("order", order.as_bytes())?;
    files.push("order".to_owned());

    let archive = dir.join("initramfs.cpio");
    let to = fs::File::create(&archive).map_err(|error| format!("{}: {error}", archive.display()))?;
    let mut cpio = Command::new(&busybox);
    cpio.args(["cpio", "-o", "-H", "newc", "-R", "0:0"]).current_dir(&tree);
    let mut child = cpio
        .stdin(Stdio::piped())
        .stdout(to)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", busybox.display()))?;
    let told = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(files.join("\n").as_bytes()));
    let ended = child.wait();
    match (told, ended) {
        (Ok(()), Ok(status)) if status.success() => Ok(archive),
        (told, ended) => Err(format!("busybox cpio: {told:?}, {ended:?}")),
    }
}

/// A shell and its tools in one file, which needs no other.
fn busybox() -> Result<PathBuf, String> {
    let found = BUSYBOX.map(PathBuf::from).into_iter().find(|path| is_static(path));
    found.ok_or_else(|| {
        "no statically linked busybox is installed: it is in Debian's package busybox-static".into()
    })
}

/// Whether the program at `path` is there and runs, and no header of it names a dynamic linker.
fn is_static(path: &Path) -> bool {
    const PT_INTERP: &[u8] = &[3, 0, 0, 0];
    let Ok(bytes) = fs::read(path) else { return false };
    let number = |at: usize, length: usize| -> Option<usize> {
        Some(bytes.get(at..at + length)?.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    // e_phoff, e_phentsize and e_phnum of elf(5).
    let (Some(first), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    let is_interpreter =
        |header: usize| bytes.get(first + header * size..).is_some_and(|bytes| bytes.starts_with(PT_INTERP));
    !(0..count).any(is_interpreter) && run_tool(Command::new(path).arg("true")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_given() {
        let words = ["printf", "%s|", "", "it's", "a b", "$HOME `x` \\ \"", "new\nline"].map(OsString::from);
        let script = Errand { command: &words }.script();
        let output = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "|it's|a b|$HOME `x` \\ \"|new\nline|");
    }
}
