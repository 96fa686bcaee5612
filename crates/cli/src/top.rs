//! `outcore top`: the processes that run under outcore, live.

mod screen;

use crate::runs::{Life, Runs, Sample};
use crate::stat::{seconds, stall_share};
use crate::symbols::Symbols;
use crate::trouble::Trouble;
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

const KEYS: &str = "\
Keys:
  up, down, j, k    choose a process            enter, right    a page about it
  p n b h r f m w   sort by that column         left, escape    back
  q                 leave";

/// What `outcore top` was asked for.
#[derive(Args, Debug)]
#[command(after_help = KEYS)]
pub(crate) struct Options {
    /// Look again every so many seconds
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: f64,
}

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Tree,
    Name,
    Budget,
    Heap,
    Resident,
    Minor,
    Major,
    Waiting,
}

/// Rates of major faults that are kept to be drawn.
const HISTORY: usize = 10;

/// What is shown.
pub(crate) struct Top {
    pub(crate) samples: Vec<Sample>,
    before: Vec<Sample>,
    pub(crate) closed: Vec<String>,
    pub(crate) order: Order,
    chosen: usize,
    /// The process whose page is shown.
    pub(crate) page: Option<Sample>,
    history: HashMap<(u32, usize), Vec<f64>>,
    symbols: HashMap<u32, Symbols>,
}

/// A line of the list.
pub(crate) struct Row<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) depth: usize,
    pub(crate) minor: f64,
    pub(crate) major: f64,
    pub(crate) waiting: f64,
    pub(crate) history: Vec<f64>,
    pub(crate) chosen: bool,
}

impl Top {
    pub(crate) fn new() -> Self {
        Self {
            samples: Vec::new(),
            before: Vec::new(),
            closed: Vec::new(),
            order: Order::Tree,
            chosen: 0,
            page: None,
            history: HashMap::new(),
            symbols: HashMap::new(),
        }
    }

    /// Takes new numbers.
    pub(crate) fn update(&mut self, samples: Vec<Sample>, closed: Vec<String>) {
        self.before = std::mem::replace(&mut self.samples, samples);
        self.closed = closed;
        for sample in &self.samples {
            let earlier = self.before.iter().find(|earlier| sample.follows(earlier));
            let history = self.history.entry((sample.supervisor, sample.index)).or_default();
            history.push(sample.rate(earlier, "major_faults"));
            if history.len() > HISTORY {
                history.remove(0);
            }
        }
        if let Some(page) = &self.page {
            // One that has ended stays as it was last seen, and says so.
            let now = self.samples.iter().find(|sample| sample.follows(page));
            match now {
                Some(now) => self.page = Some(now.clone()),
                None => {
                    let ended = Sample { life: Life::Ended, ..page.clone() };
                    self.page = Some(ended);
                }
            }
        }
    }

    pub(crate) fn earlier(&self, sample: &Sample) -> Option<&Sample> {
        self.before.iter().find(|earlier| sample.follows(earlier))
    }

    /// The lines of the list, in order.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let shown: Vec<&Sample> = self.samples.iter().filter(|sample| sample.life == Life::Alive).collect();
        let mut rows: Vec<Row<'_>> = tree(&shown)
            .into_iter()
            .map(|(sample, depth)| {
                let earlier = self.earlier(sample);
                Row {
                    sample,
                    depth,
                    minor: sample.rate(earlier, "minor_faults"),
                    major: sample.rate(earlier, "major_faults"),
                    waiting: stall_share(sample, earlier).unwrap_or(0.0),
                    history: self
                        .history
                        .get(&(sample.supervisor, sample.index))
                        .cloned()
                        .unwrap_or_default(),
                    chosen: false,
                }
            })
            .collect();
        let number = |row: &Row<'_>, name: &str| row.sample.number(name) as f64;
        let key = |row: &Row<'_>| match self.order {
            Order::Tree | Order::Name => 0.0,
            Order::Budget => number(row, "budget_bytes"),
            Order::Heap => number(row, "heap_bytes"),
            Order::Resident => row.sample.resident_bytes() as f64,
            Order::Minor => row.minor,
            Order::Major => row.major,
            Order::Waiting => row.waiting,
        };
        match self.order {
            Order::Tree => {}
            Order::Name => rows.sort_by(|a, b| a.sample.name.cmp(&b.sample.name)),
            _ => rows.sort_by(|a, b| key(b).total_cmp(&key(a))),
        }
        if self.order != Order::Tree {
            rows.iter_mut().for_each(|row| row.depth = 0);
        }
        let chosen = self.chosen.min(rows.len().saturating_sub(1));
        if let Some(row) = rows.get_mut(chosen) {
            row.chosen = true;
        }
        rows
    }

    fn choose(&mut self, step: isize) {
        let count = self.rows().len();
        self.chosen = self.chosen.saturating_add_signed(step).min(count.saturating_sub(1));
    }

    fn open(&mut self) {
        self.page = self.rows().into_iter().find(|row| row.chosen).map(|row| row.sample.clone());
    }

    /// The names of code addresses of a process.
    pub(crate) fn symbol(&mut self, pid: u32, addr: u64) -> String {
        let fresh = || Symbols::new(crate::recording::mapped_modules(pid).unwrap_or_default());
        self.symbols.entry(pid).or_insert_with(fresh).name(addr)
    }

    /// Obeys a key; false to leave.
    fn key(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') => return false,
            KeyCode::Esc if self.page.is_none() => return false,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => self.page = None,
            KeyCode::Enter | KeyCode::Right => self.open(),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Char('p') => self.order = Order::Tree,
            KeyCode::Char('n') => self.order = Order::Name,
            KeyCode::Char('b') => self.order = Order::Budget,
            KeyCode::Char('h') => self.order = Order::Heap,
            KeyCode::Char('r') => self.order = Order::Resident,
            KeyCode::Char('f') => self.order = Order::Minor,
            KeyCode::Char('m') => self.order = Order::Major,
            KeyCode::Char('w') => self.order = Order::Waiting,
            _ => {}
        }
        true
    }
}

