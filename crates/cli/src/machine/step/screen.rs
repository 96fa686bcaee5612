//! The machine on the screen.

use super::stepper::Stepper;
use ::machine::{FrameUse, FrameView, PteLine, View, log};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Paragraph};

/// Bold: what is current, and what the operation changed.
const MARKED: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, stepper: &Stepper) {
    let view = stepper.view();
    let [top, middle, bottom, keys] = Layout::vertical([
        Constraint::Percentage(35),
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let halves = Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]);
    let [script, outcome] = halves.areas(top);
    let [tables, frames] = halves.areas(middle);
    let [clock, slots, disk] = Layout::horizontal([
        Constraint::Percentage(34),
        Constraint::Percentage(33),
        Constraint::Percentage(33),
    ])
    .areas(bottom);
    draw_script(frame, script, stepper);
    let (done, all) = stepper.place();
    let title = format!("operation {done} of {all}, {} µs", view.now / 1000);
    panel(frame, outcome, &title, outcome_text(view), 0);
    panel(frame, tables, "page tables", tables_text(view, stepper.before()), stepper.scrolled());
    panel(frame, frames, "frames", frames_text(view, stepper.before()), stepper.scrolled());
    panel(frame, clock, "order of leaving, from the hand on", clock_text(view), 0);
    let title = format!("swap slots, {} free", view.slots_free);
    panel(frame, slots, &title, slots_text(view), stepper.scrolled());
    panel(frame, disk, "disk queue", disk_text(view), 0);
    frame.render_widget(Line::styled(" ← → step   Home End   ↑ ↓ scroll   q leave", DIM), keys);
}

fn panel(frame: &mut Frame<'_>, place: Rect, title: &str, text: Text<'_>, scroll: u16) {
    // Not past the last line.
    let rows = place.height.saturating_sub(2);
    let most = u16::try_from(text.height()).unwrap_or(u16::MAX).saturating_sub(rows);
    let block = Block::bordered().title(format!(" {title} "));
    frame.render_widget(Paragraph::new(text).scroll((scroll.min(most), 0)).block(block), place);
}

/// The script around the line that was carried out last.
fn draw_script(frame: &mut Frame<'_>, place: Rect, stepper: &Stepper) {
    let current = stepper.line();
    let lines = stepper.text().iter().enumerate().map(|(index, text)| {
        let number = index + 1;
        let mark = if number == current { '▶' } else { ' ' };
        let style = if number == current { MARKED } else { Style::new() };
        Line::styled(format!("{mark}{number:>4}  {text}"), style)
    });
    let above = usize::from(place.height.saturating_sub(2)) / 2;
    let scroll = u16::try_from(current.saturating_sub(above)).unwrap_or(u16::MAX);
    panel(frame, place, "script", lines.collect(), scroll);
}

/// What the operation did, without the page table, which has a panel of its own.
fn outcome_text(view: &View) -> Text<'static> {
    let Some(outcome) = &view.outcome else { return Text::from("nothing has been done") };
    let mut shown = outcome.clone();
    shown.ptes.clear();
    Text::from(log::text(&shown))
}

fn tables_text(view: &View, before: Option<&View>) -> Text<'static> {
    let mut lines = Vec::new();
    for (pid, pages) in &view.tables {
        let runs = view.current == Some(*pid);
        let title = format!("process {pid}{}", if runs { ", runs" } else { "" });
        lines.push(Line::styled(title, if runs { MARKED } else { Style::new() }));
        let old = before.and_then(|view| view.tables.iter().find(|(old, _)| old == pid));
        let was = |page: &PteLine| old.is_some_and(|(_, pages)| pages.contains(page));
        for some in pages.chunks(4) {
            let spans = some.iter().map(|page| {
                let style = if was(page) { Style::new() } else { MARKED };
                Span::styled(format!("  {:<10}", page.to_string()), style)
            });
            lines.push(spans.collect::<Vec<_>>().into());
        }
    }
    lines.into()
}

fn frames_text(view: &View, before: Option<&View>) -> Text<'static> {
    let mut lines = vec![Line::styled("frame  bits  holds           owners", DIM)];
    for held in &view.frames {
        let changed = before.is_some_and(|view| !view.frames.contains(held));
        let style = if changed { MARKED } else { Style::new() };
        lines.push(Line::styled(frame_line(held), style));
    }
    lines.into()
}

fn frame_line(held: &FrameView) -> String {
    let referenced = match held.holds {
        FrameUse::Zeros => return format!("{:>5}  -     zeros           every untouched page", held.frame.0),
        FrameUse::Free => return format!("{:>5}  -     free", held.frame.0),
        FrameUse::Referenced => "R",
        FrameUse::Unreferenced => "-",
        FrameUse::InTransfer => "T",
    };
    let dirty = if held.dirty { "D" } else { "-" };
    let place = if held.place.is_empty() { "in no place yet" } else { &held.place };
    let owners = if held.owners.is_empty() { "nobody: cached".into() } else { held.owners.join(" ") };
    format!("{:>5}  {referenced}{dirty}    {place:<15} {owners}", held.frame.0)
}

