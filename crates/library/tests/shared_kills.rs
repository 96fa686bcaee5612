#![expect(unsafe_code, reason = "kills processes, and touches shared memory")]
//! Members and servers of shared arenas that are killed at any moment.

mod common;
mod members;

use common::{MIB, Random, word};
use members::{
    Member, attach, create, is_dead, is_over, is_signed_by, name, servers_of, signed, within, words,
};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

const BUDGET: usize = 4 * MIB;
const SIZE: usize = 32 * MIB;

/// Kills members at random moments, each of which is replaced: those that live on find what
/// they wrote, and who comes finds whole words of who was killed. Nothing is left in the end.
fn kill_members(kills: u32) {
    let name = name("kills");
    let arena = create(&name, SIZE, BUDGET);
    for page in 0..SIZE / common::PAGE {
        for lane in 0..4 {
            for half in [0, 256] {
                let place = page * 512 + half + lane;
                words(&arena)[place].store(signed(lane as u64, place as u64), Ordering::Relaxed);
            }
        }
    }
    let names = [name.clone()];
    let begin = |lane| {
        let mut member = Member::start(&names, lane);
        member.tell("churn");
        assert_eq!(member.answer(), "churns");
        member
    };
    let mut members: Vec<Member> = (0..4).map(begin).collect();
    let seed = 20_261_121;
    let mut random = Random(seed);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_micros(random.next() % 20_000));
        let lane = random.below(4);
        members[lane].kill();
        let last = members[lane].answer();
        assert_eq!(last, "", "kill {kill} of seed {seed}");
        members[lane] = begin(lane as u64);
    }
    for member in &mut members {
        member.kill();
        assert_eq!(member.answer(), "", "seed {seed}");
    }
    within("members that were killed are still counted", || arena.stats().expect("numbers").members == 1);
    let mut bad = 0;
    for (index, place) in words(&arena).iter().enumerate() {
        let (lane, found) = (index as u64 % 256, place.load(Ordering::Relaxed));
        bad += u32::from(if lane < 4 { !is_signed_by(lane, found) } else { found != 0 });
    }
    assert_eq!(bad, 0, "wrong words after seed {seed}");
    let [server] = servers_of(&name)[..] else { panic!("not one server") };
    let stats = arena.stats().expect("numbers");
    assert!(stats.swap_outs > 0 && stats.poisoned_pages == 0, "{stats:?}");
    drop(arena);
    is_over(&name);
    is_dead(server);
}

#[test]
fn members_are_killed_and_the_others_go_on() {
    kill_members(20);
}

/// By hand: `cargo test --release -p outcore-library --test shared_kills -- --ignored two_hundred`.
#[test]
#[ignore = "takes a while"]
fn two_hundred_members_are_killed() {
    kill_members(200);
}

/// The last member may be killed as well: nobody else is there to clean up.
#[test]
fn a_killed_last_member_leaves_nothing() {
    let name = name("alone");
    let arena = create(&name, SIZE, BUDGET);
    let mut member = Member::start(core::slice::from_ref(&name), 0);
    member.tell("fill");
    assert_eq!(member.answer(), "0 wrong");
    let [server] = servers_of(&name)[..] else { panic!("not one server") };
    drop(arena);
    assert_eq!(servers_of(&name), [server]);
    member.kill();
    is_over(&name);
    is_dead(server);
}

/// Kills servers: members read what is in memory, or die of SIGBUS. Nobody reads anything else.
fn kill_servers(kills: u32) {
    let seed = 4_711;
    let mut random = Random(seed);
    for kill in 0..kills {
        let name = name("server");
        let arena = create(&name, SIZE, BUDGET);
        for (index, place) in words(&arena).iter().enumerate() {
            place.store(word(4, index), Ordering::Relaxed);
        }
        let mut member = Member::start(core::slice::from_ref(&name), 0);
        let [server] = servers_of(&name)[..] else { panic!("not one server") };
        member.tell("read");
        std::thread::sleep(Duration::from_micros(random.next() % 8_000));
        // SAFETY: the arena's server, which is alone with this number while it lives.
        unsafe { libc::kill(server.cast_signed(), libc::SIGKILL) };
        let status = member.child.wait().expect("it ends");
        let said = member.answer();
        assert_eq!(said, "", "kill {kill} of seed {seed}");
        assert_eq!(status.signal(), Some(libc::SIGBUS), "kill {kill} of seed {seed}: {status}");
        within("the keeper has not noticed", || arena.is_orphaned());
        assert!(arena.stats().is_err());
        // The name is free at once, and the old view is left without harm.
        let anew = create(&name, SIZE, BUDGET);
        assert_eq!(words(&anew)[0].load(Ordering::Relaxed), 0);
        drop(arena);
        assert_eq!(attach(&name).len(), SIZE);
    }
}

#[test]
fn a_killed_server_is_nobodys_zeros() {
    kill_servers(5);
}

/// By hand, as above.
#[test]
#[ignore = "takes a while"]
fn two_hundred_servers_are_killed() {
    kill_servers(200);
}
