//! Who holds pins, who waits for them, and when waiting is of no use.
//!
//! A wait ends when pins are released, and pins are released by threads that run. So a thread
//! that wants pins may wait exactly as long as some other thread has pins and does not itself
//! wait for more. The last one that could not be served in this way is refused and keeps what
//! it has; the others wait on, because it runs.

use std::collections::HashMap;
use std::thread::ThreadId;

#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    /// Pins that it has, or is about to have.
    pins: usize,
    /// It waits for frames to be released.
    waiting: bool,
}

/// All threads with pins. See the module's page.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    by_thread: HashMap<ThreadId, Holder>,
}

impl Holders {
    pub(crate) fn add(&mut self, thread: ThreadId) {
        self.by_thread.entry(thread).or_default().pins += 1;
    }

    /// # Panics
    /// If the thread has no pin.
    pub(crate) fn remove(&mut self, thread: ThreadId) {
        let holder = self.by_thread.get_mut(&thread).expect("a pin has a holder");
        holder.pins -= 1;
        if holder.pins == 0 {
            self.by_thread.remove(&thread);
        }
    }

    /// Whether anybody but `thread` could release a pin.
    pub(crate) fn others_run(&self, thread: ThreadId) -> bool {
        self.by_thread.iter().any(|(other, holder)| *other != thread && !holder.waiting)
    }

    /// `thread` waits from now on, or no longer. One without pins is no holder, and nobody
    /// waits for it.
    pub(crate) fn set_waiting(&mut self, thread: ThreadId, waiting: bool) {
        if let Some(holder) = self.by_thread.get_mut(&thread) {
            holder.waiting = waiting;
        }
    }

    /// Pins of all threads.
    pub(crate) fn pins(&self) -> usize {
        self.by_thread.values().map(|holder| holder.pins).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_of_use_while_another_holder_runs() {
        let me = std::thread::current().id();
        let spawn = || std::thread::spawn(|| std::thread::current().id()).join().unwrap();
        let (one, two) = (spawn(), spawn());
        let mut holders = Holders::default();
        assert!(!holders.others_run(me), "nobody holds anything");
        holders.add(me);
        assert!(!holders.others_run(me), "only the caller does");
        holders.add(one);
        holders.add(one);
        holders.add(two);
        assert!(holders.others_run(me));
        holders.set_waiting(one, true);
        assert!(holders.others_run(me));
        holders.remove(two);
        assert!(!holders.others_run(me), "the only other one waits");
        assert!(holders.others_run(one), "the caller runs");
        holders.set_waiting(one, false);
        assert!(holders.others_run(me));
        holders.remove(one);
        assert!(holders.others_run(me), "it had two");
        assert_eq!(holders.pins(), 2);
        holders.remove(one);
        holders.set_waiting(one, true);
        assert!(!holders.others_run(me));
    }
}
