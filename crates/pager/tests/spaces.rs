//! Several faults at once: what the simulated machine, which takes one at a time, cannot show.

use pager::policy::{Arrival, Clock, First};
use pager::space::{
    Access, FaultError, FileNo, FileRange, MapRequest, Memory, Next, Origin, Place, Prot, Share, SpaceFault,
    SpaceNo, Spaces, SpacesConfig, StackRule, Transfer,
};
use pager::{Commit, FillResult, FrameNo, PageNo, PageRange, Policy, SlotNo, Step, WriteResult};

const BASE: u64 = 0x60_0000;
const PAGE: u64 = 4096;

fn spaces(frames: u32, policy: Box<dyn Policy>) -> Spaces {
    Spaces::new(
        SpacesConfig {
            page_size: PAGE as u32,
            frames,
            slots: 64,
            commit: Commit::Strict,
            arena: PageRange { start: PageNo(BASE), count: 64 },
            stack: StackRule::default(),
        },
        policy,
    )
}

fn clock(frames: u32) -> Spaces {
    spaces(frames, Box::new(Clock::new(frames - 1, Arrival::Referenced)))
}

fn addr(page: u64) -> u64 {
    (BASE + page) * PAGE
}

/// Begins a fault and takes its first step.
fn fault(spaces: &mut Spaces, space: SpaceNo, page: u64, access: Access) -> (SpaceFault, Next) {
    let mut fault = spaces.begin_fault(space, addr(page), access).expect("it is mapped");
    let next = spaces.advance(&mut fault).expect("it can be served");
    spaces.check_invariants();
    (fault, next)
}

/// Serves a fault that needs no transfer.
fn serve(spaces: &mut Spaces, space: SpaceNo, page: u64, access: Access) {
    let (mut fault, mut next) = fault(spaces, space, page, access);
    while !matches!(next, Next::Ready(_)) {
        assert!(matches!(next, Next::Zero(_) | Next::Stage(_) | Next::Unstage(_)), "{next:?} is a transfer");
        next = spaces.advance(&mut fault).expect("it can be served");
    }
    spaces.check_invariants();
}

fn block(file: u32, block: u64) -> Memory {
    Memory::File(FileRange { file: FileNo(file), block, end: u64::MAX, writable: true })
}

const ONE: SpaceNo = SpaceNo(1);
const TWO: SpaceNo = SpaceNo(2);

#[test]
fn faults_without_transfers_do_not_wait_behind_one_with() {
    let mut spaces = clock(5);
    spaces.create(ONE);
    spaces.create(TWO);
    spaces.map_page(ONE, block(0, 0)).expect("room");
    for _ in 0..3 {
        spaces.map_page(TWO, Memory::Anonymous).expect("room");
    }
    let (mut slow, next) = fault(&mut spaces, ONE, 0, Access::Read);
    let Next::Read(read) = next else { panic!("{next:?}") };
    // A first write, another, and a page that is in memory.
    serve(&mut spaces, TWO, 0, Access::Write);
    serve(&mut spaces, TWO, 1, Access::Write);
    spaces.fork(TWO, SpaceNo(3)).expect("slots");
    serve(&mut spaces, SpaceNo(3), 0, Access::Write);
    spaces.read_done(read.frame, FillResult::Good);
    assert!(matches!(spaces.advance(&mut slow), Ok(Next::Ready(served)) if served.major));
    spaces.check_invariants();
}

#[test]
fn two_faults_on_one_block_read_it_once() {
    let mut spaces = clock(4);
    spaces.create(ONE);
    spaces.create(TWO);
    spaces.map_page(ONE, block(0, 7)).expect("room");
    spaces.map_page(TWO, block(0, 7)).expect("room");
    let (mut first, next) = fault(&mut spaces, ONE, 0, Access::Read);
    let Next::Read(read) = next else { panic!("{next:?}") };
    assert_eq!(read.place, Place::Block { file: FileNo(0), block: 7, bytes: PAGE as u32 });
    let (mut second, next) = fault(&mut spaces, TWO, 0, Access::Write);
    assert_eq!(next, Next::Wait);
    spaces.read_done(read.frame, FillResult::Good);
    assert!(matches!(spaces.advance(&mut second), Ok(Next::Ready(_))));
    assert!(matches!(spaces.advance(&mut first), Ok(Next::Ready(_))));
    // Both see what the second may write now.
    for space in [ONE, TWO] {
        assert_eq!(spaces.pte(space, PageNo(BASE)).expect("mapped").prot, Prot::READ_WRITE);
    }
    spaces.check_invariants();
}

