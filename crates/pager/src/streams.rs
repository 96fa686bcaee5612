//! Stream detection: which pages will be wanted next.
//!
//! Several streams may interleave (a merge reads from many places at once), each
//! forward, backward or with a stride. A stream is recognised from the misses
//! alone: two on neighbouring pages (three while most of what is read ahead is read in
//! vain), or three at one distance. It goes on where it
//! was expected to, past pages that cause no fault; then its window doubles. A page
//! that merely lies near says nothing: random touches would be read ahead for. The idea is
//! that of Linux's on-demand readahead (Wu Fengguang, "Sequential File Prefetching in
//! Linux", 2008): a touch at the start of what was read ahead is what asks for more.

use crate::page::PageNo;

const STREAMS: usize = 32;
const MISSES: usize = 32;
/// The widest stride that is followed, in pages.
const MAX_STRIDE: i64 = 64;
const FIRST_WINDOW: u32 = 2;
/// The first window of a stream that was announced.
const ANNOUNCED_WINDOW: u32 = 32;
/// What only looks like a stream does not come to a window of this, unless it was announced.
const SURE_WINDOW: u32 = 8;

/// A stream that goes on at the page just asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Going {
    pub(crate) id: usize,
    /// Pages from one access to the next; never 0.
    pub(crate) stride: i64,
    /// How many accesses to prepare for.
    pub(crate) window: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The last page that has been made accessible, or touched.
    last: i64,
    /// The last page asked of the store.
    ahead: i64,
    /// 0: the record is unused.
    stride: i64,
    window: u32,
    used: u64,
    /// How many pages had been read ahead, for whichever stream, when it was touched last.
    read_by_then: u64,
    /// The most that were read ahead between two touches.
    longest_away: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Streams {
    streams: [Stream; STREAMS],
    misses: [i64; MISSES],
    next_miss: usize,
    now: u64,
    max_window: u32,
    /// Pages read ahead, in all.
    read_in_all: u64,
    /// Pages read ahead of late, and how many of them were touched; halved now and then.
    read: u32,
    used: u32,
}

/// Pages read ahead that are remembered.
const RECENT: u32 = 1024;

impl Streams {
    /// Streams whose windows grow to at most `max_window` accesses.
    pub(crate) fn new(max_window: u32) -> Self {
        Self {
            streams: [Stream::default(); STREAMS],
            misses: [i64::MIN / 2; MISSES],
            next_miss: 0,
            now: 0,
            max_window,
            read_in_all: 0,
            read: 0,
            used: 0,
        }
    }

    /// A page has been read ahead.
    pub(crate) fn read_one(&mut self) {
        self.read_in_all += 1;
        self.read += 1;
        if self.read >= RECENT {
            (self.read, self.used) = (self.read / 2, self.used / 2);
        }
    }

    /// A page that was read ahead has been touched.
    pub(crate) fn used_one(&mut self) {
        self.used += 1;
    }

    /// Whether most of what was read ahead of late was in vain.
    fn doubtful(&self) -> bool {
        self.read >= RECENT / 4 && self.used * 2 < self.read
    }

    pub(crate) fn set_max_window(&mut self, max_window: u32) {
        self.max_window = max_window;
    }

    /// Tells of a touch on `page` that was noticed; the stream it belongs to, if any.
    /// `silent` says of which pages a touch goes unnoticed, because they are mapped.
    pub(crate) fn touch(&mut self, page: PageNo, silent: impl Fn(PageNo) -> bool) -> Option<Going> {
        self.now += 1;
        let page = page.0 as i64;
        let max_window = self.max_window;
        for (id, stream) in self.streams.iter_mut().enumerate() {
            if stream.stride == 0 {
                continue;
            }
            let distance = page - stream.last;
            let steps = distance / stream.stride;
            let near = distance % stream.stride == 0 && steps >= 1 && steps <= i64::from(stream.window) + 1;
            if near && (1..steps).all(|step| silent(PageNo((stream.last + step * stream.stride) as u64))) {
                stream.last = page;
                stream.used = self.now;
                stream.longest_away = stream.longest_away.max(self.read_in_all - stream.read_by_then);
                stream.read_by_then = self.read_in_all;
                stream.window = (stream.window * 2).min(max_window);
                return Some(Going { id, stride: stream.stride, window: stream.window });
            }
        }
        let stride = self.recognise(page);
        self.note_miss(page);
        self.start(page, stride?, FIRST_WINDOW)
    }

    /// A stream that goes up from `page`, because the program has said so; none where nothing
    /// is read ahead.
    pub(crate) fn begin(&mut self, page: PageNo) -> Option<Going> {
        self.start(page.0 as i64, 1, ANNOUNCED_WINDOW)
    }

    fn start(&mut self, page: i64, stride: i64, window: u32) -> Option<Going> {
        let window = window.min(self.max_window);
        if window == 0 {
            return None;
        }
        let oldest = (0..STREAMS).min_by_key(|id| self.streams[*id].used)?;
        self.streams[oldest] = Stream {
            last: page,
            ahead: page,
            stride,
            window,
            used: self.now,
            read_by_then: self.read_in_all,
            longest_away: 0,
        };
        Some(Going { id: oldest, stride, window })
    }

    fn note_miss(&mut self, page: i64) {
        self.misses[self.next_miss] = page;
        self.next_miss = (self.next_miss + 1) % MISSES;
    }

