//! What `outcore top` shows. No colour says anything: every state has a character of its own.

use super::{Order, Top};
use crate::report::phase_word;
use crate::runs::{Life, Piece, Sample};
use crate::size::{grouped, shown};
use crate::stat::{quantiles, stall_share};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;

const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
/// Heights of a small graph.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the list, or the page of one process.
pub(super) fn draw(frame: &mut Frame<'_>, top: &mut Top) {
    match top.page.clone() {
        Some(sample) => page(frame, top, &sample),
        None => list(frame, top),
    }
}

fn list(frame: &mut Frame<'_>, top: &Top) {
    let [head, names, body, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let rows = top.rows();
    let sum = |name: &str| rows.iter().map(|row| row.sample.number(name)).sum::<u64>();
    let major: f64 = rows.iter().map(|row| row.major).sum();
    let ended = top.samples.iter().filter(|sample| sample.life == Life::Ended).count();
    let mut lines = vec![Line::raw(format!(
        " {} processes, heap {} in {} of RAM, {} major faults/s; ended: {ended}",
        rows.len(),
        shown(sum("heap_bytes")),
        shown(sum("rss_bytes")),
        grouped(major.round() as u64),
    ))];
    lines.extend(top.closed.first().map(|closed| Line::styled(format!(" {closed}"), DIM)));
    frame.render_widget(Paragraph::new(lines), head);
    let mark =
        |order: Order, name: &str| if top.order == order { format!("{name}▼") } else { name.to_owned() };
    let columns = [
        mark(Order::Tree, "pid"),
        mark(Order::Name, "name"),
        mark(Order::Budget, "budget"),
        mark(Order::Heap, "heap"),
        mark(Order::Resident, "resident"),
        mark(Order::Minor, "minor/s"),
        mark(Order::Major, "major/s"),
        mark(Order::Waiting, "wait"),
    ];
    let [pid, name, budget, heap, resident, minor, major, wait] = &columns;
    let title =
        format!("{pid:>7} {name:<14} {budget:>8} {heap:>8} {resident:>9} {minor:>8} {major:>8} {wait:>6}");
    frame.render_widget(Line::styled(title, BOLD), names);
    let lines: Vec<Line<'_>> = rows
        .iter()
        .map(|row| {
            let number = |name: &str| shown(row.sample.number(name));
            let name = format!("{}{}", " ".repeat(row.depth.min(6)), row.sample.name);
            let text = format!(
                "{:>7} {name:<14.14} {:>8} {:>8} {:>9} {:>8} {:>8} {:>6} {}",
                row.sample.pid,
                number("budget_bytes"),
                number("heap_bytes"),
                shown(row.sample.resident_bytes()),
                grouped(row.minor.round() as u64),
                grouped(row.major.round() as u64),
                format!("{:.0} %", row.waiting),
                graph(&row.history),
            );
            Line::styled(text, if row.chosen { CHOSEN } else { Style::new() })
        })
        .collect();
    // The chosen line is always to be seen.
    let chosen = rows.iter().position(|row| row.chosen).unwrap_or(0);
    let first = (chosen + 1).saturating_sub(usize::from(body.height));
    if lines.is_empty() {
        frame.render_widget(Line::styled("        nothing runs under outcore", DIM), body);
    } else {
        let scroll = u16::try_from(first).unwrap_or(u16::MAX);
        frame.render_widget(Paragraph::new(lines).scroll((scroll, 0)), body);
    }
    let help = " ↑ ↓ choose  enter page  sort: p n b h r f m w  q leave";
    frame.render_widget(Line::styled(help, DIM), keys);
}

/// The last rates, the highest as high as the line.
fn graph(history: &[f64]) -> String {
    let most = history.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let bar = |rate: &f64| BARS[((rate / most * 7.0).round() as usize).min(7)];
    history.iter().map(bar).collect()
}

fn page(frame: &mut Frame<'_>, top: &mut Top, sample: &Sample) {
    let map_height = (frame.area().height / 4).clamp(3, 12);
    let [head, map, tables, keys] = Layout::vertical([
        Constraint::Length(9),
        Constraint::Length(map_height + 1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let earlier = top.earlier(sample).cloned();
    frame.render_widget(Paragraph::new(numbers(sample, earlier.as_ref())), head);
    let width = usize::from(map.width.saturating_sub(2));
    let mut lines = vec![Line::styled(" address space: █ resident  ▒ parked  ░ swapped  · untouched", BOLD)];
    let cells = drawn(&sample.map(), width * usize::from(map_height));
    if cells.is_empty() {
        lines.push(Line::styled("   not drawn yet: that takes until the process faults next", DIM));
    }
    lines.extend(
        cells.chunks(width.max(1)).map(|row| Line::raw(format!(" {}", row.iter().collect::<String>()))),
    );
    frame.render_widget(Paragraph::new(lines), map);
    let [areas, code] =
        Layout::horizontal([Constraint::Percentage(54), Constraint::Percentage(46)]).areas(tables);
    frame.render_widget(Paragraph::new(part_lines(sample, areas)), areas);
    frame.render_widget(Paragraph::new(code_lines(top, sample, code)), code);
    frame.render_widget(Line::styled(" ← back   q leave", DIM), keys);
}

fn numbers(sample: &Sample, earlier: Option<&Sample>) -> Text<'static> {
    let size = |name: &str| shown(sample.number(name));
    let pages = |name: &str| shown(sample.number(name) * 4096);
    let rate = |name: &str| grouped(sample.rate(earlier, name).round() as u64);
    let speed = |name: &str| shown(sample.rate(earlier, name).round() as u64);
    let resident = sample.number("resident_pages").saturating_sub(sample.number("parked_pages"));
    let state = match sample.life {
        Life::Alive => phase_word(sample.phase),
        Life::Ended => "has ended: these are its last numbers",
    };
    let ahead = sample.number("readahead_pages");
    let accuracy = (ahead > 0).then(|| sample.number("readahead_hits").min(ahead) * 100 / ahead);
    let accuracy = accuracy.map_or("nothing".to_owned(), |share| format!("{share} % used"));
    Text::from(vec![
        Line::styled(format!(" process {} ({}): {state}", sample.pid, sample.name), BOLD),
        Line::raw(format!(
            " budget {}   resident set {}   heap {}",
            size("budget_bytes"),
            shown(sample.resident_bytes()),
            size("heap_bytes"),
        )),
        Line::raw(format!(
            " heap: {} resident, {} parked, {} swapped",
            shown(resident * 4096),
            pages("parked_pages"),
            pages("swapped_pages"),
        )),
        Line::raw(format!(
            " faults/s {} minor, {} major   waiting {:.0} %   rescues/s {}",
            rate("minor_faults"),
            rate("major_faults"),
            stall_share(sample, earlier).unwrap_or(0.0),
            rate("rescues"),
        )),
        Line::raw(format!(
            " store {}/s read, {}/s written, {} transfers   read ahead: {accuracy}",
            speed("read_bytes"),
            speed("writeback_bytes"),
            sample.number("transfers"),
        )),
        Line::styled(format!(" {:<22} {:>8} {:>8} {:>8}", "time of", "median", "99 %", "99.9 %"), BOLD),
        Line::raw(format!(" {:<22} {}", "a minor fault", quantiles(&sample.minor))),
        Line::raw(format!(" {:<22} {}", "a wait for the store", quantiles(&sample.stall))),
        Line::raw(format!(" {:<22} {}", "a read", quantiles(&sample.read))),
    ])
}

/// The map in at most so many characters: each shows what most of its pages are, and any that hold data before any
/// that do not.
pub(super) fn drawn(pieces: &[Piece], most: usize) -> Vec<char> {
    if pieces.is_empty() || most == 0 {
        return Vec::new();
    }
    let pieces_a_cell = pieces.len().div_ceil(most);
    let cell = |pieces: &[Piece]| {
        let sum = |of: fn(&Piece) -> u64| pieces.iter().map(of).sum::<u64>();
        let counts = [('█', sum(|p| p.resident)), ('▒', sum(|p| p.parked)), ('░', sum(|p| p.swapped))];
        let held = counts.iter().map(|(_, count)| count).sum::<u64>();
        // The first of the largest.
        let largest = counts.iter().rev().max_by_key(|(_, count)| *count);
        largest.filter(|_| held > 0).map_or('·', |(mark, _)| *mark)
    };
    pieces.chunks(pieces_a_cell).map(cell).collect()
}

fn part_lines(sample: &Sample, place: Rect) -> Text<'static> {
    let mut lines = vec![Line::styled(
        format!(" {:<14} {:>8} {:>8} {:>8}", "area, family", "resident", "parked", "swapped"),
        BOLD,
    )];
    let rows = usize::from(place.height.saturating_sub(1));
    lines.extend(sample.parts().iter().take(rows).map(|part| {
        let pages = |count: u64| shown(count * 4096);
        Line::raw(format!(
            " {:<14.14} {:>8} {:>8} {:>8}",
            part.name,
            pages(part.resident),
            pages(part.parked),
            pages(part.swapped)
        ))
    }));
    Text::from(lines)
}

fn code_lines(top: &mut Top, sample: &Sample, place: Rect) -> Text<'static> {
    let hot = sample.hot();
    let total: u64 = hot.iter().map(|(_, count)| count).sum();
    let mut lines = vec![Line::styled(" code that faults", BOLD)];
    if total == 0 {
        lines.push(Line::styled(" none seen yet", DIM));
    }
    let rows = usize::from(place.height.saturating_sub(1));
    lines.extend(hot.into_iter().take(rows).map(|(addr, count)| {
        let share = count * 100 / total.max(1);
        Line::raw(format!(" {share:>3} % {}", top.symbol(sample.pid, addr)))
    }));
    Text::from(lines)
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown_on(top: &mut Top, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, top)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |row: u16| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
        (0..height).map(|at| row(at).trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn the_list_looks_as_it_did() {
        crate::golden::check("top.txt", &shown_on(&mut example(), 80, 24));
    }

    #[test]
    fn the_page_of_a_process_looks_as_it_did() {
        let mut top = example();
        top.open();
        crate::golden::check("top-page.txt", &shown_on(&mut top, 80, 24));
    }

    #[test]
    fn any_size_is_survived() {
        for (width, height) in [(1, 1), (10, 3), (80, 24), (200, 60)] {
            let mut top = example();
            shown_on(&mut top, width, height);
            top.open();
            shown_on(&mut top, width, height);
        }
    }

    #[test]
    fn the_map_shows_what_most_pages_are() {
        let piece = |resident, parked, swapped| Piece { pages: 10, resident, parked, swapped };
        let map = [piece(10, 0, 0), piece(1, 0, 6), piece(0, 0, 0), piece(1, 8, 1), piece(5, 0, 5)];
        assert_eq!(drawn(&map, 10), ['█', '░', '·', '▒', '█']);
        assert_eq!(drawn(&map, 3), ['█', '▒', '█']);
        assert!(drawn(&[], 10).is_empty() && drawn(&map, 0).is_empty());
    }
}