#[test]
fn pages_in_transfers_are_pinned() {
    let mut spaces = clock(3);
    spaces.create(ONE);
    for n in 0..3 {
        spaces.map_page(ONE, block(0, n)).expect("room");
    }
    let (_, next) = fault(&mut spaces, ONE, 0, Access::Read);
    let Next::Read(first) = next else { panic!("{next:?}") };
    let (_, next) = fault(&mut spaces, ONE, 1, Access::Read);
    let Next::Read(second) = next else { panic!("{next:?}") };
    assert_ne!(first.frame, second.frame);
    // Both frames are being filled: the third has to wait, and takes none of them.
    let (mut third, next) = fault(&mut spaces, ONE, 2, Access::Read);
    assert_eq!(next, Next::Wait);
    spaces.read_done(second.frame, FillResult::Good);
    assert_eq!(
        spaces.advance(&mut third),
        Ok(Next::Read(Transfer {
            frame: second.frame,
            place: Place::Block { file: FileNo(0), block: 2, bytes: PAGE as u32 },
        }))
    );
    spaces.check_invariants();
}

#[test]
fn a_page_that_is_being_evicted_is_waited_for() {
    let mut spaces = clock(2);
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Write);
    let (mut second, next) = fault(&mut spaces, ONE, 1, Access::Write);
    let Next::Write(write) = next else { panic!("{next:?}") };
    assert_eq!(write, Transfer { frame: FrameNo(1), place: Place::Slot(SlotNo(0)) });
    let (mut first, next) = fault(&mut spaces, ONE, 0, Access::Read);
    assert_eq!(next, Next::Wait);
    spaces.write_done(write.frame, WriteResult::Failed);
    spaces.check_invariants();
    // It stayed, and is dirty.
    assert!(matches!(spaces.advance(&mut first), Ok(Next::Ready(served)) if !served.major));
    assert_eq!(spaces.pte(ONE, PageNo(BASE)).expect("mapped").prot, Prot::READ_WRITE);
    // The other one tries again.
    let Ok(Next::Write(write)) = spaces.advance(&mut second) else { panic!("it needs the frame") };
    spaces.write_done(write.frame, WriteResult::Done);
    assert!(matches!(spaces.advance(&mut second), Ok(Next::Zero(FrameNo(1)))));
    spaces.check_invariants();
}

/// A process that ends while its pages are in transfers: frames and slots are free afterwards.
#[test]
fn transfers_of_processes_that_ended_end_too() {
    let mut spaces = clock(3);
    spaces.create(ONE);
    for _ in 0..3 {
        spaces.map_page(ONE, Memory::Anonymous).expect("room");
    }
    serve(&mut spaces, ONE, 0, Access::Write);
    serve(&mut spaces, ONE, 1, Access::Write);
    let (mut third, next) = fault(&mut spaces, ONE, 2, Access::Write);
    let Next::Write(write) = next else { panic!("{next:?}") };
    spaces.write_done(write.frame, WriteResult::Done);
    spaces.advance(&mut third).expect("a frame is free");
    // Page 0 is away now; its fill is under way when the process ends, and page 1's write as well.
    let (mut back, next) = fault(&mut spaces, ONE, 0, Access::Read);
    let Next::Write(victim) = next else { panic!("{next:?}") };
    spaces.destroy(ONE);
    spaces.check_invariants();
    assert_eq!(spaces.advance(&mut back), Err(FaultError::NoArea));
    spaces.write_done(victim.frame, WriteResult::Done);
    spaces.check_invariants();
    assert_eq!((spaces.frames_used(), spaces.slots_used(), spaces.slots_reserved()), (1, 0, 0));

    spaces.create(TWO);
    spaces.map_page(TWO, block(3, 1)).expect("room");
    let (_, next) = fault(&mut spaces, TWO, 0, Access::Read);
    let Next::Read(read) = next else { panic!("{next:?}") };
    spaces.destroy(TWO);
    spaces.check_invariants();
    spaces.read_done(read.frame, FillResult::Bad);
    spaces.check_invariants();
    assert_eq!(spaces.frames_used(), 1);
    assert!(!spaces.uses_file(FileNo(3)));
}