/// Samples in the order of a tree: each after its parent, with its depth.
fn tree<'a>(samples: &[&'a Sample]) -> Vec<(&'a Sample, usize)> {
    fn add<'a>(samples: &[&'a Sample], of: u32, depth: usize, found: &mut Vec<(&'a Sample, usize)>) {
        // Numbers may be used again while they are read: nobody is deeper than there are others.
        if depth > samples.len() {
            return;
        }
        for sample in samples.iter().filter(|sample| sample.parent == of) {
            if found.iter().any(|(other, _)| std::ptr::eq(*other, *sample)) {
                continue;
            }
            found.push((sample, depth));
            if sample.heap() == 0 {
                add(samples, sample.pid, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    // A heap is below its process, not below itself.
    let is_root =
        |sample: &&&Sample| samples.iter().all(|other| other.pid != sample.parent || other.heap() != 0);
    for root in samples.iter().filter(is_root) {
        if !found.iter().any(|(other, _): &(&Sample, usize)| std::ptr::eq(*other, *root)) {
            found.push((*root, 0));
            add(samples, root.pid, 1, &mut found);
        }
    }
    found
}

/// `outcore top`.
///
/// # Errors
/// There is no terminal.
pub(crate) fn top(options: &Options) -> Result<u8, Trouble> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Trouble::bad_input("`top` needs a terminal; use `stat` for lines"));
    }
    let no_terminal = |error: io::Error| Trouble::bad_input(format!("the terminal cannot be used: {error}"));
    let mut terminal = ratatui::try_init().map_err(no_terminal)?;
    let outcome = watch(&mut terminal, Duration::from_secs_f64(options.interval));
    ratatui::restore();
    outcome.map_err(no_terminal)?;
    Ok(0)
}

