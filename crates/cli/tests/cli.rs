//! The `outcore` command from outside: what it accepts, what it refuses and
//! how, and what of a program passes through. That memory is really paged is
//! shown elsewhere, with real programs.

#[expect(dead_code, reason = "what the other tests use of it")]
mod support;

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{copy_program, directory, is_root, skip};

const NOBODY: u32 = 65534;

/// `outcore` with `arguments`, away from the caller's settings.
fn outcore(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outcore"));
    command.args(arguments).env_remove("TMPDIR").env_remove("LD_PRELOAD");
    command
}

/// The exit status and the two outputs of `outcore` with `arguments`.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    told(outcore(arguments).output().unwrap())
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs `outcore run` with `arguments` and checks that it refuses with `status`
/// and a message that has all of `parts`.
#[track_caller]
fn refused(arguments: &[&str], status: i32, parts: &[&str]) {
    let arguments: Vec<&str> = ["run"].iter().chain(arguments).copied().collect();
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, Some(status), "{arguments:?}: {stderr}");
    assert_eq!(stdout, "", "messages belong on stderr");
    assert!(stderr.lines().all(|line| line.starts_with("outcore: ")), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments:?}: no {part:?} in: {stderr}");
    }
}

/// Whether programs can be started here at all, for tests that need nothing else.
fn can_start() -> bool {
    let (code, _, stderr) = run(&["run", "--ram", "64M", "--", "true"]);
    if code == Some(0) {
        return true;
    }
    skip(&format!("outcore run cannot start programs: {stderr}"));
    false
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    for (size, why) in [
        ("1M", "--ram 1M is below the minimum; the smallest that works is 16M"),
        ("16777215", "the smallest that works is 16M"),
        ("0", "--ram 0 is nothing"),
        ("-1G", "--ram -1G is negative"),
        ("lots", "--ram lots is not a size"),
        ("256MB", "--ram 256MB is not a size"),
        ("1000T", "largest size is 128T"),
        ("99999999999999999999999", "largest size is 128T"),
        ("150%", "not a percentage"),
        ("0%", "not a percentage"),
        ("", "is not a size"),
    ] {
        refused(&["--ram", size, "--", "true"], 125, &[why]);
    }
    refused(
        &["--store-size", "many", "--", "true"],
        125,
        &["--store-size many is not a size", "such as 256M"],
    );
    refused(&["--store-size", "0", "--", "true"], 125, &["--store-size 0 is nothing"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    refused(&["--colour", "--", "true"], 125, &["--colour"]);
    refused(&["--commit", "maybe", "--", "true"], 125, &["maybe"]);
    refused(&["--require", "luck", "--", "true"], 125, &["luck", "full-userfaultfd"]);
    refused(&[], 125, &["PROGRAM"]);
    refused(
        &["--report", "/nowhere/report.json", "--", "true"],
        125,
        &["/nowhere/report.json cannot be written"],
    );
    refused(
        &["--require", "move", "--force", "copy", "--", "true"],
        125,
        &["--require move", "--force copy"],
    );
    refused(
        &["--require", "file-store", "--store", "memory", "--", "true"],
        125,
        &["file-store", "--store memory"],
    );
}

#[test]
fn store_directories_are_tried_out() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).display().to_string();
    refused(&["--store", &path("nowhere"), "--", "true"], 125, &[&path("nowhere"), "does not exist"]);
    File::create(path("file")).unwrap();
    refused(&["--store", &path("file"), "--", "true"], 125, &[&path("file"), "is not a directory"]);
    assert!(Path::new("/dev/shm").is_dir());
    refused(&["--store", "/dev/shm", "--", "true"], 125, &["/dev/shm is in memory", "--store memory"]);
}