/// What a fork or an end costs does not grow with the number of owners: only the one that becomes
/// or stops being alone has other rights.
#[test]
fn of_many_owners_only_the_last_two_are_told_of_each_other() {
    let told = |spaces: &mut Spaces| {
        let mut updates = Vec::new();
        spaces.take_updates(&mut updates);
        updates.into_iter().map(|(space, _)| space.0).collect::<std::collections::BTreeSet<_>>()
    };
    let rights = |spaces: &Spaces, space| spaces.pte(space, PageNo(BASE)).map(|pte| pte.prot);
    let mut spaces = clock(3);
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Write);
    told(&mut spaces);
    spaces.fork(ONE, TWO).expect("slots");
    assert_eq!(told(&mut spaces), [1, 2].into());
    assert_eq!(rights(&spaces, ONE), Some(Prot::READ));
    for child in 3..10 {
        spaces.fork(ONE, SpaceNo(child)).expect("slots");
        assert_eq!(told(&mut spaces), [child].into());
    }
    for child in 3..10 {
        spaces.destroy(SpaceNo(child));
        assert_eq!(told(&mut spaces), [child].into());
    }
    spaces.destroy(TWO);
    assert_eq!(told(&mut spaces), [1, 2].into());
    assert_eq!(rights(&spaces, ONE), Some(Prot::READ_WRITE));
}

/// The other owner goes away between staging and the copy: the page is the last owner's own.
#[test]
fn a_copy_that_is_no_longer_needed_is_not_made() {
    let mut spaces = clock(3);
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Write);
    spaces.fork(ONE, TWO).expect("slots");
    let (mut write, next) = fault(&mut spaces, TWO, 0, Access::Write);
    assert_eq!(next, Next::Stage(FrameNo(1)));
    spaces.destroy(ONE);
    assert!(matches!(spaces.advance(&mut write), Ok(Next::Ready(_))));
    assert_eq!((spaces.frames_used(), spaces.slots_used()), (2, 1));
    spaces.check_invariants();
}

/// While a page is being synced its frame stays, and what is written to it makes it dirty again.
#[test]
fn a_write_during_a_sync_is_not_lost() {
    let mut spaces = clock(2);
    spaces.create(ONE);
    let request = MapRequest {
        at: Some(PageNo(BASE)),
        count: 2,
        prot: Prot::READ_WRITE,
        share: Share::Shared,
        memory: block(0, 0),
        replace: false,
        origin: Origin::Mapping,
    };
    spaces.map(ONE, request).expect("room");
    let (mut write, next) = fault(&mut spaces, ONE, 0, Access::Write);
    let Next::Read(read) = next else { panic!("{next:?}") };
    spaces.read_done(read.frame, FillResult::Good);
    assert!(matches!(spaces.advance(&mut write), Ok(Next::Ready(_))));
    let sync = spaces.begin_sync(ONE, PageNo(BASE)).expect("it is dirty");
    assert_eq!(spaces.begin_sync(ONE, PageNo(BASE)), None, "it is being written");
    spaces.check_invariants();
    let (_, next) = fault(&mut spaces, ONE, 1, Access::Read);
    assert_eq!(next, Next::Wait, "the only frame is pinned");
    serve(&mut spaces, ONE, 0, Access::Write);
    spaces.sync_done(sync.frame, WriteResult::Done);
    spaces.check_invariants();
    assert!(spaces.recipe(ONE, PageNo(BASE)).expect("mapped").dirty);
}

/// A policy that names a frame which may not be taken.
#[derive(Debug)]
struct Liar;

impl Policy for Liar {
    fn inserted(&mut self, _: FrameNo, _: u64) {}
    fn touched(&mut self, _: FrameNo) {}
    fn next(&mut self, _: u64, _: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        Some(Step::Evict(FrameNo(0)))
    }
    fn evicted(&mut self, _: FrameNo) {}
    fn removed(&mut self, _: FrameNo) {}
}

#[test]
#[should_panic(expected = "which may not be taken")]
fn the_answers_of_policies_are_checked() {
    let mut spaces = spaces(2, Box::new(Liar));
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Write);
    fault(&mut spaces, ONE, 1, Access::Write);
}

/// A policy that never decides.
#[derive(Debug)]
struct Ditherer;

impl Policy for Ditherer {
    fn inserted(&mut self, _: FrameNo, _: u64) {}
    fn touched(&mut self, _: FrameNo) {}
    fn next(&mut self, _: u64, _: &mut dyn FnMut(FrameNo) -> bool) -> Option<Step> {
        Some(Step::Unreference(FrameNo(1)))
    }
    fn evicted(&mut self, _: FrameNo) {}
    fn removed(&mut self, _: FrameNo) {}
}

#[test]
fn a_policy_that_never_decides_does_not_hang_the_core() {
    let mut spaces = spaces(2, Box::new(Ditherer));
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Write);
    let mut second = spaces.begin_fault(ONE, addr(1), Access::Write).expect("it is mapped");
    assert_eq!(spaces.advance(&mut second), Err(FaultError::NoFrame));
    spaces.check_invariants();
}

/// A policy that takes the lowest page: whoever it may not take is passed over.
fn first(frames: u32) -> Spaces {
    spaces(frames, Box::new(First::new(frames - 1)))
}

