//! Numbers over time, one below the other.

use super::canvas::{COLOURS, Picture, Unit, text};
use super::chart;
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::PathElement;
use plotters::prelude::{AreaSeries, Color, DrawingBackend, WHITE};

/// A number over time.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its name.
    pub(crate) name: String,
    /// Seconds, and its value then.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a run did over time: where its pages were, and how often it faulted.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Above the picture.
    pub(crate) title: String,
    /// Bytes, each on top of those before.
    pub(crate) memory: Vec<Series>,
    /// Faults a second.
    pub(crate) rates: Vec<Series>,
    /// Seconds in all.
    pub(crate) seconds: f64,
}

fn highest(series: &[Series]) -> f64 {
    series.iter().flat_map(|series| &series.points).map(|(_, value)| *value).fold(0.0, f64::max)
}

impl Picture for Timeline {
    fn size(&self) -> (u32, u32) {
        (960, 560)
    }

    fn draw<B: DrawingBackend>(&self, on: &DrawingArea<B, Shift>) -> Result<(), String> {
        on.fill(&WHITE).map_err(text)?;
        let (above, below) = on.split_vertically(310);
        let seconds = self.seconds.max(1e-3);
        let stacked = stacked(&self.memory);
        let unit = Unit::up_to(highest(&stacked));
        let scaled = |series: &Series| {
            series.points.iter().map(|(at, value)| (*at, value / unit.bytes)).collect::<Vec<_>>()
        };
        let top = (highest(&stacked) / unit.bytes).max(1.0) * 1.4;
        let mut chart = chart::chart(&above, Some(&self.title), (10, 76), (seconds, top))?;
        chart::mesh(&mut chart)
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|value| unit.label(*value))
            .y_desc("paged memory")
            .draw()
            .map_err(text)?;
        // The highest first: those below cover it.
        for (index, series) in stacked.iter().enumerate().rev() {
            let colour = COLOURS[index % COLOURS.len()];
            chart.draw_series(AreaSeries::new(scaled(series), 0.0, WHITE.mix(1.0))).map_err(text)?;
            chart
                .draw_series(AreaSeries::new(scaled(series), 0.0, colour.mix(0.55)).border_style(colour))
                .map_err(text)?
                .label(&series.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.mix(0.7).stroke_width(8))
                });
        }
        chart::legend(&mut chart, 8)?;
        let top = highest(&self.rates).max(1.0) * 1.25;
        let mut chart = chart::chart(&below, None, (44, 76), (seconds, top))?;
        chart::mesh(&mut chart)
            .y_labels(5)
            .x_label_formatter(&|at| format!("{at:.1} s"))
            .y_label_formatter(&|rate| crate::size::grouped(*rate as u64))
            .y_desc("faults a second")
            .draw()
            .map_err(text)?;
        for (index, series) in self.rates.iter().enumerate() {
            let colour = COLOURS[(index + 3) % COLOURS.len()];
            chart::line(&mut chart, &series.name, colour, series.points.iter().copied())?;
        }
        chart::legend(&mut chart, 8)
    }
}

/// Each with those before it added; all have values at the same times.
fn stacked(series: &[Series]) -> Vec<Series> {
    let mut sums: Vec<f64> = Vec::new();
    let add = |series: &Series| {
        sums.resize(series.points.len(), 0.0);
        let points = series.points.iter().zip(&mut sums).map(|((at, value), sum)| {
            *sum += value;
            (*at, *sum)
        });
        Series { name: series.name.clone(), points: points.collect() }
    };
    series.iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn example() -> Timeline {
        let series = |name: &str, value: &dyn Fn(f64) -> f64| Series {
            name: name.into(),
            points: (0..=120).map(|at| (f64::from(at) / 10.0, value(f64::from(at) / 10.0))).collect(),
        };
        Timeline {
            title: "sort: 12.0 s in 64 MiB".into(),
            memory: vec![
                series("resident", &|at| (at * 2e7).min(6e7)),
                series("parked", &|at| if at > 3.0 { 4e6 } else { 0.0 }),
                series("swapped", &|at| ((at - 3.0) * 3e7).clamp(0.0, 1.6e8)),
            ],
            rates: vec![
                series("major", &|at| if at > 4.0 { 9000.0 + 3000.0 * (at * 2.0).sin() } else { 0.0 }),
                series("minor", &|at| if at < 5.0 { 15_000.0 - at * 2500.0 } else { 2500.0 }),
            ],
            seconds: 12.0,
        }
    }

    #[test]
    fn a_timeline_looks_as_it_did() {
        super::super::canvas::golden::check("example-timeline", &example());
    }
}
