//! The clerk: a thread of the pager's that gives maps of files back to the kernel.
//!
//! It does so when somebody wants to write to a file, and when the program changes a map. The program's
//! thread has locked the address space then, and waits; otherwise the clerk locks it. It waits for nobody
//! else but the pager, who reads what the kernel announces.

use crate::core::Core;
use crate::engine::{Engine, die};
use crate::files::leases::{Leases, Returning};
use crate::files::own;
use crate::signals::Blocked;
use core::time::Duration;
use pager::SlotNo;
use sys::lease;

/// How often leases are looked at although nobody has told of one.
const LOOK: Duration = Duration::from_secs(1);
/// The same where the pager is a thread of the program, whose signals are the program's.
const LOOK_ALONE: Duration = Duration::from_millis(20);
/// The same while there is no lease.
const LOOK_AT_NOTHING: Duration = Duration::from_secs(60);
/// How often it is tried to lock the address space, and to protect a map.
const AGAIN: Duration = Duration::from_micros(100);
/// How many times it is tried to protect a map: a second at least.
const MOST_TRIES: u32 = 10_000;

/// Starts it. Files may be paged once it has begun, or if that is not possible, never; the caller, who may
/// have to serve it, must not wait.
pub(crate) fn start(engine: &'static Engine) {
    let _blocked = Blocked::all();
    let builder = std::thread::Builder::new().name("outcore-clerk".into()).stack_size(64 << 10);
    let started = builder.spawn(move || {
        (engine.thread_starts)();
        let mut core = engine.lock_core();
        let leases = core.live.as_mut().and_then(|live| live.files.leases.as_mut());
        leases.into_iter().for_each(|leases| leases.set_clerk(lease::this_thread()));
        drop(core);
        engine.files_ready.open();
        loop {
            wait(engine);
            serve(engine);
        }
    });
    if started.is_err() {
        // Without it there are no leases.
        engine.files_ready.open();
    }
}

fn wait(engine: &Engine) {
    let are_none = {
        let core = engine.lock_core();
        let leases = core.live.as_ref().and_then(|live| live.files.leases.as_ref());
        leases.is_none_or(Leases::are_none)
    };
    if !engine.pager_is_a_process() {
        // Signals to the program's process are the program's to take.
        std::thread::sleep(LOOK_ALONE);
    } else if are_none {
        lease::wait(LOOK_AT_NOTHING);
    } else {
        lease::wait(LOOK);
    }
}

/// Does what there is to do.
fn serve(engine: &Engine) {
    let mut homes = Vec::new();
    loop {
        let mut core = engine.lock_core();
        let Core { pager, live: Some(live), .. } = &mut *core else { return };
        if let Some(order) = live.files.leases.as_mut().and_then(Leases::next_order) {
            let homes = live.leases_within(pager, order.range());
            drop(core);
            give_back(engine, &homes);
            order.ticket.end(Ok(()));
            continue;
        }
        homes.extend(live.written_leases(pager));
        homes.extend(live.broken_leases());
        drop(core);
        if homes.is_empty() {
            return;
        }
        match engine.try_address_space() {
            Some(_space) => {
                give_back(engine, &homes);
                homes.clear();
            }
            // Who has it may wait for an order to be carried out.
            None => std::thread::sleep(AGAIN),
        }
    }
}

fn give_back(engine: &Engine, homes: &[SlotNo]) {
    for home in homes {
        let Some(returning) = begin(engine, *home) else { continue };
        let Some(returning) = own::keep_changes(engine, *home, returning) else { continue };
        place(engine, &returning);
        let mut core = engine.lock_core();
        core.live.iter_mut().for_each(|live| live.returned(*home, &returning));
        drop(core);
        engine.renounce(returning.promised());
    }
}

/// From here on nobody can write to it before it is the kernel's. None if it is already.
fn begin(engine: &Engine, home: SlotNo) -> Option<Returning> {
    for _ in 0..MOST_TRIES {
        let mut core = engine.lock_core();
        let Core { pager, live: Some(live), .. } = &mut *core else { return None };
        let returning = live.begin_return(pager, home)?;
        if live.protect(&returning).is_ok() {
            return Some(returning);
        }
        // A change of the address space is being announced, which the pager has to read first.
        drop(core);
        std::thread::sleep(AGAIN);
    }
    die("the kernel refuses to write-protect a private map of a file, so it cannot be given back")
}

/// The kernel announces this to the pager, and goes on when that has read it.
fn place(engine: &Engine, returning: &Returning) {
    let changes: Vec<_> = returning.places().map(|(addr, len)| engine.change(addr, len)).collect();
    if let Err(error) = returning.place() {
        die(&format!("a mapped file could not be given back to the kernel: {error}"));
    }
    drop(changes);
}
