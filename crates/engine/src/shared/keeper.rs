#![expect(unsafe_code, reason = "a file table of its own, poll, and pages of a server that was killed")]
//! A member's thread, which sees to it that nobody reads zeros where there were bytes.
//!
//! It has a file table of its own, so neither the program nor its children have the
//! descriptors of the arena. As long as the server lives it passes requests on, and holds the
//! userfaultfd, which the server answers. When the server has been killed it answers itself.

use crate::PAGE;
use crate::core::addr_of;
use crate::core::page_of;
use crate::shared::error::SharedError;
use crate::shared::member::{Joined, Talk};
use crate::shared::packet::Packet;
use crate::shared::socket::{self, Received};
use crate::voice;
use core::sync::atomic::Ordering;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::os::fd::RawFd;
use std::sync::{Arc, PoisonError};
use sys::uffd::{Event, EventBuffer, Protect, Stop, Uffd, Waking};

/// Has this thread only standard error, and `kept`, in a table of its own.
pub(crate) fn own_table(kept: Option<RawFd>) -> Result<(), SharedError> {
    let kept = kept.map_or(2, RawFd::cast_unsigned);
    let close = |from: u32, to: u32, flags: u32| {
        // SAFETY: closes descriptors of this thread's own, new table only.
        from > to || unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) == 0 }
    };
    // The first call makes the table. One that is among the first three is left where it is.
    if close(kept.max(2) + 1, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
        && close(3, kept.saturating_sub(1), 0)
        && (0..2).filter(|fd| *fd != kept).all(|fd| close(fd, fd, 0))
    {
        voice::be_heard();
        Ok(())
    } else {
        let error = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS);
        Err(SharedError::Kernel("close_range(CLOSE_RANGE_UNSHARE), which needs Linux 5.9", error))
    }
}

/// See the module's page.
pub(crate) struct Keeper {
    /// None when the server has been killed.
    socket: Option<OwnedFd>,
    uffd: Uffd,
    bell: Uffd,
    bell_addr: usize,
    addr: usize,
    len: usize,
    talk: Arc<Talk>,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Goes {
    On,
    Home,
}

impl Keeper {
    pub(crate) fn new(joined: Joined, bell_addr: usize, talk: Arc<Talk>) -> Self {
        let Joined { socket, uffd, bell, addr, len, .. } = joined;
        Self { socket: Some(socket), uffd, bell, bell_addr, addr, len, talk }
    }

    /// Until the program detaches the arena.
    pub(crate) fn live(mut self) {
        let mut events = EventBuffer::new();
        loop {
            let other = self.socket.as_ref().map_or(self.uffd.as_fd(), AsFd::as_fd);
            let [bell_rings, other_is_ready] = wait([self.bell.as_fd(), other]);
            if bell_rings && self.answer_bell(&mut events) == Goes::Home {
                return;
            }
            match &self.socket {
                Some(_) if other_is_ready => self.listen(),
                None => self.serve(&mut events),
                Some(_) => {}
            }
        }
    }

    fn answer_bell(&mut self, events: &mut EventBuffer) -> Goes {
        if !matches!(self.bell.read_events(events), Ok(1..)) {
            return Goes::On;
        }
        let request = self.talk.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        let answer = request.and_then(|packet| self.pass_on(packet));
        *self.talk.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        // SAFETY: the bell's page is expected to be anything.
        let rung = unsafe { self.bell.zero_page(self.bell_addr, PAGE) };
        if rung.stop.is_some() {
            let _ = self.bell.wake(self.bell_addr, PAGE);
        }
        if request == Some(Packet::Leave) { Goes::Home } else { Goes::On }
    }

    /// Asks the server; none if it has been killed.
    fn pass_on(&mut self, packet: Packet) -> Option<Packet> {
        let sent = socket::send(self.socket.as_ref()?, packet, None);
        while sent.is_ok() {
            match socket::receive(self.socket.as_ref()?, RecvFlags::empty()) {
                Ok(Received::Packet(answer, _)) => return Some(answer),
                Ok(Received::Text(text)) => voice::cry(&text),
                Ok(Received::Strange | Received::End) | Err(_) => break,
            }
        }
        if packet != Packet::Leave {
            self.go_on_alone();
        }
        None
    }

    /// Hears what the server has to say.
    fn listen(&mut self) {
        let Some(socket) = &self.socket else { return };
        match socket::receive(socket, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => {}
            Ok(Received::Text(text)) => voice::cry(&text),
            // Nothing was asked.
            Ok(Received::Packet(..)) => {}
            Ok(Received::Strange | Received::End) | Err(_) => self.go_on_alone(),
        }
    }

    /// The server has been killed, and with it what was not in memory.
    fn go_on_alone(&mut self) {
        self.socket = None;
        self.talk.gone.store(true, Ordering::Release);
        voice::cry(
            "the server of a shared arena was killed: what of the arena was not in memory is lost, \
             and touching it is a bus error (SIGBUS). Detach the arena, and create it anew.",
        );
        // Who had been told to the server and not been answered asks again.
        let _ = self.uffd.wake(self.addr, self.len);
    }

    fn serve(&self, events: &mut EventBuffer) {
        let count = self.uffd.read_events(events).unwrap_or(0);
        for index in 0..count {
            if let Event::Fault { addr, .. } = events.take(index) {
                self.resolve(addr_of(page_of(addr)));
            }
        }
    }

    /// What is in memory is shown, what is not is lost.
    fn resolve(&self, addr: usize) {
        // SAFETY: what is in memory is what is left of the arena.
        let mapped = unsafe { self.uffd.resume(addr, PAGE, Waking::Now) };
        let answered = match mapped.stop {
            None => return,
            // SAFETY: nobody has the bytes any more.
            Some(Stop::Absent) => unsafe { self.uffd.poison(addr, PAGE) },
            // Mapped, and protected from writes by a server that did not get further.
            // SAFETY: nobody is kept from writing any more.
            Some(_) => unsafe { self.uffd.write_protect(addr, PAGE, Protect::Off) },
        };
        if answered.is_err() {
            let _ = self.uffd.wake(addr, PAGE);
        }
    }
}

/// Waits for one of two; which are ready.
fn wait(fds: [BorrowedFd<'_>; 2]) -> [bool; 2] {
    let mut list = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: two entries; the descriptors are this thread's own.
    unsafe { libc::poll(list.as_mut_ptr(), 2, -1) };
    list.map(|entry| entry.revents != 0)
}
