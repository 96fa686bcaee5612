#![expect(unsafe_code, reason = "signals and wait4 have no safe interface")]
//! The launcher's unsafe calls, each behind a safe function.

use rustix::io::Errno;
use std::fs::File;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use sys::children::{self, Kind};
use sys::status::StatusPage;

/// Signals that the supervisor passes on to the program, besides those of real time: what one process sends
/// another to end it, to stop it, or to tell it something.
const PASSED_ON: [i32; 18] = [
    libc::SIGABRT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGPWR,
    libc::SIGXCPU,
    libc::SIGIO,
    libc::SIGSTKFLT,
    libc::SIGWINCH,
    libc::SIGURG,
];

/// Those that terminals send, by the kernel.
const OF_TERMINALS: [i32; 6] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGCONT, libc::SIGHUP, libc::SIGWINCH];

/// Whether our caller had SIGPIPE ignored: Rust's runtime ignores it before
/// `main`, and `Command` gives children the default, so neither tells.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

#[used]
// SAFETY: the section holds functions that are called before `main`, and this is one.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = remember_pipe;

extern "C" fn remember_pipe() {
    PIPE_WAS_IGNORED.store(is_ignored(libc::SIGPIPE), Relaxed);
}

/// Whether this process ignores `signal`.
fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks; the kernel fills `action`, for which all zeros are valid too.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Sets what happens at `signal` to `SIG_IGN` or `SIG_DFL`.
fn set(signal: i32, disposition: libc::sighandler_t) {
    // SAFETY: neither disposition runs code of ours.
    unsafe { libc::signal(signal, disposition) };
}

/// The signals that the supervisor takes while the program runs, and what its
/// caller had set, which the program gets.
pub(crate) struct Signals {
    taken: libc::sigset_t,
    callers_mask: libc::sigset_t,
    children_were_ignored: bool,
}

/// Something that happened while the program ran.
pub(crate) enum Event {
    /// A child changed its state.
    Child,
    /// A process sent the supervisor this signal, or a timer of its own that it has from who started it.
    Sent {
        /// The signal's number.
        signal: i32,
        /// Who sent it; 0 for the kernel.
        sender: i32,
    },
    /// The terminal did: it sends to everybody in the foreground, which is the program as well if it is in
    /// our group; but that it has hung up it tells the first process of the session alone.
    FromTerminal {
        /// The signal's number.
        signal: i32,
    },
}

impl Signals {
    /// Holds back the signals that [`Signals::next`] hands out.
    pub(crate) fn take() -> Self {
        let children_were_ignored = is_ignored(libc::SIGCHLD);
        // Ignored, it would make the kernel forget the program's exit status.
        set(libc::SIGCHLD, libc::SIG_DFL);
        let mut taken = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut callers_mask = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: the sets are initialised by these calls before they are used, and
        // this thread is the only one.
        unsafe {
            libc::sigemptyset(taken.as_mut_ptr());
            libc::sigaddset(taken.as_mut_ptr(), libc::SIGCHLD);
            for signal in PASSED_ON.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
                libc::sigaddset(taken.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, taken.as_ptr(), callers_mask.as_mut_ptr());
            Self {
                taken: taken.assume_init(),
                callers_mask: callers_mask.assume_init(),
                children_were_ignored,
            }
        }
    }

    /// Gives the program that `command` starts the signals as our caller set them.
    pub(crate) fn restore_in(&self, command: &mut Command) {
        let mask = self.callers_mask;
        let children_were_ignored = self.children_were_ignored;
        let pipe_was_ignored = PIPE_WAS_IGNORED.load(Relaxed);
        // SAFETY: between fork and exec only async-signal-safe functions are called.
        unsafe {
            command.pre_exec(move || {
                if children_were_ignored {
                    set(libc::SIGCHLD, libc::SIG_IGN);
                }
                if pipe_was_ignored {
                    set(libc::SIGPIPE, libc::SIG_IGN);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, &mask, null_mut());
                Ok(())
            });
        }
    }

    /// Waits for the next event.
    pub(crate) fn next(&self) -> Event {
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: the set is initialised, and the kernel fills `info`.
            let signal = unsafe { libc::sigwaitinfo(&self.taken, info.as_mut_ptr()) };
            if signal <= 0 {
                continue;
            }
            // SAFETY: filled by the call above.
            let info = unsafe { info.assume_init() };
            if signal == libc::SIGCHLD {
                return Event::Child;
            }
            // Zero and below: kill, sigqueue and their like. Above: the kernel itself.
            if info.si_code > 0 {
                let is_of_terminal = OF_TERMINALS.contains(&signal);
                return if is_of_terminal {
                    Event::FromTerminal { signal }
                } else {
                    Event::Sent { signal, sender: 0 }
                };
            }
            // SAFETY: signals from processes carry their sender.
            return Event::Sent { signal, sender: unsafe { info.si_pid() } };
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit status, or 128 and the number of the signal that ended it.
    pub(crate) status: u8,
    /// The largest resident set, of it or of a descendant it waited for, in bytes.
    pub(crate) max_rss_bytes: u64,
}

/// How the child `pid` ended; none while it runs.
pub(crate) fn ended(pid: i32) -> Option<Ended> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills both, or leaves zeros, which are valid.
    let (waited, usage) =
        unsafe { (libc::wait4(pid, &mut status, libc::WNOHANG, usage.as_mut_ptr()), usage.assume_init()) };
    if waited != pid {
        return None;
    }
    let code =
        if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    let max_rss_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    Some(Ended { status: code as u8, max_rss_bytes })
}

