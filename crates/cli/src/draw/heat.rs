//! Which addresses were touched when.

use super::canvas::{FONT, INK, Picture, Unit, text};
use super::chart;
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::Rectangle;
use plotters::prelude::{Color, DrawingBackend, IntoFont, RGBColor, WHITE};

/// Touches by time and address.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    /// Above the picture.
    pub(crate) title: String,
    /// Touches of each cell: rows of addresses, the lowest first, of columns of time.
    pub(crate) rows: Vec<Vec<u32>>,
    /// Seconds in all.
    pub(crate) seconds: f64,
    /// Bytes in all, the untouched between areas left out.
    pub(crate) bytes: f64,
}

/// From none to most: white, and then a part of "viridis" (N. Smith and S. van der Walt, 2015), light to dark.
fn colour(share: f64) -> RGBColor {
    const STEPS: [(f64, f64, f64); 5] = [
        (220.0, 227.0, 25.0),
        (85.0, 198.0, 103.0),
        (31.0, 150.0, 139.0),
        (57.0, 86.0, 140.0),
        (68.0, 1.0, 84.0),
    ];
    let place = share.clamp(0.0, 1.0) * (STEPS.len() - 1) as f64;
    let index = (place as usize).min(STEPS.len() - 2);
    let (from, to, part) = (STEPS[index], STEPS[index + 1], place - index as f64);
    let mix = |a: f64, b: f64| (a + (b - a) * part) as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

impl Picture for Heat {
    fn size(&self) -> (u32, u32) {
        (960, 480)
    }

    fn draw<B: DrawingBackend>(&self, on: &DrawingArea<B, Shift>) -> Result<(), String> {
        on.fill(&WHITE).map_err(text)?;
        let seconds = self.seconds.max(1e-3);
        let unit = Unit::up_to(self.bytes);
        let high = self.bytes.max(1.0) / unit.bytes;
        let mut chart = chart::chart(on, Some(&self.title), (44, 76), (seconds, high))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(INK)
            .x_label_formatter(&|at| format!("{at:.1} s"))
            .y_label_formatter(&|at| unit.label(*at))
            .y_desc("addresses (areas one after another)")
            .label_style((FONT, 14).into_font().color(&INK))
            .draw()
            .map_err(text)?;
        let most = self.rows.iter().flatten().copied().max().unwrap_or(0).max(1);
        let height = high / self.rows.len().max(1) as f64;
        for (row, columns) in self.rows.iter().enumerate() {
            let width = seconds / columns.len().max(1) as f64;
            // A run of cells of one colour is one rectangle.
            let shade =
                |count: u32| (f64::from(count).ln_1p() / f64::from(most).ln_1p() * 12.0).ceil() as u32;
            let mut at = 0;
            while at < columns.len() {
                let same =
                    columns[at..].iter().take_while(|count| shade(**count) == shade(columns[at])).count();
                if columns[at] > 0 {
                    let corner = (at as f64 * width, row as f64 * height);
                    let other = ((at + same) as f64 * width, (row + 1) as f64 * height);
                    let fill = colour(f64::from(shade(columns[at]) - 1) / 11.0).filled();
                    chart.draw_series([Rectangle::new([corner, other], fill)]).map_err(text)?;
                }
                at += same;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heat_map_looks_as_it_did() {
        let cell = |row: i64, column: i64| {
            let stream = ((row - column % 60).abs() < 2) as u32 * 200;
            let hot = u32::from(row < 8) * 40;
            stream + hot + u32::from((row * 31 + column * 17) % 11 == 0) * 3
        };
        let rows = (0..60).map(|row| (0..160).map(|column| cell(row, column)).collect()).collect();
        let heat =
            Heat { title: "sort: touches by address and time".into(), rows, seconds: 12.0, bytes: 240e6 };
        super::super::canvas::golden::check("example-heat", &heat);
    }
}