#[test]
fn pinned_pages_are_passed_over_and_a_frame_may_be_lent() {
    let mut spaces = first(3);
    spaces.create(ONE);
    for page in 0..4 {
        assert_eq!(spaces.map_page(ONE, Memory::Anonymous), Ok(PageNo(BASE + page)));
    }
    serve(&mut spaces, ONE, 0, Access::Write);
    serve(&mut spaces, ONE, 1, Access::Write);
    let lowest = spaces.frame(ONE, PageNo(BASE)).expect("it was written");
    spaces.referenced(lowest);
    spaces.pin(ONE, PageNo(BASE));
    spaces.pin(ONE, PageNo(BASE));
    // The lowest page is pinned, so the next one has to leave.
    let (mut third, next) = fault(&mut spaces, ONE, 2, Access::Write);
    let Next::Write(write) = next else { panic!("{next:?}") };
    assert_eq!(Some(write.frame), spaces.frame(ONE, PageNo(BASE + 1)));
    assert!(spaces.is_in_transfer(ONE, PageNo(BASE + 1)));
    spaces.write_done(write.frame, WriteResult::Done);
    assert_eq!(spaces.advance(&mut third), Ok(Next::Zero(write.frame)));
    assert!(matches!(spaces.advance(&mut third), Ok(Next::Ready(_))));
    assert_eq!(spaces.frame(ONE, PageNo(BASE + 1)), None);
    spaces.pin(ONE, PageNo(BASE + 2));
    spaces.check_invariants();
    // Every frame is pinned: only one more helps, and it is given back when there are too many.
    let mut stuck = spaces.begin_fault(ONE, addr(3), Access::Write).expect("it is mapped");
    assert_eq!(spaces.advance(&mut stuck), Err(FaultError::NoFrame));
    spaces.set_frames(4);
    serve(&mut spaces, ONE, 3, Access::Write);
    assert_eq!(spaces.frames_used(), 4);
    spaces.set_frames(3);
    spaces.unpin(ONE, PageNo(BASE + 2));
    spaces.unpin(ONE, PageNo(BASE));
    let (mut again, mut next) = fault(&mut spaces, ONE, 1, Access::Read);
    for gone in [2, 3] {
        let Next::Write(write) = next else { panic!("{next:?}") };
        assert_eq!(
            Some(write.frame),
            spaces.frame(ONE, PageNo(BASE + gone)),
            "the lowest that is not pinned"
        );
        spaces.write_done(write.frame, WriteResult::Done);
        next = spaces.advance(&mut again).expect("it can be served");
    }
    let Next::Read(read) = next else { panic!("{next:?}") };
    spaces.read_done(read.frame, FillResult::Good);
    assert!(matches!(spaces.advance(&mut again), Ok(Next::Ready(_))));
    assert_eq!(spaces.frames_used(), 3);
    assert_eq!(spaces.frame(ONE, PageNo(BASE)), Some(lowest), "one pin is left");
    spaces.check_invariants();
}

#[test]
#[should_panic(expected = "is pinned and not in memory")]
fn what_is_not_in_memory_cannot_be_pinned() {
    let mut spaces = clock(3);
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Read);
    spaces.pin(ONE, PageNo(BASE));
}

#[test]
#[should_panic(expected = "as often as it was pinned")]
fn pins_are_counted() {
    let mut spaces = clock(3);
    spaces.create(ONE);
    spaces.map_page(ONE, Memory::Anonymous).expect("room");
    serve(&mut spaces, ONE, 0, Access::Write);
    spaces.pin(ONE, PageNo(BASE));
    spaces.unpin(ONE, PageNo(BASE));
    spaces.unpin(ONE, PageNo(BASE));
}

/// While a fault waits for room its page is unmapped, and maybe nothing takes its place.
#[test]
fn a_fault_whose_page_is_unmapped_ends() {
    let mut spaces = first(2);
    spaces.create(ONE);
    for _ in 0..2 {
        spaces.map_page(ONE, Memory::Anonymous).expect("room");
    }
    serve(&mut spaces, ONE, 0, Access::Write);
    let (mut second, next) = fault(&mut spaces, ONE, 1, Access::Write);
    let Next::Write(write) = next else { panic!("{next:?}") };
    spaces.unmap(ONE, PageRange::one(PageNo(BASE + 1)));
    spaces.write_done(write.frame, WriteResult::Done);
    assert_eq!(spaces.advance(&mut second), Err(FaultError::NoArea));
    spaces.check_invariants();
    assert_eq!(spaces.map_page(ONE, Memory::Anonymous), Ok(PageNo(BASE + 1)), "nothing is left there");
    spaces.check_invariants();
}