/// Has processes whose parents have ended become children of ours, pagers among them.
pub(crate) fn adopt_orphans() {
    // SAFETY: a system call without memory effects. Where it is refused, orphans go to the
    // first process of the system.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// Takes note of the ends of all children but `pid`, so that nothing is left of them.
pub(crate) fn bury_others(pid: i32, killed: impl Fn(u32)) {
    // The program's own end is asked for by itself; what is behind it comes at the next
    // event, or does not matter any more.
    while let Ok(Some(child)) = children::ended(Kind::Ordinary)
        && child.pid != pid
    {
        let (number, was_killed) = (child.pid.cast_unsigned(), child.was_killed);
        child.reap();
        if was_killed {
            killed(number);
        }
    }
}

/// Whether a signal that the terminal sent us has not been sent to the child `pid`.
pub(crate) fn is_missed(pid: i32, signal: i32) -> bool {
    // SAFETY: system calls without memory effects.
    unsafe {
        let leads = libc::getsid(0) == libc::getpid();
        libc::getpgid(pid) != libc::getpgrp() || (signal == libc::SIGHUP && leads)
    }
}

/// Whether the child `pid` is stopped as a terminal stops jobs, and stays so for an instant: a shell continues us
/// and it together. Who sends SIGSTOP continues what he has stopped.
pub(crate) fn is_stopped(pid: i32) -> bool {
    let is_stopped = || {
        let mut about = MaybeUninit::<libc::siginfo_t>::zeroed();
        let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the kernel fills `about`, or leaves zeros, which are valid.
        unsafe {
            let asked = libc::waitid(libc::P_PID, pid.cast_unsigned(), about.as_mut_ptr(), flags);
            let about = about.assume_init();
            asked == 0
                && about.si_pid() == pid
                && [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&about.si_status())
        }
    };
    is_stopped() && {
        std::thread::sleep(Duration::from_millis(10));
        is_stopped()
    }
}

/// Whether we, or the child `pid`, are the job that a terminal's shell waits for.
pub(crate) fn is_in_foreground(pid: i32) -> bool {
    // The first process of a container has no shell, and cannot be stopped.
    std::process::id() != 1
        && File::open("/dev/tty").is_ok_and(|terminal| {
            // SAFETY: system calls without memory effects.
            let [front, ours, its] =
                unsafe { [libc::tcgetpgrp(terminal.as_raw_fd()), libc::getpgrp(), libc::getpgid(pid)] };
            front == ours || front == its
        })
}

/// Stops this process, as who waits for it expects when the program has stopped; returns when it is continued.
pub(crate) fn stop() {
    // SAFETY: a signal to ourselves, without a handler.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Sends `signal` to the child `pid`, which has not been waited for yet.
pub(crate) fn send(pid: i32, signal: i32) {
    // SAFETY: kill has no preconditions; the number cannot have been given to another
    // process, since the child has not been waited for.
    unsafe { libc::kill(pid, signal) };
}

/// Starts a thread that takes no signal: those that are sent to us are for the supervisor.
///
/// # Errors
/// What starting it says.
pub(crate) fn spawn_without_signals<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the sets are initialised before they are used; a thread begins with its maker's mask.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
        let thread = std::thread::Builder::new().spawn(work);
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut());
        thread
    }
}

/// How a wait for memory pressure ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Memory is short.
    Pressure,
    /// The time is over.
    Nothing,
    /// The kernel does not tell (any more).
    Failed,
}

/// Waits for at most `patience` for what `pressure`, a file that was told of what to tell, tells.
pub(crate) fn wait_for_pressure(pressure: &File, patience: Duration) -> Waited {
    let mut entry = libc::pollfd { fd: pressure.as_raw_fd(), events: libc::POLLPRI, revents: 0 };
    // SAFETY: one entry, as said.
    let ready = unsafe { libc::poll(&raw mut entry, 1, patience.as_millis() as libc::c_int) };
    match ready {
        0 => Waited::Nothing,
        1 if entry.revents & libc::POLLERR == 0 => Waited::Pressure,
        _ => Waited::Failed,
    }
}

/// A new, empty status page in shared memory, and the descriptor through which
/// others reach it.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn shared_status_page() -> Result<(OwnedFd, &'static StatusPage), Errno> {
    let fd = sys::shared::file("outcore-status", size_of::<StatusPage>() as u64)?;
    let page = StatusPage::map(&fd)?;
    Ok((fd, page))
}
