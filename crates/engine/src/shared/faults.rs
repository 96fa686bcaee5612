#![expect(unsafe_code, reason = "parks pages of shared memory in the pool")]
//! The pager's turn, where its pages are those of a shared arena.

use crate::core::Live;
use crate::pool::PlaceRun;
use crate::shared::members::Members;
use pager::{PageNo, PageRange, Pager, State};
use sys::uffd::{Event, EventBuffer};

impl Live {
    /// Adds the members' faults, as pages of the core's; how many there were.
    pub(crate) fn read_members(&mut self, events: &mut EventBuffer, faults: &mut Vec<PageNo>) -> usize {
        let Some(members) = &mut self.members else { return 0 };
        let mut read = 0;
        let mut broken = None;
        for index in 0..members.guests.len() {
            let Some(view) = members.guests[index].view() else { continue };
            let Ok(count) = view.uffd.read_events(events) else {
                // No member that keeps to its part has such a userfaultfd.
                broken = Some(members.guests[index].id);
                continue;
            };
            read += count;
            for index_of_event in 0..count {
                let Event::Fault { addr, thread, .. } = events.take(index_of_event) else { continue };
                let guest = &members.guests[index];
                let Some(view) = guest.view() else { continue };
                let Some(page) = members.page_at(view, addr) else { continue };
                // A member that does not keep to its part may not name its threads.
                if thread != 0 {
                    self.steering.fault_in(guest.id, thread, &view.uffd);
                }
                let waits = (page, guest.id);
                if !members.waiting.contains(&waits) {
                    members.waiting.push(waits);
                }
                faults.push(page);
            }
        }
        broken.into_iter().for_each(|id| members.forget(id));
        read
    }

    /// Who is followed is woken when the pager waits.
    pub(crate) fn wake_members_later(&mut self) {
        let later = self.members.as_mut().and_then(Members::take_later);
        later.into_iter().for_each(|(addr, len)| self.steering.wake(addr, len));
    }

    /// Unmaps resident pages of a shared arena; how many were parked.
    pub(crate) fn park_by_members(&mut self, pager: &mut Pager, range: PageRange, run: PlaceRun) -> u32 {
        let Some(members) = &mut self.members else { return 0 };
        let place = self.pool.address(run.start);
        // SAFETY: the pool's run is empty and ours.
        if unsafe { members.park(range, place) }.is_err() {
            run.places().for_each(|place| self.pool.give_back(place));
            return 0;
        }
        for (place, page) in run.places().zip(range.pages()) {
            let State::Resident { frame, .. } = pager.state(page) else { continue };
            pager.parked(page);
            self.pool.set_place(frame, place);
        }
        run.count
    }

    /// A member's fault on a page that the core holds to be resident.
    pub(crate) fn show_again(&mut self, pager: &mut Pager, page: PageNo) {
        let Some(members) = &mut self.members else { return };
        members.followed = self.steering.followed_member();
        let shown = members.show_again(page);
        self.steering.mapped(shown.unwrap_or(0));
        self.wake_members_later();
        if shown.is_none() {
            // A member has dropped it by itself (MADV_REMOVE): it is zeros, as there.
            pager.vanished(page);
            self.defer(page);
        }
    }
}
