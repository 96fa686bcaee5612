#![expect(unsafe_code, reason = "blocks a signal")]
//! Leases as the kernel gives them.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use sys::lease::{self, End, State};

fn file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    file.write_all(b"bytes").unwrap();
    file
}

fn for_reading(path: &Path) -> OwnedFd {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// As all threads of a pager have it.
fn block() {
    // SAFETY: the set is initialised before it is read.
    unsafe {
        let mut set = core::mem::MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), lease::SIGNAL);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), core::ptr::null_mut());
    }
}

#[test]
fn a_file_that_is_open_for_writing_has_no_lease() {
    let file = file();
    let reader = for_reading(file.path());
    if !lease::are_complete(&reader) {
        eprintln!("SKIPPED: /var/tmp is on no file system whose leases are known");
        assert!(std::env::var_os("CI").is_none(), "must not be skipped under CI");
        return;
    }
    block();
    let me = lease::this_thread();
    assert_eq!(lease::take(reader.as_fd(), me), Err(Errno::AGAIN));
    let path = file.into_temp_path();
    lease::take(reader.as_fd(), me).unwrap();
    assert_eq!(lease::state(reader.as_fd()), State::Held);
    // Others may read it, and hold leases as well.
    let other = for_reading(&path);
    lease::take(other.as_fd(), me).unwrap();
    assert_eq!(lease::give_up(other.as_fd()), End::InTime);
    assert_eq!(lease::state(reader.as_fd()), State::Held);
    assert_eq!(lease::give_up(reader.as_fd()), End::InTime);
    assert_eq!(lease::give_up(reader.as_fd()), End::Late, "there is none any more");
}

#[test]
fn who_writes_waits_until_it_is_given_up() {
    let path = file().into_temp_path();
    let reader = for_reading(&path);
    if !lease::are_complete(&reader) {
        eprintln!("SKIPPED: /var/tmp is on no file system whose leases are known");
        assert!(std::env::var_os("CI").is_none(), "must not be skipped under CI");
        return;
    }
    block();
    lease::take(reader.as_fd(), lease::this_thread()).unwrap();
    let (tell, told) = channel();
    let name = path.to_path_buf();
    let writer = std::thread::spawn(move || {
        block();
        std::fs::write(name, "others").unwrap();
        tell.send(()).unwrap();
    });
    let start = Instant::now();
    while lease::state(reader.as_fd()) == State::Held {
        lease::wait(Duration::from_secs(5));
        assert!(start.elapsed() < Duration::from_secs(20), "nobody has told of it");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "it was told of by signal");
    assert!(told.try_recv().is_err(), "the writer waits");
    assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
    assert_eq!(lease::give_up(reader.as_fd()), End::InTime);
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    writer.join().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"others");
}

#[test]
fn a_thread_can_be_woken() {
    block();
    let me = lease::this_thread();
    let waker = std::thread::spawn(move || lease::wake(me));
    let start = Instant::now();
    lease::wait(Duration::from_secs(20));
    assert!(start.elapsed() < Duration::from_secs(10));
    waker.join().unwrap();
    let waits = lease::break_time(sys::maps::open_proc().unwrap().as_fd()).unwrap();
    assert!(waits.is_none_or(|time| time > Duration::ZERO));
}