#[test]
fn a_store_directory_must_be_writable() {
    let dir = directory();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = outcore(&["run", "--store", &closed.display().to_string(), "--", "true"]);
    if is_root() {
        // Root may write anywhere; the binary must be where others can reach it.
        let copy = dir.path().join("outcore");
        copy_program(env!("CARGO_BIN_EXE_outcore"), &copy);
        command = Command::new(copy);
        command.args(["run", "--store", &closed.display().to_string(), "--", "true"]);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    let (code, _, stderr) = told(command.output().unwrap());
    assert_eq!(code, Some(125), "{stderr}");
    assert!(stderr.contains("closed is not writable for you"), "{stderr}");
}

/// A small file system, unmounted at the end whatever happens.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// None where we may not mount.
    fn mount() -> Option<Self> {
        let dir = directory();
        let (image, point) = (dir.path().join("image"), dir.path().join("mounted"));
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        fs::create_dir(&point).unwrap();
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let mounted = done(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && done(Command::new("mount").args(["-o", "loop"]).args([&image, &point]));
        mounted.then_some(Self { dir })
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[test]
fn a_full_store_directory_is_refused() {
    let Some(disk) = SmallDisk::mount() else {
        // Containers seldom allow it, so this is no failure under CI.
        eprintln!("SKIPPED: no file system can be mounted here");
        return;
    };
    let mut filler = File::create(disk.path().join("filler")).unwrap();
    while filler.write_all(&[1; 65536]).is_ok() {}
    let path = disk.path().display().to_string();
    refused(&["--store", &path, "--", "true"], 125, &["is full", "free some space", &path]);
}

#[test]
fn the_default_store_is_never_in_memory() {
    let mut command = outcore(&["doctor", "--json"]);
    let (code, stdout, _) = told(command.env("TMPDIR", "/dev/shm").output().unwrap());
    assert_eq!(code, Some(0));
    assert!(stdout.contains("\"directory\": \"/var/tmp\""), "{stdout}");
    let dir = directory();
    let (_, stdout, _) = told(command.env("TMPDIR", dir.path()).output().unwrap());
    assert!(stdout.contains(&dir.path().display().to_string()), "{stdout}");
}

#[test]
fn programs_that_are_not_there() {
    refused(&["--", "no-such-program"], 127, &["no-such-program", "PATH"]);
    refused(&["--", "./no-such-program"], 127, &["./no-such-program"]);
    refused(&["--", ""], 127, &["no such program"]);
    let dir = directory();
    let script = dir.path().join("script");
    fs::write(&script, "#!/nowhere/interpreter\n").unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    refused(&["--", &script.display().to_string()], 127, &["/nowhere/interpreter"]);
}

#[test]
fn programs_that_cannot_be_executed() {
    refused(&["--", "/etc/passwd"], 126, &["/etc/passwd is not executable", "chmod +x"]);
    refused(&["--", "/etc"], 126, &["/etc is a directory"]);
    let dir = directory();
    let damaged = dir.path().join("damaged");
    fs::write(&damaged, b"\x7fELF and no more").unwrap();
    fs::set_permissions(&damaged, Permissions::from_mode(0o755)).unwrap();
    refused(&["--", &damaged.display().to_string()], 126, &["damaged"]);
    // Found in PATH, but the first of that name may not be executed: as a shell has it.
    File::create(dir.path().join("closed-program")).unwrap();
    let output = outcore(&["run", "--", "closed-program"]).env("PATH", dir.path()).output().unwrap();
    assert_eq!(told(output).0, Some(126));
}

#[test]
fn static_programs_are_refused() {
    let dir = directory();
    let (source, program) = (dir.path().join("static.c"), dir.path().join("static"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    for kind in ["-static", "-static-pie"] {
        let built = Command::new("gcc").arg(kind).arg(&source).arg("-o").arg(&program).output();
        if !built.is_ok_and(|output| output.status.success()) {
            skip(&format!("gcc {kind} does not work here"));
            continue;
        }
        let program = program.display().to_string();
        refused(&["--", &program], 125, &[&program, "statically linked", "dynamically linked"]);
        let script = dir.path().join("script");
        fs::write(&script, format!("#! {program}\n")).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        refused(&["--", &script.display().to_string()], 125, &[&program, "statically linked"]);
    }
}

#[test]
fn privileged_programs_are_refused() {
    let dir = directory();
    let program = dir.path().join("true");
    for (mode, word) in [(0o4755, "setuid"), (0o2755, "setgid")] {
        let _ = fs::remove_file(&program);
        fs::copy("/bin/true", &program).unwrap();
        if is_root() {
            chown(&program, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
        refused(&["--", &program.display().to_string()], 125, &[word, "cannot"]);
    }
}

/// The first 64 bytes of an ELF executable: its class, byte order and machine.
fn elf_header(class: u8, order: u8, machine: u16) -> Vec<u8> {
    let mut header = vec![0_u8; 64];
    header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    let pair = |value: u16| if order == 1 { value.to_le_bytes() } else { value.to_be_bytes() };
    header[16..18].copy_from_slice(&pair(2));
    header[18..20].copy_from_slice(&pair(machine));
    header
}

#[test]
fn programs_of_other_machines_are_refused() {
    let dir = directory();
    let program = dir.path().join("foreign");
    let other_arm = if cfg!(target_arch = "aarch64") { (62, "x86-64") } else { (183, "64-bit ARM") };
    for (header, name) in [
        (elf_header(2, 1, other_arm.0), other_arm.1),
        (elf_header(2, 1, 243), "64-bit RISC-V"),
        (elf_header(2, 2, 22), "IBM Z"),
        (elf_header(1, 1, 3), "32-bit x86"),
        (elf_header(1, 2, 40), "32-bit ARM"),
    ] {
        fs::write(&program, header).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        refused(&["--", &program.display().to_string()], 125, &["foreign is a program for", name]);
    }
}

#[test]
fn exit_statuses_and_output_pass_through() {
    if !can_start() {
        return;
    }
    let sh = |script: &str| run(&["run", "--ram", "64M", "--report", "none", "--", "sh", "-c", script]);
    assert_eq!(sh("exit 0").0, Some(0));
    assert_eq!(sh("exit 42").0, Some(42));
    assert_eq!(sh("kill -9 $$").0, Some(137));
    assert_eq!(sh("kill -TERM $$").0, Some(143));
    let (code, stdout, stderr) = sh("echo out; echo err >&2");
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "out\n", "err\n"));
    let mut child = outcore(&["run", "--ram", "64M", "--report", "none", "cat", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through");
}

#[test]
fn signals_are_passed_on() {
    if !can_start() {
        return;
    }
    for (signal, name) in [(15, "TERM"), (1, "HUP"), (2, "INT"), (10, "USR1"), (12, "USR2")] {
        let script =
            format!("trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        // A shell cannot trap what was ignored when it started, as under nohup.
        let mut child = Command::new("env")
            .arg(format!("--default-signal={name}"))
            .arg(env!("CARGO_BIN_EXE_outcore"))
            .args(["run", "--ram", "64M", "--report", "none", "--", "sh", "-c", &script])
            .env_remove("TMPDIR")
            .env_remove("LD_PRELOAD")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let kill = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
        assert!(kill.unwrap().success());
        assert_eq!(lines.next().unwrap().unwrap(), format!("got {name}"));
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}

#[test]
fn a_program_outlives_its_supervisor() {
    if !can_start() {
        return;
    }
    let script = "echo ready; read line; echo still here";
    let mut child = outcore(&["run", "--ram", "64M", "--report", "none", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let mut stdin = child.stdin.take().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    stdin.write_all(b"go\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "still here");
}

/// Signals 32 and 33, which the C library takes for itself once there are threads.
const THREAD_LIBRARY: u64 = 3 << 31;

#[test]
fn signal_settings_are_the_callers() {
    if !can_start() {
        return;
    }
    let settings = ["-E", "^Sig(Blk|Ign|Cgt):", "/proc/self/status"];
    for ignored in ["", "trap '' PIPE HUP; "] {
        let script = format!("{ignored}exec \"$@\"");
        let through = |command: &[&str]| {
            let output = Command::new("sh").args(["-c", &script, "sh"]).args(command).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let sets =
                text.lines().map(|line| u64::from_str_radix(line[7..].trim(), 16).unwrap() & !THREAD_LIBRARY);
            sets.collect::<Vec<_>>()
        };
        let direct = through(&[&["grep"], &settings[..]].concat());
        let outcore = env!("CARGO_BIN_EXE_outcore");
        let ours = through(
            &[&[outcore, "run", "--ram", "64M", "--report", "none", "--", "grep"], &settings[..]].concat(),
        );
        assert_eq!(direct.len(), 3);
        assert_eq!(ours, direct);
    }
}

#[test]
fn the_environment_tells_the_library() {
    if !can_start() {
        return;
    }
    let dir = directory();
    let store = dir.path().canonicalize().unwrap().display().to_string();
    let mut command = outcore(&[
        "run",
        "--ram",
        "64M",
        "--store",
        &store,
        "--store-size",
        "1.5G",
        "--commit",
        "strict",
        "--force",
        "copy",
        "--force",
        "threads",
        "--report",
        "none",
        "--",
        "env",
    ]);
    let (code, stdout, stderr) = told(command.env("LD_PRELOAD", "libm.so.6 libdl.so.2").output().unwrap());
    assert_eq!(code, Some(0), "{stderr}");
    let value = |name: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name} in {stdout}"))
    };
    assert_eq!(value("OUTCORE_RAM"), (64 << 20).to_string());
    assert_eq!(value("OUTCORE_STORE"), store);
    assert_eq!(value("OUTCORE_STORE_SIZE"), (3_u64 << 29).to_string());
    assert_eq!(value("OUTCORE_COMMIT"), "strict");
    assert_eq!(value("OUTCORE_FORCE"), "copy,threads");
    assert!(value("OUTCORE_STATUS").starts_with("/proc/"));
    let preload = value("LD_PRELOAD");
    assert!(
        preload.contains("liboutcore_preload-") && preload.ends_with(":libm.so.6:libdl.so.2"),
        "{preload}"
    );
}

#[test]
fn the_library_is_kept_in_the_cache_and_checked() {
    if !can_start() {
        return;
    }
    let dir = directory();
    let cache = dir.path().join("cache");
    let preload = || {
        let mut command =
            outcore(&["run", "--ram", "64M", "--report", "none", "--", "sh", "-c", "echo $LD_PRELOAD"]);
        let (code, stdout, stderr) = told(command.env("XDG_CACHE_HOME", &cache).output().unwrap());
        assert_eq!(code, Some(0), "{stderr}");
        stdout.trim().to_owned()
    };
    let path = preload();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert!(Path::new(&path).starts_with(cache.join("outcore")), "{path}");
    assert_eq!(mode(&cache.join("outcore")), 0o700);
    assert_eq!(mode(Path::new(&path)), 0o700);
    let good = fs::read(&path).unwrap();
    fs::write(&path, "tampered with").unwrap();
    assert_eq!(preload(), path);
    assert_eq!(fs::read(&path).unwrap(), good, "what is not ours is replaced");
    assert_eq!(fs::read_dir(cache.join("outcore")).unwrap().count(), 1, "no drafts are left");
    // A directory into which others may write is not used.
    fs::set_permissions(cache.join("outcore"), Permissions::from_mode(0o777)).unwrap();
    assert!(preload().starts_with("/proc/"));
}

#[test]
fn reports_come_in_every_form() {
    if !can_start() {
        return;
    }
    let with = |report: &str| run(&["run", "--ram", "64M", "--report", report, "--", "sh", "-c", "exit 3"]);
    let (code, stdout, stderr) = with("text");
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(
        stderr.starts_with("outcore: sh never needed more than its 64 MiB: nothing was paged"),
        "{stderr}"
    );
    let fields = [
        "\"budget\":67108864",
        "\"exit_status\":3",
        "\"wall_seconds\":",
        "\"processes\":[",
        "\"swap_outs\":",
    ];
    let (_, _, stderr) = with("json");
    for field in fields {
        assert!(stderr.contains(field), "no {field} in {stderr}");
    }
    assert!(with("none").2.is_empty());
    let dir = directory();
    let file = dir.path().join("report.json");
    assert_eq!(with(&file.display().to_string()).2, "");
    assert!(fs::read_to_string(file).unwrap().contains("\"exit_status\":3"));
}

#[test]
fn a_budget_beyond_the_machine_is_warned_of() {
    if !can_start() {
        return;
    }
    let (code, _, stderr) = run(&["run", "--ram", "500G", "--report", "none", "--", "true"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.starts_with("outcore: warning: the budget of 500 GiB is more than"), "{stderr}");
    let (code, _, stderr) = run(&["run", "--ram", "64T", "--report", "none", "--", "true"]);
    assert_eq!(
        (code, &*stderr),
        (Some(125), "outcore: --ram 64T is too much; the largest budget is below 512G\n")
    );
}

#[test]
fn help_is_enough_to_start_with() {
    for (arguments, parts) in [
        (&["--help"][..], &["run", "doctor", "outcore help run"][..]),
        (&["run", "-h"], &["--ram", "outcore help run"]),
        (
            &["help", "run"],
            &[
                "grow far beyond --ram",
                "--ram",
                "--store",
                "--store-size",
                "--commit",
                "--report",
                "--require",
                "--force",
                "Examples:",
                "python3",
                "125",
                "126",
                "127",
                "128 + N",
                "LD_PRELOAD",
                "TMPDIR",
            ],
        ),
        (&["run", "--help"], &["Examples:"]),
        (&["mrc", "--help"], &["The curve of LRU"]),
        (&["machine", "run", "--help"], &["Each line of the script"]),
        (&["machine", "step", "--help"], &["going back shows what was"]),
        (&["machine", "replay", "--help"], &["OPT knows the future"]),
        (&["image", "inspect", "--help"], &["reads the index"]),
        (&["image", "verify", "--help"], &["against its digest"]),
        (&["bench", "faults", "--help"], &["99th percentile"]),
        (&["--version"], &[env!("CARGO_PKG_VERSION")]),
    ] {
        let (code, stdout, _) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}");
        for part in parts {
            assert!(stdout.contains(part), "{arguments:?}: no {part:?} in {stdout}");
        }
    }
    assert_eq!(run(&[]).0, Some(125));
}

#[test]
fn the_doctor_looks_at_everything() {
    let (code, stdout, stderr) = run(&["doctor"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for part in [
        "kernel",
        "userfaultfd",
        "/dev/userfaultfd",
        "\npages ",
        "lost pages",
        "transfers",
        "pager",
        "RAM",
        "control group",
        "store",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    let (code, stdout, _) = run(&["doctor", "--json"]);
    assert_eq!(code, Some(0));
    for part in ["\"kernel\"", "\"userfaultfd\"", "\"io_uring\"", "\"memory\"", "\"store\"", "\"advice\""] {
        assert!(stdout.contains(part), "no {part} in {stdout}");
    }
}
