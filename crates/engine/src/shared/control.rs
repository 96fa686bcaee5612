//! What members ask of the server, and who comes and goes.

use crate::PAGE;
use crate::core::Live;
use crate::shared::charge::Charge;
use crate::shared::members::{Guest, Members, Stage, View};
use crate::shared::packet::{Packet, Verdict};
use crate::shared::socket::{self, Received};
use crate::shared::{MOST_MEMBERS, VERSION};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;
use pager::{PageRange, Pager};
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, sockopt};
use std::time::{Duration, Instant};
use sys::uffd::Uffd;

/// How often it is looked whether members that have hung up are gone.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Packets that one guest is answered in a turn.
const MOST_PACKETS: usize = 4;

/// Whether somebody stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Yes,
    No,
}

impl Live {
    /// Answers who has connected and sees off who has gone; whether there was anybody.
    pub(crate) fn answer_members(&mut self, pager: &mut Pager) -> bool {
        if self.members.is_none() {
            return false;
        }
        let mut events = [MaybeUninit::uninit(); 16];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Some(members) = &self.members else { return false };
        let ready: Vec<u64> = match epoll::wait(&members.epoll, &mut events, Some(&now)) {
            Ok((ready, _)) => ready.iter().map(|event| event.data.u64()).collect(),
            // Interrupted, it is asked in the next turn.
            Err(_) => Vec::new(),
        };
        for id in &ready {
            match *id {
                Members::LISTENER => self.accept(),
                Members::STARTER => self.hear_starter(),
                id => self.hear(pager, id),
            }
        }
        self.see_off();
        self.tell_members();
        let Some(members) = &self.members else { return false };
        self.stops |= members.starter.is_none() && members.guests.is_empty();
        !ready.is_empty()
    }

    fn accept(&mut self) {
        let Some(members) = &mut self.members else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(&members.listener, flags) {
            let refusal = if !socket::is_ours(&socket) {
                Some(Verdict::NotOurs)
            } else if members.guests.len() >= MOST_MEMBERS {
                Some(Verdict::Full)
            } else {
                None
            };
            if let Some(verdict) = refusal {
                let _ = socket::offer(&socket, Packet::Welcome { version: VERSION, verdict, len: 0 }, None);
                continue;
            }
            let id = members.next_id;
            let data = epoll::EventData::new_u64(id);
            if epoll::add(&members.epoll, &socket, data, epoll::EventFlags::IN).is_ok() {
                members.next_id += 1;
                members.guests.push(Guest { id, socket: Some(socket), stage: Stage::New });
            }
        }
    }

    /// The starter says nothing any more: it hangs up.
    fn hear_starter(&mut self) {
        let Some(members) = &mut self.members else { return };
        let Some(starter) = &members.starter else { return };
        if !matches!(socket::receive(starter, RecvFlags::DONTWAIT), Err(Errno::AGAIN)) {
            members.starter = None;
        }
    }

    fn hear(&mut self, pager: &mut Pager, id: u64) {
        for _ in 0..MOST_PACKETS {
            let Some(members) = &mut self.members else { return };
            let Some(index) = members.guests.iter().position(|guest| guest.id == id) else { return };
            let Some(socket) = &members.guests[index].socket else { return };
            let received = match socket::receive(socket, RecvFlags::DONTWAIT) {
                Ok(received) => received,
                Err(Errno::AGAIN) => return,
                Err(_) => Received::End,
            };
            let stays = match received {
                Received::Packet(packet, fd) => self.answer(pager, index, packet, fd),
                Received::Text(_) | Received::Strange | Received::End => Stays::No,
            };
            if stays == Stays::No {
                self.hang_up(id);
                return;
            }
        }
    }

    /// A member is served until it has no memory; others are forgotten at once.
    fn hang_up(&mut self, id: u64) {
        let Some(members) = &mut self.members else { return };
        let Some(guest) = members.guests.iter_mut().find(|guest| guest.id == id) else { return };
        guest.socket = None;
        if guest.view().is_none() {
            members.forget(id);
        }
    }

