//! Miss-ratio curves.

use super::canvas::{COLOURS, FAINT, FONT, INK, Picture, Unit, bytes, text};
use super::chart;
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::prelude::{Color, DrawingBackend, IntoFont, WHITE};
use plotters::series::DashedLineSeries;

/// One curve: bytes of memory, and the miss ratio with them.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: String,
    /// In order of memory; between two points the first one's ratio is true.
    pub(crate) points: Vec<(f64, f64)>,
    /// Drawn as steps if it is known everywhere, straight from point to point if not.
    pub(crate) steps: bool,
}

/// A memory size that means something.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// What.
    pub(crate) name: String,
    /// Where, in bytes.
    pub(crate) at: f64,
}

/// Curves of one trace.
#[derive(Clone, Debug)]
pub(crate) struct Curves {
    /// Above the picture.
    pub(crate) title: String,
    /// The curves.
    pub(crate) lines: Vec<Line>,
    /// Sizes that mean something.
    pub(crate) marks: Vec<Mark>,
    /// The share of references that miss in any memory.
    pub(crate) floor: f64,
    /// Below this size the curves say too little.
    pub(crate) valid_from: Option<f64>,
    /// Where the picture ends, in bytes.
    pub(crate) end: f64,
}

/// Points of a line as drawn.
fn drawn(line: &Line, end: f64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for (at, ratio) in line.points.iter().copied() {
        if let Some((_, before)) = points.last().copied()
            && line.steps
        {
            points.push((at.min(end), before));
        }
        if at > end {
            break;
        }
        points.push((at, ratio));
    }
    if let Some((at, ratio)) = points.last().copied()
        && at < end
    {
        points.push((end, ratio));
    }
    thinned(points, end)
}

/// Without points that no eye tells apart: those of a curve of a million steps.
fn thinned(points: Vec<(f64, f64)>, end: f64) -> Vec<(f64, f64)> {
    let cell = |(x, y): (f64, f64)| ((x / end * 1400.0) as i64, (y * 900.0) as i64);
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let last = index + 1 == points.len();
        if last || kept.last().is_none_or(|before| cell(*before) != cell(*point)) {
            kept.push(*point);
        }
    }
    kept
}

impl Picture for Curves {
    fn size(&self) -> (u32, u32) {
        (960, 540)
    }

    fn draw<B: DrawingBackend>(&self, on: &DrawingArea<B, Shift>) -> Result<(), String> {
        on.fill(&WHITE).map_err(text)?;
        let top = self.lines.iter().flat_map(|line| &line.points).map(|(_, ratio)| *ratio);
        let top = top.fold(0.0, f64::max).max(0.01);
        let high = top * 1.34;
        let unit = Unit::up_to(self.end);
        let end = self.end / unit.bytes;
        let mut chart = chart::chart(on, Some(&self.title), (48, 62), (end, high))?;
        if let Some(from) = self.valid_from {
            let shade = FAINT.mix(0.5).filled();
            let rectangle = Rectangle::new([(0.0, 0.0), (from.min(self.end) / unit.bytes, high)], shade);
            chart.draw_series([rectangle]).map_err(text)?;
        }
        chart::mesh(&mut chart)
            .x_label_formatter(&|at| unit.label(*at))
            .y_label_formatter(&|ratio| {
                if *ratio > 1.001 { String::new() } else { format!("{:.0} %", ratio * 100.0) }
            })
            .x_desc("memory")
            .y_desc("references that miss")
            .draw()
            .map_err(text)?;
        let floor = [(0.0, self.floor), (end, self.floor)];
        chart
            .draw_series(DashedLineSeries::new(floor, 6, 5, INK.mix(0.7).stroke_width(1)))
            .map_err(text)?
            .label("first touches (no memory avoids them)")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 8, y)], INK.mix(0.7).stroke_width(1)));
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let points = drawn(line, self.end).into_iter().map(|(at, ratio)| (at / unit.bytes, ratio));
            chart::line(&mut chart, &line.name, colour, points)?;
        }
        for (index, mark) in self.marks.iter().enumerate() {
            let at = mark.at / unit.bytes;
            let line = [(at, 0.0), (at, high)];
            chart.draw_series([PathElement::new(line, INK.stroke_width(1))]).map_err(text)?;
            let label = format!("{}: {}", mark.name, bytes(mark.at));
            let height = high - top * (0.015 + 0.055 * index as f64);
            // On the side where the legend is not.
            let shift = if at > 0.35 * end { -(7.4 * label.len() as f64) - 6.0 } else { 6.0 };
            let place = at + shift * end / 854.0;
            let style = (FONT, 14).into_font().color(&INK);
            chart.draw_series([Text::new(label, (place, height), style)]).map_err(text)?;
        }
        if self.valid_from.is_some_and(|from| from > 0.12 * self.end) {
            let style = (FONT, 13).into_font().color(&INK.mix(0.8));
            for (line, words) in ["below the run's budget:", "touches are missing"].into_iter().enumerate() {
                let place = (0.012 * end, top * (0.14 - 0.05 * line as f64));
                chart.draw_series([Text::new(words, place, style.clone())]).map_err(text)?;
            }
        }
        chart::legend(&mut chart, 12)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::draw) fn example() -> Curves {
        const MIB: f64 = 1024.0 * 1024.0;
        let lru = (0..=400).map(|at| (f64::from(at) * MIB / 2.0, if at < 220 { 0.9 } else { 0.1 }));
        let knee = (0..=40).map(|at| (f64::from(at) * 5.0 * MIB, 0.1 + 0.8 * (-f64::from(at) / 8.0).exp()));
        Curves {
            title: "sort: miss ratio by memory".into(),
            lines: vec![
                Line { name: "lru".into(), points: lru.collect(), steps: true },
                Line { name: "opt".into(), points: knee.collect(), steps: false },
            ],
            marks: vec![
                Mark { name: "the run's budget".into(), at: 64.0 * MIB },
                Mark { name: "knee".into(), at: 110.0 * MIB },
            ],
            floor: 0.08,
            valid_from: Some(64.0 * MIB),
            end: 200.0 * MIB,
        }
    }

    #[test]
    fn curves_look_as_they_did() {
        super::super::canvas::golden::check("example-curves", &example());
    }
}
