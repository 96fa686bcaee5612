//! Curves on a terminal, without colour.

use super::curves::Curves;
use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Constraint;
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LegendPosition};

/// The curves in that many characters, as lines of text.
pub(crate) fn on_terminal(curves: &Curves, width: u16, height: u16) -> String {
    let mut terminal = match Terminal::new(TestBackend::new(width, height)) {
        Ok(terminal) => terminal,
        Err(never) => match never {},
    };
    match terminal.draw(|frame| draw(frame, curves)) {
        Ok(_) => {}
        Err(never) => match never {},
    }
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in 0..height {
        let line: String = (0..width).map(|column| buffer[(column, row)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn draw(frame: &mut Frame<'_>, curves: &Curves) {
    let top = curves.lines.iter().flat_map(|line| &line.points).map(|(_, ratio)| *ratio).fold(0.01, f64::max);
    // Lines are told apart by what they are made of.
    let markers = [Marker::Braille, Marker::Dot, Marker::Block, Marker::HalfBlock];
    let points: Vec<Vec<(f64, f64)>> = curves
        .lines
        .iter()
        .map(|line| {
            let columns = usize::from(frame.area().width) * 2;
            let at = |column: usize| curves.end * column as f64 / columns as f64;
            (0..=columns)
                .map(|column| {
                    let after = line.points.partition_point(|(memory, _)| *memory <= at(column));
                    (at(column), line.points.get(after.saturating_sub(1)).map_or(0.0, |(_, ratio)| *ratio))
                })
                .collect()
        })
        .collect();
    let marks: Vec<Vec<(f64, f64)>> = curves
        .marks
        .iter()
        .map(|mark| (0..=40).map(|step| (mark.at, top * f64::from(step) / 40.0)).collect())
        .collect();
    let mut sets: Vec<Dataset<'_>> = curves
        .lines
        .iter()
        .zip(&points)
        .enumerate()
        .map(|(index, (line, points))| {
            let marker = markers[index % markers.len()];
            Dataset::default()
                .name(line.name.clone())
                .marker(marker)
                .graph_type(GraphType::Scatter)
                .data(points)
        })
        .collect();
    sets.extend(
        marks
            .iter()
            .map(|points| Dataset::default().marker(Marker::Bar).graph_type(GraphType::Scatter).data(points)),
    );
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let x = Axis::default()
        .bounds([0.0, curves.end])
        .labels([0.0, 0.5, 1.0].map(|share| super::canvas::bytes(share * curves.end)));
    let y = Axis::default().bounds([0.0, top]).labels([0.0, 0.5, 1.0].map(|share| percent(share * top)));
    let legend = (Constraint::Percentage(60), Constraint::Percentage(60));
    let chart = Chart::new(sets)
        .x_axis(x)
        .y_axis(y)
        .legend_position(Some(LegendPosition::TopRight))
        .hidden_legend_constraints(legend);
    frame.render_widget(chart, frame.area());
}

#[cfg(test)]
mod tests {
    #[test]
    fn curves_on_a_terminal_look_as_they_did() {
        let text = super::on_terminal(&super::super::curves::tests::example(), 80, 20);
        crate::golden::check("curves.txt", &text);
    }
}
