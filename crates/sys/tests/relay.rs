//! Memory that may not be there is copied, or an error is told.
#![expect(unsafe_code, reason = "maps memory, and copies from where there is none")]

use rustix::io::Errno;
use sys::maps::{self, Reservation};
use sys::relay::{BYTES, Relay};
use sys::views::Rights;

#[test]
fn what_is_not_there_is_an_error_and_no_signal() {
    let relay = Relay::new().unwrap();
    let memory = Reservation::new(4 * BYTES).unwrap();
    let page = |number: usize| memory.addr() + number * BYTES;
    let (first, mut found) = (core::array::from_fn(|place| place as u8), [0; BYTES]);
    // SAFETY: pages of the reservation's own, of which nothing else is known.
    unsafe {
        maps::unmap(page(1), BYTES).unwrap();
        maps::put_memory(page(2), BYTES, Rights::Read).unwrap();
        relay.write(&first, page(0)).unwrap();
        assert_eq!(relay.read(page(1), &mut found), Err(Errno::FAULT));
        assert_eq!(relay.write(&[7; BYTES], page(1)), Err(Errno::FAULT));
        assert_eq!(relay.write(&[7; BYTES], page(2)), Err(Errno::FAULT));
        // Of what failed nothing is left.
        relay.read(page(0), &mut found).unwrap();
        assert!(found == first);
        relay.read(page(2), &mut found).unwrap();
        assert!(found == [0; BYTES]);
        // Half of it is there.
        assert_eq!(relay.read(page(0) + BYTES / 2, &mut found), Err(Errno::FAULT));
        relay.write(&[9; BYTES], page(3)).unwrap();
        relay.read(page(3), &mut found).unwrap();
        assert!(found == [9; BYTES]);
        // The reservation unmaps all of itself.
        maps::put_memory(page(1), BYTES, Rights::Read).unwrap();
    }
}
