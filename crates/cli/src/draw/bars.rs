//! Times side by side, on a logarithmic scale.

use super::canvas::{COLOURS, FAINT, FONT, INK, Picture, text};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::prelude::{
    ChartBuilder, Color, DrawingBackend, IntoFont, IntoLogRange, SeriesLabelPosition, TRANSPARENT, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One bar: a median, and where 99 of 100 ended if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) median_ns: u64,
    pub(crate) p99_ns: Option<u64>,
}

/// What was measured, by whom.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// Above the picture.
    pub(crate) title: String,
    /// Who: one bar of each in every row.
    pub(crate) whose: Vec<String>,
    /// What, and the bar of each who has one.
    pub(crate) rows: Vec<(String, Vec<Option<Bar>>)>,
}

/// Nanoseconds for a label: `9.8 µs`.
pub(crate) fn time(ns: u64) -> String {
    let value = ns as f64;
    let (value, unit) = match ns {
        0..1_000 => (value, "ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let decimals = usize::from(value < 9.95 && unit != "ns");
    format!("{value:.decimals$} {unit}")
}

/// Pixels of a row.
const ROW: u32 = 46;
/// Pixels beside and above the rows.
const LEFT: u32 = 260;
const AROUND: u32 = 110;

impl Picture for Bars {
    fn size(&self) -> (u32, u32) {
        (960, AROUND + ROW * self.rows.len() as u32)
    }

    fn draw<B: DrawingBackend>(&self, on: &DrawingArea<B, Shift>) -> Result<(), String> {
        on.fill(&WHITE).map_err(text)?;
        let bars = || self.rows.iter().flat_map(|(_, bars)| bars.iter().flatten());
        let least = bars().map(|bar| bar.median_ns).min().unwrap_or(1).max(1);
        let most = bars().map(|bar| bar.median_ns.max(bar.p99_ns.unwrap_or(0))).max().unwrap_or(1);
        // Whole powers of ten, and room for the legend.
        let low = 10f64.powf((least as f64).log10().floor());
        let high = 10f64.powf((most as f64).log10().ceil()).max(10.0 * low) * 8.0;
        let height = self.rows.len() as f64;
        let mut chart = ChartBuilder::on(on)
            .caption(&self.title, (FONT, 19).into_font().color(&INK))
            .margin(14)
            .margin_right(30)
            .x_label_area_size(48)
            .y_label_area_size(LEFT)
            .build_cartesian_2d((low..high).log_scale(), 0.0..height)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(INK)
            .y_labels(0)
            .x_label_formatter(&|ns| time(ns.round() as u64))
            .x_desc("time of a fault: bars end at the median, lines at 99 of 100")
            .label_style((FONT, 14).into_font().color(&INK))
            .draw()
            .map_err(text)?;
        let place = |row: usize| height - row as f64;
        let wide = 0.8 / self.whose.len().max(1) as f64;
        for (who, name) in self.whose.iter().enumerate() {
            let colour = COLOURS[who % COLOURS.len()];
            let top = |row: usize| place(row) - 0.1 - wide * who as f64;
            let shown = || {
                let rows = self.rows.iter().enumerate();
                rows.filter_map(|(row, (_, bars))| Some((row, bars.get(who).copied().flatten()?)))
            };
            chart
                .draw_series(shown().map(|(row, bar)| {
                    let ends = [(low, top(row)), (bar.median_ns.max(1) as f64, top(row) - wide * 0.9)];
                    Rectangle::new(ends, colour.mix(0.75).filled())
                }))
                .map_err(text)?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 16, y + 5)], colour.mix(0.75).filled())
                });
            chart
                .draw_series(shown().filter_map(|(row, bar)| {
                    let middle = top(row) - wide * 0.45;
                    let ends = [(bar.median_ns.max(1) as f64, middle), (bar.p99_ns? as f64, middle)];
                    Some(PathElement::new(ends.to_vec(), colour.stroke_width(2)))
                }))
                .map_err(text)?;
        }
        for (row, (name, _)) in self.rows.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(low, place(row) - 0.5));
            let style = (FONT, 14).into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Center));
            on.draw(&Text::new(name.clone(), (x - 10, y), style)).map_err(text)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .margin(12)
            .background_style(WHITE.mix(0.85))
            .border_style(FAINT)
            .label_font((FONT, 14).into_font().color(&INK))
            .draw()
            .map_err(text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_look_as_they_did() {
        let bar = |median_ns, p99_ns| Some(Bar { median_ns, p99_ns: Some(p99_ns) });
        let alone = |median_ns| Some(Bar { median_ns, p99_ns: None });
        let row = |name: &str, bars: [Option<Bar>; 3]| (name.to_owned(), bars.to_vec());
        let example = Bars {
            title: "faults: 256 MiB of data in 64 MiB of RAM".into(),
            whose: ["Outcore", "the kernel", "the machine, fitted"].map(String::from).to_vec(),
            rows: vec![
                row("zero fill, alone", [bar(6_637, 74_000), bar(1_100, 4_000), alone(6_637)]),
                row("parked", [bar(9_900, 54_700), None, alone(9_900)]),
                row("swap-in, alone", [bar(81_700, 384_000), bar(90_100, 210_000), alone(81_700)]),
                row("handle check", [bar(21, 24), None, None]),
            ],
        };
        super::super::canvas::golden::check("example-faults", &example);
    }

    #[test]
    fn times_are_short() {
        let times = [0, 999, 1_000, 9_940, 9_960, 81_721, 1_884_997, 2_000_000_000].map(time);
        assert_eq!(times, ["0 ns", "999 ns", "1.0 µs", "9.9 µs", "10 µs", "82 µs", "1.9 ms", "2.0 s"]);
    }
}