/// The hand points at the first.
fn clock_text(view: &View) -> Text<'static> {
    let referenced = |number| {
        let held = view.frames.iter().find(|held| held.frame == number);
        held.is_some_and(|held| held.holds == FrameUse::Referenced)
    };
    let mut words = String::from("☞ ");
    for frame in &view.order {
        words.push_str(&format!("{}{} ", frame.0, if referenced(*frame) { "R" } else { "-" }));
    }
    if view.order.is_empty() {
        words.push_str("no frame can be taken");
    }
    Text::from(vec![Line::from(words), Line::styled("R: referenced, goes round once more", DIM)])
}

fn slots_text(view: &View) -> Text<'static> {
    let lines = view.slots.iter().map(|slot| format!("{:>4}  {}", slot.slot.0, slot.owners.join(" ")));
    lines.map(Line::from).collect()
}

fn disk_text(view: &View) -> Text<'static> {
    let lines = view.transfers.iter().map(|transfer| {
        let took = (transfer.end - transfer.begin) / 1000;
        let failed = if transfer.done { "" } else { ", failed" };
        let begin = transfer.begin / 1000;
        format!("at {begin} µs: {} {}, {took} µs{failed}", transfer.direction, transfer.place)
    });
    lines.map(Line::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::machine::{Runner, Settings, script};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const SCRIPT: &str = "create 0 1 # a process\nswitch 1\nmap\nmap\nmap\nmap\nwrite 0x600000000 \"a\"\n\
        write 0x600010000 \"b\"\nwrite 0x600020000 \"c\"\nwrite 0x600030000 \"d\"\nread 0x600010000 1\n";

    fn stepper() -> Stepper {
        let settings = Settings { watched: true, ..Settings::default() };
        let runner = Runner::new(settings).expect("a machine that is possible");
        Stepper::new(runner, script::parse(SCRIPT.as_bytes()).expect("a script"), SCRIPT.as_bytes())
    }

    /// The screen's lines.
    fn shown(stepper: &Stepper, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| draw(frame, stepper)).expect("it is drawn");
        let buffer = terminal.backend().buffer();
        buffer
            .content()
            .chunks(usize::from(width))
            .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect())
            .collect()
    }

    fn assert_shows(screen: &[String], words: &str) {
        assert!(screen.iter().any(|line| line.contains(words)), "{words:?} is not in\n{}", screen.join("\n"));
    }

    #[test]
    fn the_machine_is_shown_after_each_operation_and_before() {
        let mut stepper = stepper();
        let start = shown(&stepper, 120, 40);
        assert_shows(&start, "nothing has been done");
        assert_shows(&start, "operation 0 of 11");
        assert_shows(&start, "zeros           every untouched page");
        (0..9).for_each(|_| stepper.forward());
        let screen = shown(&stepper, 120, 40);
        assert_shows(&screen, "▶   9  write 0x600020000 \"c\"");
        assert_shows(&screen, "operation 9 of 11");
        assert_shows(&screen, "fault 0x600020000 w -> 0");
        assert_shows(&screen, "process 1, runs");
        assert_shows(&screen, "0:rw:1");
        assert_shows(&screen, "3:r:0");
        assert_shows(&screen, "    1  RD    swap 0          1:0x600000000");
        assert_shows(&screen, "☞ 1R 2R 3R");
        assert_shows(&screen, "swap slots, 252 free");
        stepper.forward();
        let evicted = shown(&stepper, 120, 40);
        // Every bit was cleared, the oldest left, and its frame went to the new page.
        assert_shows(&evicted, "☞ 2- 3- 1R");
        assert_shows(&evicted, "    1  RD    swap 3          1:0x600030000");
        assert_shows(&evicted, "    2  -D    swap 1          1:0x600010000");
        assert_shows(&evicted, "write swap 0, 231 µs");
        assert_shows(&evicted, "   0  1:0x600000000");
        stepper.forward();
        assert_shows(&shown(&stepper, 120, 40), "☞ 2R 3- 1R");
        // Backwards is what was, exactly.
        stepper.back();
        assert_eq!(shown(&stepper, 120, 40), evicted);
        stepper.back();
        assert_eq!(shown(&stepper, 120, 40), screen);
        stepper.go_to_start();
        assert_eq!(shown(&stepper, 120, 40), start);
        stepper.back();
        assert_eq!(shown(&stepper, 120, 40), start);
        // Forwards again does nothing a second time.
        (0..10).for_each(|_| stepper.forward());
        assert_eq!(shown(&stepper, 120, 40), evicted);
        stepper.go_to_end();
        stepper.forward();
        assert_shows(&shown(&stepper, 120, 40), "operation 11 of 11");
    }

    #[test]
    fn any_screen_and_any_scrolling_is_survived() {
        let mut stepper = stepper();
        stepper.go_to_end();
        for _ in 0..300 {
            stepper.scroll_down();
        }
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (300, 100)] {
            shown(&stepper, width, height);
        }
        // The frames' last line is still there.
        assert_shows(&shown(&stepper, 120, 16), "1:0x600020000");
        for _ in 0..400 {
            stepper.scroll_up();
        }
        assert_shows(&shown(&stepper, 120, 40), "every untouched page");
    }
}
