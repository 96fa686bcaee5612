#![expect(unsafe_code, reason = "asks the loader where this code is")]
//! Starting the server of a shared arena.

use crate::PAGE;
use crate::settings::{Settings, StorePlace};
use crate::shared::error::SharedError;
use crate::shared::member::{Membership, Way};
use crate::shared::name::Name;
use crate::shared::packet::Packet;
use crate::shared::server::{OWN, SHARED, VARIABLE};
use crate::shared::socket::{self, Received};
use crate::shared::{LARGEST_ARENA, VERSION};
use crate::takeover::MIN_FRAMES;
use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use pager::Commit;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, listen, socketpair};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Makes an arena of `len` bytes, which other processes of this user attach to by its name, and
/// is its first member. `settings` are its own: its budget, its store.
///
/// The server is this program, started once more: who calls this sees to it that
/// [`run`](crate::shared::run) is called before `main` if
/// [`is_wanted`](crate::shared::is_wanted) says so.
///
/// # Errors
/// See [`SharedError`]; nothing is left then.
pub fn create(
    name: &str,
    len: u64,
    settings: &Settings,
    thread_starts: fn(),
) -> Result<Membership, SharedError> {
    let name = Name::new(name)?;
    if len == 0 || len > LARGEST_ARENA {
        return Err(SharedError::Size { bytes: len });
    }
    let (given, least) = (settings.ram_bytes, MIN_FRAMES * PAGE as u64);
    if given < least {
        return Err(SharedError::SmallBudget { given, least });
    }
    let len = len.next_multiple_of(PAGE as u64);
    let shared = match &settings.share {
        None => None,
        Some(budget) => {
            let left = budget.left();
            if left < least {
                return Err(SharedError::NoRoom { budget: given, left, least });
            }
            let file = budget.file().map_err(SharedError::Budget)?;
            let copy = rustix::io::fcntl_dupfd_cloexec(file, 3);
            Some(copy.map_err(|error| SharedError::Kernel("no descriptor", error))?)
        }
    };
    let settings = Settings { share: None, ..settings.clone() };
    let way = Way::Create { len, settings, ledger: shared.as_ref().map(AsRawFd::as_raw_fd) };
    // This table's copy is closed when the keeper has its own.
    Membership::begin(name, way, thread_starts)
}

fn kernel(what: &'static str) -> impl Fn(Errno) -> SharedError {
    move |error| SharedError::Kernel(what, error)
}

/// Starts the server; it serves for as long as the result is open, or there are members.
pub(crate) fn launch(
    name: &Name,
    len: u64,
    settings: &Settings,
    ledger: Option<OwnedFd>,
) -> Result<OwnedFd, SharedError> {
    let listener = socket::open().map_err(kernel("no socket"))?;
    let address = name.address().map_err(kernel("no socket's name"))?;
    bind(&listener, &address).map_err(|error| match error {
        Errno::ADDRINUSE => SharedError::Exists { name: name.text().to_owned() },
        error => SharedError::Kernel("no socket's name", error),
    })?;
    // Who accepts never waits.
    rustix::fs::fcntl_setfl(&listener, OFlags::NONBLOCK).map_err(kernel("the socket's flags"))?;
    listen(&listener, 128).map_err(kernel("the socket cannot listen"))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(kernel("no sockets"))?;
    let server = |text: String| SharedError::Server(text);
    let budget = if ledger.is_some() { SHARED } else { OWN };
    let mut command = command(len, settings, budget).map_err(server)?;
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| server(format!("it cannot be started: {error}")))?;
    // It is not waited for in vain: it forks and ends. A program that waits for every child
    // may have been faster.
    let _ = child.wait();
    // The command has the other end, which would keep it open.
    drop(command);
    let mut sent = socket::send(&ours, Packet::Hello { version: VERSION }, Some(listener.as_fd()));
    if let Some(ledger) = &ledger {
        sent = sent.and_then(|()| socket::send(&ours, Packet::Budget, Some(ledger.as_fd())));
    }
    sent.map_err(|_| server("it ended before it began".to_owned()))?;
    match socket::receive(&ours, RecvFlags::empty()) {
        Ok(Received::Packet(Packet::Done { errno: 0 }, _)) => Ok(ours),
        Ok(Received::Text(text)) => Err(server(text)),
        _ => Err(server("it ended before it began".to_owned())),
    }
}

/// This program, told by its environment to be a server.
fn command(len: u64, settings: &Settings, budget: &str) -> Result<Command, String> {
    // SAFETY: a look at what the kernel has told.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return Err("a program with more rights than its user cannot start one".to_owned());
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0("outcore-arena").env_clear();
    if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    if let Some(library) = own_library()? {
        command.env("LD_PRELOAD", library);
    }
    let force = settings.force;
    let mut forced: Vec<&str> = Vec::new();
    for (word, on) in [("threads", force.threads), ("user-mode", force.user_mode)] {
        forced.extend(on.then_some(word));
    }
    // Its pages are never moved: they are shared.
    forced.push("copy");
    let store: OsString = match &settings.store {
        StorePlace::Memory => "memory".into(),
        StorePlace::Directory(path) => std::path::absolute(path)
            .map_err(|error| format!("the store directory {}: {error}", path.display()))?
            .into(),
    };
    let commit = if settings.commit == Commit::Strict { "strict" } else { "lazy" };
    command
        .env(VARIABLE, format!("{VERSION}:{len}:{budget}"))
        .env("OUTCORE_RAM", settings.ram_bytes.to_string())
        .env("OUTCORE_STORE", store)
        .env("OUTCORE_STORE_SIZE", settings.store_bytes.to_string())
        .env("OUTCORE_COMMIT", commit)
        .env("OUTCORE_FORCE", forced.join(","))
        .env("OUTCORE_READAHEAD", if settings.readahead { "on" } else { "off" });
    if let Some(plan) = &settings.faults {
        command.env("OUTCORE_FAULTS", plan);
    }
    Ok(command)
}

/// The shared library that this code is in, which the program may not have loaded by itself;
/// none where it is in the program.
fn own_library() -> Result<Option<OsString>, String> {
    let here: fn() -> Result<Option<OsString>, String> = own_library;
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: room for the answer, which is read only if there is one; its name is the loader's.
    let (base, name) = unsafe {
        if libc::dladdr(here as *const c_void, found.as_mut_ptr()) == 0 {
            return Ok(None);
        }
        let found = found.assume_init();
        (found.dli_fbase.addr(), CStr::from_ptr(found.dli_fname).to_bytes().to_vec())
    };
    // SAFETY: as above. The program's headers follow its beginning.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    if headers.wrapping_sub(base) < PAGE {
        return Ok(None);
    }
    let path = std::path::absolute(OsStr::from_bytes(&name)).unwrap_or_default();
    match std::fs::metadata(&path) {
        Ok(_) => Ok(Some(path.into())),
        // Without it, the program itself would begin.
        Err(error) => Err(format!("the library {} is not there any more: {error}", path.display())),
    }
}