fn watch(terminal: &mut DefaultTerminal, interval: Duration) -> io::Result<()> {
    let (mut runs, mut top) = (Runs::default(), Top::new());
    loop {
        let samples = runs.look();
        top.update(samples, runs.closed.iter().map(ToString::to_string).collect());
        top.page.iter().for_each(Sample::watch);
        let next = Instant::now() + interval;
        loop {
            terminal.draw(|frame| screen::draw(frame, &mut top))?;
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() || !event::poll(left)? {
                break;
            }
            let Event::Key(key) = event::read()? else { continue };
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if key.kind != KeyEventKind::Release && (interrupt || !top.key(key.code)) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::runs::{Detail, PartSample, Piece};
    use sys::histogram::Histogram;
    use sys::status::Phase;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.add(value));
        histogram
    }

    fn map() -> Vec<Piece> {
        let piece = |at: u64| {
            let resident = if (200..330).contains(&at) || at.is_multiple_of(37) { 50 } else { 0 };
            let parked = if (330..345).contains(&at) { 40 } else { 0 };
            let swapped = if at < 700 { 50 - resident.max(parked) } else { 0 };
            Piece { pages: 50, resident, parked, swapped }
        };
        (0..1024).map(piece).collect()
    }

    fn parts() -> Vec<PartSample> {
        let part = |name: &str, pages, resident, parked, swapped, used_bytes| PartSample {
            name: name.into(),
            pages,
            resident,
            parked,
            swapped,
            used_bytes,
        };
        vec![
            part("7e6912c00000", 51_200, 12_800, 850, 37_000, None),
            part("employees", 700, 90, 50, 400, Some(2 << 20)),
        ]
    }

    fn sample(pid: u32, parent: u32, name: &str, numbers: &[(&'static str, u64)]) -> Sample {
        Sample {
            supervisor: 4000,
            index: pid as usize - 4001,
            pid,
            parent,
            name: name.into(),
            life: Life::Alive,
            phase: Phase::Paging,
            numbers: numbers.to_vec(),
            minor: histogram((0..1000).map(|at| 6000 + at * 7)),
            stall: histogram((0..1000).map(|at| 60_000 + at * 150)),
            read: histogram((0..1000).map(|at| 55_000 + at * 130)),
            write: histogram((0..100).map(|at| 300_000 + at * 900)),
            message: None,
            at: Instant::now(),
            detail: Detail::Known(
                map(),
                parts(),
                vec![(0x401a30, 620), (0x402b10, 310), (0x7f0012345678, 70)],
            ),
        }
    }

    fn numbers(major: u64, stall_ms: u64) -> Vec<(&'static str, u64)> {
        vec![
            ("budget_bytes", 64 << 20),
            ("features", 127),
            ("minor_faults", 41_898),
            ("major_faults", major),
            ("heap_bytes", 200 << 20),
            ("peak_heap_bytes", 210 << 20),
            ("rss_bytes", 63 << 20),
            ("peak_rss_bytes", 64 << 20),
            ("frames", 14_000),
            ("resident_pages", 13_800),
            ("parked_pages", 900),
            ("swapped_pages", 37_400),
            ("read_bytes", 720 << 20),
            ("writeback_bytes", 406 << 20),
            ("readahead_pages", 153_530),
            ("readahead_hits", 150_100),
            ("rescues", 2209),
            ("transfers", 3),
            ("peak_transfers", 41),
            ("stall_ns", stall_ms * 1_000_000),
            ("paging_since_ns", 1_000_000_000),
            ("updated_ns", 17_000_000_000),
        ]
    }

    /// A process a second ago and now.
    pub(crate) fn busy() -> (Sample, Sample) {
        let now = sample(4001, 4000, "sort", &numbers(184_242, 14_400));
        let before = Sample {
            at: now.at.checked_sub(Duration::from_secs(1)).unwrap(),
            ..sample(4001, 4000, "sort", &numbers(171_000, 13_500))
        };
        (before, now)
    }

    pub(crate) fn ended() -> Sample {
        let numbers = numbers(12, 3);
        Sample { life: Life::Ended, name: "(ended)".into(), ..sample(4002, 0, "", &numbers) }
    }

    pub(crate) fn example() -> Top {
        let (before, now) = busy();
        let at = now.at;
        let small = [("budget_bytes", 64 << 20), ("rss_bytes", 3 << 20), ("heap_bytes", 0)];
        let child = |pid, parent, name: &str| {
            let mut child = sample(pid, parent, name, &small);
            (child.phase, child.at) = (Phase::Dormant, at);
            child
        };
        let mut top = Top::new();
        top.update(vec![before.clone()], Vec::new());
        for step in 1..6 {
            let numbers = numbers(171_000 + step * step * 350, 13_500);
            let at = before.at + Duration::from_millis(150 * step);
            top.update(vec![Sample { at, ..sample(4001, 4000, "sort", &numbers) }], Vec::new());
        }
        top.before = vec![before];
        top.samples = vec![
            now.clone(),
            child(4003, 4001, "gzip"),
            child(4004, 4003, "sh"),
            child(4005, 4000, "cat"),
            ended(),
        ];
        top.history.entry((4000, 0)).or_default().push(13_242.0);
        top
    }

    #[test]
    fn children_follow_their_parents() {
        let top = example();
        let shown: Vec<(u32, usize)> = top.rows().iter().map(|row| (row.sample.pid, row.depth)).collect();
        assert_eq!(shown, [(4001, 0), (4003, 1), (4004, 2), (4005, 0)]);
        assert!((top.rows()[0].major - 13_242.0).abs() < 1.0);
    }

    #[test]
    fn keys_choose_sort_open_and_leave() {
        let mut top = example();
        assert!(top.key(KeyCode::Down) && top.rows()[1].chosen);
        (0..9).for_each(|_| assert!(top.key(KeyCode::Down)));
        assert!(top.rows()[3].chosen);
        assert!(top.key(KeyCode::Char('n')));
        let names: Vec<&str> = top.rows().iter().map(|row| row.sample.name.as_str()).collect();
        assert_eq!(names, ["cat", "gzip", "sh", "sort"]);
        assert!(top.key(KeyCode::Char('m')));
        assert_eq!(top.rows()[0].sample.name, "sort");
        (0..9).for_each(|_| assert!(top.key(KeyCode::Up)));
        assert!(top.key(KeyCode::Enter));
        assert_eq!(top.page.as_ref().map(|page| page.pid), Some(4001));
        // It ends while it is looked at.
        top.update(Vec::new(), Vec::new());
        assert_eq!(top.page.as_ref().map(|page| page.life), Some(Life::Ended));
        assert!(top.key(KeyCode::Esc) && top.page.is_none());
        assert!(!top.key(KeyCode::Esc) && !top.key(KeyCode::Char('q')));
    }

    #[test]
    fn nobody_at_all_and_loops_of_parents_are_survived() {
        let mut top = Top::new();
        top.update(Vec::new(), Vec::new());
        assert!(top.rows().is_empty() && top.key(KeyCode::Enter) && top.page.is_none());
        let (one, two) = (sample(4001, 4003, "a", &[]), sample(4003, 4001, "b", &[]));
        top.update(vec![one, two], Vec::new());
        top.rows();
    }
}