    fn answer(&mut self, pager: &mut Pager, index: usize, packet: Packet, fd: Option<OwnedFd>) -> Stays {
        let numbers = matches!(packet, Packet::AskStats).then(|| self.numbers(pager));
        let Some(members) = &mut self.members else { return Stays::No };
        let len = members.range.count * PAGE as u64;
        let guest = &members.guests[index];
        let Some(socket) = &guest.socket else { return Stays::No };
        let sent = match (packet, &guest.stage) {
            (Packet::Hello { version }, Stage::New) => {
                let admitted = version == VERSION;
                let verdict = if admitted { Verdict::Admitted } else { Verdict::OtherVersion };
                let welcome = Packet::Welcome { version: VERSION, verdict, len };
                let memory = admitted.then(|| members.memory.as_fd());
                let sent = socket::offer(socket, welcome, memory);
                members.guests[index].stage = Stage::Greeted;
                sent.and(if admitted { Ok(()) } else { Err(Errno::PROTO) })
            }
            (Packet::Join { addr }, Stage::Greeted) => {
                let is_page = addr.is_multiple_of(PAGE as u64) && addr.checked_add(len).is_some();
                let uffd = fd.filter(|_| is_page).and_then(userfaultfd);
                let process =
                    sockopt::socket_peercred(socket).map_or(0, |peer| peer.pid.as_raw_nonzero().get());
                let loan = self.tree.as_ref().and_then(|tree| tree.account().lend(process.cast_unsigned()));
                let charge = loan.map(|loan| Charge::new(loan, members.range.count));
                let view = uffd.map(|uffd| View { uffd, addr: addr as usize, charge });
                // One that is not where it says is refused as if it had gone already.
                let Some(view) = view.filter(|view| !Members::is_gone(view)) else { return Stays::No };
                let sent = socket::offer(socket, Packet::Done { errno: 0 }, None);
                members.guests[index].stage = Stage::Joined(view);
                sent
            }
            (Packet::AskStats, Stage::Joined(_)) => {
                socket::offer(socket, Packet::Stats(numbers.unwrap_or_default()), None)
            }
            (Packet::Discard { first, pages }, Stage::Joined(_)) => {
                let end = first.checked_add(pages).filter(|end| *end <= members.range.count && pages > 0);
                let errno = match end {
                    None => Errno::INVAL.raw_os_error(),
                    Some(_) => {
                        let start = members.range.start.plus(first);
                        self.discard_shared(pager, PageRange { start, count: pages })
                    }
                };
                let Some(members) = &self.members else { return Stays::No };
                let Some(socket) = &members.guests[index].socket else { return Stays::No };
                socket::offer(socket, Packet::Done { errno: errno as u64 }, None)
            }
            (Packet::Leave, Stage::Joined(_)) => {
                let id = guest.id;
                // It cannot be told if it does not listen, and is forgotten all the same.
                let _ = socket::offer(socket, Packet::Done { errno: 0 }, None);
                members.forget(id);
                return Stays::Yes;
            }
            _ => Err(Errno::PROTO),
        };
        if sent.is_ok() { Stays::Yes } else { Stays::No }
    }

    fn discard_shared(&mut self, pager: &mut Pager, range: PageRange) -> i32 {
        pager.discard(range, |_, state| {
            if let pager::State::Parked { frame, .. } = state {
                self.drop_place(frame);
            }
        });
        let dropped = self.members.as_mut().map_or(Ok(()), |members| members.drop_pages(range));
        dropped.map_or_else(Errno::raw_os_error, |()| 0)
    }

    fn numbers(&self, pager: &Pager) -> [u64; Packet::NUMBERS] {
        let page = PAGE as u64;
        let counters = pager.counters();
        let resident = u64::from(pager.frames_resident());
        let used = u64::from(pager.frames_used());
        let joined = self.members.as_ref().map_or(0, |members| members.views().count());
        [
            self.limits.budget_bytes,
            joined as u64,
            resident * page,
            (used - resident) * page,
            pager.pages_touched().saturating_sub(used) * page,
            u64::from(pager.slots_used()) * page,
            counters.minor_faults,
            counters.major_faults,
            counters.swap_ins,
            counters.swap_outs,
            counters.poisoned_pages,
        ]
    }

    /// Forgets members that have hung up and are gone.
    fn see_off(&mut self) {
        let Some(members) = &mut self.members else { return };
        let now = Instant::now();
        if !members.anybody_leaves() || now < members.next_look {
            return;
        }
        members.next_look = now + LOOK_AGAIN;
        let gone = |guest: &&Guest| guest.is_leaving() && guest.view().is_some_and(Members::is_gone);
        let gone: Vec<u64> = members.guests.iter().filter(gone).map(|guest| guest.id).collect();
        gone.into_iter().for_each(|id| members.forget(id));
    }

    /// What went wrong first is told to all who are members then.
    fn tell_members(&mut self) {
        let record = self.voice.record();
        let is_degraded = record.is_some_and(|record| record.degraded.load(Ordering::Relaxed) != 0);
        let Some(members) = &mut self.members else { return };
        if members.told.is_some() || !is_degraded {
            return;
        }
        members.told = Some(Instant::now());
        let text = record.and_then(|record| record.message()).unwrap_or_default();
        for socket in members.guests.iter().filter_map(|guest| guest.socket.as_ref()) {
            // One that does not listen is not told.
            let _ = socket::offer_text(socket, &text);
        }
    }
}

/// What came as one, if it is one: a file of another kind could pretend events, and with
/// them descriptors.
fn userfaultfd(fd: OwnedFd) -> Option<Uffd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let target = rustix::fs::readlink(path, Vec::new()).ok()?;
    if target.as_bytes() != b"anon_inode:[userfaultfd]" {
        return None;
    }
    // Who reads it must never wait.
    let flags = rustix::fs::fcntl_getfl(&fd).ok()?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).ok()?;
    Some(Uffd::from_fd(fd))
}
