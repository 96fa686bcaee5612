//! `cargo xtask vm`: a command of this machine on another kernel, in a virtual machine that has
//! version 2 of control groups and tells of memory pressure.
//!
//! ```text
//! this machine                        the virtual machine
//! /  ───────────── read-only, 9p ───▶ / (what is written there goes to its own disk)
//! boot/vmlinuz, lib/modules ────────▶ kernel, and the modules that reach / and the disk
//! a file in target/vm ──────────────▶ /var/tmp, ext4
//! standard output and error ◀──────── what the command writes
//! exit status ◀────────────────────── the command's
//! ```
//!
//! Nothing that the command does there is seen here.

mod initramfs;
mod kernel;

use clap::Args;
use initramfs::Errand;
use kernel::Kernel;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// What QEMU is called for the only processor that Outcore runs on.
const QEMU: &str = "qemu-system-x86_64";
/// What `timeout` answers when the time was up.
const TIME_IS_UP: i32 = 124;

#[derive(Args)]
pub(crate) struct Options {
    /// A directory with boot/vmlinuz-VERSION and lib/modules/VERSION, such as an unpacked kernel package
    #[arg(long, default_value = "/")]
    kernel: PathBuf,
    /// MiB of RAM
    #[arg(long, default_value_t = 2048)]
    ram: usize,
    /// Processors
    #[arg(long, default_value_t = 2)]
    cpus: usize,
    /// MiB of disk, beneath /var/tmp and everything else that is written
    #[arg(long, default_value_t = 4096)]
    disk: u64,
    /// More for the kernel's command line, such as transparent_hugepage=never
    #[arg(long, default_value = "")]
    append: String,
    /// Seconds after which the machine is switched off
    #[arg(long, default_value_t = 240)]
    limit: u64,
    /// Emulate the processor, even where the kernel here can run it (KVM)
    #[arg(long)]
    emulate: bool,
    /// The command, which finds the files of this machine where they are
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command, and ends as it does.
pub(crate) fn run(options: &Options) -> ExitCode {
    match boot(options) {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("vm: {why}");
            ExitCode::FAILURE
        }
    }
}

fn boot(options: &Options) -> Result<u8, String> {
    for (program, package) in [(QEMU, "qemu-system-x86"), ("mkfs.ext4", "e2fsprogs"), ("modprobe", "kmod")] {
        found(program, package)?;
    }
    let kernel = Kernel::beneath(&options.kernel)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let target = std::path::absolute(Path::new(&target).join("vm")).map_err(|error| error.to_string())?;
    let workshop = Workshop::new(target)?;
    let disk = workshop.disk(options.disk)?;
    let errand = Errand { command: &options.command };
    let initramfs = initramfs::build(&workshop.0, &kernel, &errand)?;
    let (console, answer) = (workshop.file("console"), workshop.file("status"));

    let mut qemu = Command::new("timeout");
    qemu.args(["--foreground", "--kill-after=5", &options.limit.to_string(), QEMU]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    if !options.emulate && has_kvm() {
        qemu.args(["-accel", "kvm", "-cpu", "host"]);
    } else {
        // Page tables of five levels would only be slower.
        qemu.args(["-accel", "tcg", "-cpu", "max,la57=off"]);
    }
    qemu.args(["-m", &format!("{}M", options.ram), "-smp", &options.cpus.to_string()]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initramfs);
    qemu.args(["-append", &format!("console=ttyS0 panic=-1 psi=1 {}", options.append)]);
    qemu.arg("-serial").arg(file("file:", &console));
    qemu.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    qemu.arg("-drive").arg(file("if=virtio,format=raw,cache=none,aio=io_uring,discard=unmap,file=", &disk));
    qemu.args(["-device", "virtio-serial"]);
    let ports = [("output", "/dev/stdout".as_ref()), ("error", "/dev/stderr".as_ref()), ("status", &*answer)];
    for (number, (name, path)) in (1..).zip(ports) {
        qemu.arg("-chardev").arg(file(&format!("file,append=on,id={name},path="), path));
        qemu.args(["-device", &format!("virtserialport,nr={number},chardev={name},name={name}")]);
    }
    let ended = relay(&mut qemu).map_err(|error| format!("timeout: {error}"))?;

    let said = fs::read_to_string(&answer).unwrap_or_default();
    match said.trim().parse() {
        Ok(status) => Ok(status),
        Err(_) if ended.code() == Some(TIME_IS_UP) => Err(format!(
            "the command had not ended after {} s; what the kernel said is in {}",
            options.limit,
            console.display()
        )),
        Err(_) => {
            let log = fs::read(&console).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            Err(format!(
                "the machine ended without the command's status ({ended}); its kernel's last words:\n{last}"
            ))
        }
    }
}

/// Runs `command`, and passes on what it writes. It has pipes in place of what may be a file here, as it opens
/// both anew, and would write from the file's beginning.
fn relay(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (output, error) = (child.stdout.take(), child.stderr.take());
    let relayed = std::thread::scope(|scope| {
        let errors = scope.spawn(|| error.map_or(Ok(0), |mut pipe| io::copy(&mut pipe, &mut io::stderr())));
        let outputs = output.map_or(Ok(0), |mut pipe| io::copy(&mut pipe, &mut io::stdout()));
        outputs.and(errors.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    });
    let ended = child.wait()?;
    relayed.map(|_| ended)
}

/// Whether the processor runs other kernels, and KVM lets us use it. Where KVM makes do without such a
/// processor, as in some virtual machines, ordinary kernels do not run.
fn has_kvm() -> bool {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = about.split_ascii_whitespace().any(|flag| matches!(flag, "vmx" | "svm"));
    can && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// An option's value that ends with a file's name, in which QEMU wants commas doubled.
fn file(before: &str, path: &Path) -> String {
    format!("{before}{}", path.to_string_lossy().replace(',', ",,"))
}

/// That `program` is there, or how to get it.
fn found(program: &str, package: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not on everybody's path, and there all the same.
    let mut places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let missing = || format!("{program} is not installed: it is in Debian's package {package}");
    places.any(|dir| dir.join(program).is_file()).then_some(()).ok_or_else(missing)
}

/// The directory of one machine's files.
struct Workshop(PathBuf);

impl Workshop {
    /// The files of the machine before are gone.
    fn new(dir: PathBuf) -> Result<Self, String> {
        let made = fs::remove_dir_all(&dir).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        made.and_then(|()| fs::create_dir_all(&dir))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self(dir))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An empty disk, which takes only what is written to it.
    fn disk(&self, mib: u64) -> Result<PathBuf, String> {
        let path = self.file("disk");
        let made = fs::File::create(&path).and_then(|file| file.set_len(mib << 20));
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        run_tool(tool("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=1"]).arg(&path))?;
        Ok(path)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // All the rest is small, and tells what went wrong.
        let _ = fs::remove_file(self.file("disk"));
    }
}

/// A program of the administrator's, which need not be on everybody's path.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// The output of a tool that must succeed.
fn run_tool(command: &mut Command) -> Result<Vec<u8>, String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