    /// The stride at which `page` continues earlier misses.
    fn recognise(&self, page: i64) -> Option<i64> {
        let near = |from: i64| self.misses.contains(&from);
        // Among touches that only look like streams, a third in order is asked for.
        let doubtful = self.doubtful();
        for stride in [1, -1] {
            if near(page - stride) && (!doubtful || near(page - 2 * stride)) {
                return Some(stride);
            }
        }
        if doubtful {
            return None;
        }
        let strides = self.misses.iter().map(|miss| page - miss);
        strides.filter(|d| *d != 0 && d.abs() <= MAX_STRIDE).find(|d| near(page - 2 * d))
    }

    /// How many streams read ahead and go on; one at least. A stream has ended that has not been touched while
    /// `patience` pages were read ahead, or twice as many as ever before between two of its touches.
    pub(crate) fn going_on(&self, patience: u32) -> u32 {
        let goes_on = |stream: &&Stream| {
            let is_sure = stream.stride != 0 && stream.window >= SURE_WINDOW;
            // One that fills pages leaves behind what it has asked of the store.
            let reads = (stream.ahead - stream.last) * stream.stride.signum() >= 0;
            let away = self.read_in_all - stream.read_by_then;
            is_sure && reads && away <= u64::from(patience).max(2 * stream.longest_away)
        };
        self.streams.iter().filter(goes_on).count().max(1) as u32
    }

    /// Pages up to `page` have been made accessible.
    pub(crate) fn reached(&mut self, id: usize, page: PageNo) {
        self.streams[id].last = page.0 as i64;
    }

    /// The last page of the stream that was asked of the store.
    pub(crate) fn ahead(&self, id: usize) -> i64 {
        self.streams[id].ahead
    }

    /// Whether the stream had been read ahead beyond `page`, which turned out not to
    /// be there any more; it is then read ahead from `page` again.
    pub(crate) fn lost_ahead(&mut self, id: usize, page: PageNo) -> bool {
        let stream = &mut self.streams[id];
        let lost = (stream.ahead - page.0 as i64) * stream.stride.signum() > 0;
        stream.ahead = page.0 as i64;
        lost
    }

    /// Takes back what the last touch and one before it added to the window, and gives it.
    pub(crate) fn shrink(&mut self, id: usize) -> u32 {
        let stream = &mut self.streams[id];
        stream.window = (stream.window / 4).max(FIRST_WINDOW.min(self.max_window));
        stream.window
    }

    /// Everything up to `page` has been asked of the store.
    pub(crate) fn set_ahead(&mut self, id: usize, page: i64) {
        self.streams[id].ahead = page;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pages: impl IntoIterator<Item = u64>) -> Vec<Option<i64>> {
        let mut streams = Streams::new(64);
        pages.into_iter().map(|p| streams.touch(PageNo(p), |_| false).map(|going| going.stride)).collect()
    }

    #[test]
    fn forward_backward_and_strided_streams_are_recognised() {
        assert_eq!(run([100, 101, 102]), [None, Some(1), Some(1)]);
        assert_eq!(run([100, 99, 98]), [None, Some(-1), Some(-1)]);
        assert_eq!(run([100, 107, 114, 121]), [None, None, Some(7), Some(7)]);
    }

    #[test]
    fn interleaved_streams_are_kept_apart() {
        let pages = (0..50).flat_map(|i| [1000 + i, 9000 - i, 20_000 + 5 * i]);
        let found = run(pages);
        assert!(found[9..].iter().all(Option::is_some), "{found:?}");
    }

    #[test]
    fn random_pages_are_not_a_stream() {
        let mut x = 1u64;
        let pages = (0..10_000).map(|_| {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            x >> 40
        });
        assert!(run(pages).iter().filter(|s| s.is_some()).count() < 100);
    }

    #[test]
    fn a_stream_goes_on_past_mapped_pages_and_nowhere_else() {
        let mut streams = Streams::new(64);
        let found = (0..8).filter(|page| streams.touch(PageNo(*page), |_| false).is_some()).count();
        assert_eq!(found, 7);
        assert_eq!(streams.touch(PageNo(12), |_| false), None);
        assert!(streams.touch(PageNo(14), |page| (8..14).contains(&page.0)).is_some());
    }

    #[test]
    fn streams_that_have_ended_or_read_nothing_are_not_counted() {
        let mut streams = Streams::new(64);
        let mut go_through = |pages: core::ops::Range<u64>, reads: bool| {
            for page in pages {
                let Some(going) = streams.touch(PageNo(page), |_| false) else { continue };
                if reads {
                    streams.set_ahead(going.id, page as i64 + 1);
                    streams.read_one();
                } else {
                    streams.reached(going.id, PageNo(page));
                }
            }
            streams.going_on(50)
        };
        assert_eq!(go_through(1000..1003, true), 1, "one at least");
        for (count, first) in [(1, 2000), (2, 3000), (3, 4000)] {
            assert_eq!(go_through(first..first + 7, true), count);
        }
        assert_eq!(go_through(5000..5007, false), 3, "this one reads nothing ahead");
        assert_eq!(go_through(4007..4100, true), 1, "the others have ended");
        // This one comes back after 93 pages: it may stay away for 186 from now on.
        assert_eq!(go_through(3007..3008, true), 2);
        assert_eq!(go_through(4100..4200, true), 2);
        assert_eq!(go_through(4200..4300, true), 1);
    }

    #[test]
    fn the_window_doubles_up_to_its_limit() {
        let mut streams = Streams::new(64);
        let windows: Vec<u32> =
            (0..8).filter_map(|p| streams.touch(PageNo(p), |_| false)).map(|going| going.window).collect();
        assert_eq!(windows, [2, 4, 8, 16, 32, 64, 64]);
    }
}
