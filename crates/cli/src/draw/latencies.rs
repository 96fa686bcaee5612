//! What kinds of faults cost: a line from median to 99th percentile each, on a logarithmic axis.

use super::canvas::{COLOURS, FAINT, FONT, INK, Picture, text};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{Circle, PathElement};
use plotters::prelude::{
    ChartBuilder, Color, DrawingBackend, IntoFont, IntoLogRange, SeriesLabelPosition, TRANSPARENT, WHITE,
};

/// One kind, measured by one pager.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Which row it belongs to.
    pub(crate) kind: String,
    /// Whose it is: an index into [`Latencies::who`].
    pub(crate) who: usize,
    /// Microseconds.
    pub(crate) median: f64,
    /// The same.
    pub(crate) p99: f64,
}

/// Kinds of faults, each as measured by several.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Above the picture.
    pub(crate) title: String,
    /// Names of those who are compared.
    pub(crate) who: Vec<String>,
    /// Measurements.
    pub(crate) bars: Vec<Bar>,
}

impl Latencies {
    fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = Vec::new();
        for bar in &self.bars {
            if !kinds.contains(&bar.kind.as_str()) {
                kinds.push(&bar.kind);
            }
        }
        kinds
    }
}

impl Picture for Latencies {
    fn size(&self) -> (u32, u32) {
        (960, 110 + 44 * self.kinds().len() as u32)
    }

    fn draw<B: DrawingBackend>(&self, on: &DrawingArea<B, Shift>) -> Result<(), String> {
        on.fill(&WHITE).map_err(text)?;
        let kinds = self.kinds();
        let rows = kinds.len().max(1) as f64;
        let positive = self.bars.iter().map(|bar| bar.median).filter(|value| *value > 0.0);
        let least = positive.fold(f64::MAX, f64::min).clamp(0.001, 1.0);
        let most = self.bars.iter().map(|bar| bar.p99).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(on)
            .caption(&self.title, (FONT, 19).into_font().color(&INK))
            .margin(14)
            .margin_right(30)
            .x_label_area_size(44)
            .y_label_area_size(220)
            .build_cartesian_2d((least / 2.0..most * 3.0).log_scale(), 0.0..rows)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .y_labels(0)
            .x_label_formatter(&|at| {
                if *at < 1.0 { format!("{:.0} ns", at * 1e3) } else { format!("{at:.0} µs") }
            })
            .label_style((FONT, 14).into_font().color(&INK))
            .draw()
            .map_err(text)?;
        for (who, name) in self.who.iter().enumerate() {
            let colour = COLOURS[[0, 6, 1, 2][who % 4]];
            let place = |bar: &Bar| {
                let row = kinds.iter().position(|kind| *kind == bar.kind).unwrap_or(0) as f64;
                rows - row - (who as f64 + 1.0) / (self.who.len() as f64 + 1.0)
            };
            let bars = || self.bars.iter().filter(|bar| bar.who == who && bar.median > 0.0);
            let lines = bars().map(|bar| {
                let y = place(bar);
                PathElement::new([(bar.median, y), (bar.p99.max(bar.median), y)], colour.stroke_width(3))
            });
            chart.draw_series(lines).map_err(text)?;
            chart
                .draw_series(bars().map(|bar| Circle::new((bar.median, place(bar)), 5, colour.filled())))
                .map_err(text)?
                .label(name)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        }
        for (row, kind) in kinds.iter().enumerate() {
            let area = chart.plotting_area();
            let (_, y) = area.map_coordinate(&(least, rows - row as f64 - 0.5));
            let style = (FONT, 14).into_font().color(&INK);
            on.draw_text(kind, &style, (14, y - 8)).map_err(text)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(8)
            .background_style(WHITE.mix(0.85))
            .border_style(FAINT)
            .label_font((FONT, 14).into_font().color(&INK))
            .draw()
            .map_err(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_look_as_they_did() {
        let bar = |kind: &str, who, median, p99| Bar { kind: kind.into(), who, median, p99 };
        let bars = vec![
            bar("zero fill", 0, 8.1, 14.0),
            bar("zero fill", 1, 1.3, 4.0),
            bar("swapped in alone", 0, 66.0, 210.0),
            bar("swapped in alone", 1, 72.0, 400.0),
            bar("handle check", 0, 0.02, 0.03),
        ];
        let picture = Latencies {
            title: "What a fault costs: median to 99th percentile".into(),
            who: vec!["Outcore".into(), "kernel".into()],
            bars,
        };
        super::super::canvas::golden::check("example-faults", &picture);
    }
}
