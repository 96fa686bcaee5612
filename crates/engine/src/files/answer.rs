#![expect(unsafe_code, reason = "registers views, and completes a page that a file has grown into")]
//! What the pager thread does at the request of program threads.

use crate::PAGE;
use crate::core::{Live, addr_of};
use crate::files::request::{FileRequest, NewSource, ViewPart};
use crate::files::source::{Descriptors, Origin, Source};
use crate::files::ticket::Ticket;
use pager::{Content, FrameNo, PageNo, PageRange, Pager, Sharing, SlotNo, State};
use rustix::io::Errno;
use sys::uffd::Register;

impl Live {
    /// Does what was asked, or says why not; nothing has changed then.
    pub(crate) fn answer_about_files(
        &mut self,
        pager: &mut Pager,
        request: FileRequest,
    ) -> Result<(), Errno> {
        match request {
            FileRequest::Window(range) => {
                self.files.window = range;
                self.pool.set_window(addr_of(range.start));
            }
            FileRequest::Source(new) => return self.add_source(pager, new),
            FileRequest::Writable(home) => return self.make_writable(pager, home),
            FileRequest::Grow(home, end) => return self.grow(pager, home, end),
            FileRequest::View(part) => return self.add_view(part),
            FileRequest::NoView(addr) => self.files.views.remove(addr),
            FileRequest::Flush(range, ticket) => self.begin_flush(range, ticket),
            FileRequest::End(home, ticket) => self.close_source(pager, home, ticket),
            FileRequest::Populate(ranges) => self.begin_populating(ranges),
            FileRequest::Supplied(desk) => self.supplied(pager, &desk),
            FileRequest::Cancel(home) => self.cancel_calls(pager, home),
            FileRequest::Pattern(range, pattern) => pager.set_pattern(range, pattern),
            FileRequest::Cool(range) => self.cool(pager, range),
            FileRequest::Lease(map) => return self.lease(pager, &map),
            FileRequest::Return(range, ticket) => self.order_return(range, ticket),
        }
        Ok(())
    }

    fn receive(&self) -> Result<Descriptors, Errno> {
        let link = self.files.link.as_ref().ok_or(Errno::NOTSUP)?;
        match link.receive()? {
            [Some(buffered), direct] => Ok(Descriptors { buffered, direct }),
            // This process may not have more descriptors.
            _ => Err(Errno::MFILE),
        }
    }

    fn add_source(&mut self, pager: &mut Pager, new: NewSource) -> Result<(), Errno> {
        let NewSource { first, pages, offset, end, sharing, program } = new;
        let origin = match program {
            Some(desk) => Origin::Program(desk),
            None => Origin::File(self.receive()?),
        };
        if sharing == Sharing::Private && !self.register(pages) {
            return Err(Errno::NOMEM);
        }
        pager.discard(pages, |_, _| {});
        pager.add_home_area(pages, first, sharing);
        let count = pages.count as u32;
        let (latched, under_way, closing, retired) = (None, 0, None, Vec::new());
        self.files.sources.add(Source {
            first,
            count,
            pages,
            offset,
            end,
            sharing,
            origin,
            retired,
            latched,
            under_way,
            closing,
            leased: None,
        });
        Ok(())
    }

    /// What is in memory is digested now: from now on it may change.
    fn make_writable(&mut self, pager: &mut Pager, home: SlotNo) -> Result<(), Errno> {
        let files = self.receive()?;
        let Some(source) = self.files.sources.find_mut(home) else { return Err(Errno::INVAL) };
        // A transfer may use the others.
        source.retired.push(core::mem::replace(&mut source.origin, Origin::File(files)));
        source.sharing = Sharing::Shared;
        let range = source.pages;
        pager.set_sharing(range, Sharing::Shared);
        let mut here: Vec<(PageNo, FrameNo)> = Vec::new();
        pager.for_each_touched(range, |page, state| match state {
            State::Resident { frame, .. } | State::Parked { frame, .. } => here.push((page, frame)),
            _ => {}
        });
        for (page, frame) in here {
            let addr = self.pool.place(frame).map_or(addr_of(page), |place| self.pool.address(place));
            // SAFETY: the page is in shared memory or a buffer, and nobody can write to it yet.
            let digest = unsafe { self.digester.of_page(addr, PAGE) };
            pager.note_home(frame, Content::Digest(digest.0));
        }
        Ok(())
    }

    /// The file has become longer. A page in which it ended has only zeros past that end: if
    /// it is in memory it gets what is in the file now.
    fn grow(&mut self, pager: &mut Pager, home: SlotNo, end: u64) -> Result<(), Errno> {
        let Some(source) = self.files.sources.find(home) else { return Err(Errno::INVAL) };
        let (before, pages) = (source.end, source.pages);
        let index = before.saturating_sub(source.offset) / PAGE as u64;
        let within = (before % PAGE as u64) as usize;
        if end <= before {
            return Ok(());
        }
        if within != 0 && index < pages.count {
            let page = pages.start.plus(index);
            if let State::Resident { .. } = pager.state(page)
                && self.park_shared(pager, PageRange::one(page)) == 0
            {
                return Err(Errno::BUSY);
            }
            match pager.state(page) {
                State::Parked { frame, .. } => {
                    let source = self.files.sources.find(home).ok_or(Errno::INVAL)?;
                    // What a program supplies does not grow.
                    let file = source.origin.file().ok_or(Errno::INVAL)?;
                    let len = (PAGE - within).min((end - before) as usize);
                    let place = self.pool.place(frame).ok_or(Errno::INVAL)?;
                    let start = (self.pool.address(place) + within) as *mut u8;
                    // SAFETY: a parked page is nobody's; the bytes lie inside of it.
                    let rest = unsafe { core::slice::from_raw_parts_mut(start, len) };
                    let mut done = 0;
                    while done < len {
                        match rustix::io::pread(&file.buffered, &mut rest[done..], before + done as u64)? {
                            0 => break,
                            more => done += more,
                        }
                    }
                    pager.note_home(frame, Content::Dirty);
                }
                State::Filling { .. } | State::Writing { .. } => return Err(Errno::AGAIN),
                _ => {}
            }
        }
        self.files.sources.find_mut(home).ok_or(Errno::INVAL)?.end = end;
        Ok(())
    }

    fn add_view(&mut self, part: ViewPart) -> Result<(), Errno> {
        // Where the kernel has no such userfaultfd, files are mapped private only.
        let Some(uffd) = &self.files.uffd else { return Err(Errno::NOTSUP) };
        let len = part.pages.count as usize * PAGE;
        let is_tracked = part.is_writable && self.files.write_back.tracks();
        let mode = if is_tracked { Register::MissingMinorAndWriteProtect } else { Register::MissingAndMinor };
        // SAFETY: faults there are served from now on, those of writers by the kernel; nothing
        // of it has been touched.
        unsafe { uffd.register(part.addr, len, mode)? };
        self.files.views.add(part);
        Ok(())
    }

    fn close_source(&mut self, pager: &mut Pager, home: SlotNo, ticket: Ticket) {
        let Some(source) = self.files.sources.find_mut(home) else { return ticket.end(Ok(())) };
        let range = source.pages;
        source.closing = Some(ticket);
        let idle = source.under_way == 0;
        self.end_populating(range);
        pager.remove_area(range, |_, state| {
            if let State::Parked { frame, .. } = state {
                self.drop_place(frame);
            }
        });
        if idle {
            self.end_source(home);
        } else {
            self.cancel_calls(pager, home);
        }
    }
}
