//! What charts have in common: frame, grid, lines and legend.

use super::canvas::{FAINT, FONT, INK, text};
use plotters::chart::{ChartContext, MeshStyle};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::DrawingArea;
use plotters::element::PathElement;
use plotters::prelude::{
    ChartBuilder, Color, DrawingBackend, IntoFont, LineSeries, RGBColor, SeriesLabelPosition, TRANSPARENT,
    WHITE,
};

/// Two axes of numbers.
pub(super) type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A chart from 0 to `ends`, across and up, with so many pixels for labels below and beside it.
pub(super) fn chart<'a, B: DrawingBackend>(
    on: &DrawingArea<B, Shift>,
    title: Option<&str>,
    labels: (u32, u32),
    ends: (f64, f64),
) -> Result<Chart<'a, B>, String> {
    let mut builder = ChartBuilder::on(on);
    if let Some(title) = title {
        builder.caption(title, (FONT, 19).into_font().color(&INK));
    }
    builder
        .margin(14)
        .margin_right(30)
        .x_label_area_size(labels.0)
        .y_label_area_size(labels.1)
        .build_cartesian_2d(0.0..ends.0, 0.0..ends.1)
        .map_err(text)
}

/// Axes with faint lines across, for labels to be added and to be drawn.
pub(super) fn mesh<'a, 'b, B: DrawingBackend>(
    chart: &'b mut Chart<'a, B>,
) -> MeshStyle<'a, 'b, RangedCoordf64, RangedCoordf64, B> {
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style((FONT, 14).into_font().color(&INK));
    mesh
}

/// A line, with its name in the legend.
pub(super) fn line<'a, B: DrawingBackend + 'a>(
    chart: &mut Chart<'a, B>,
    name: &str,
    colour: RGBColor,
    points: impl IntoIterator<Item = (f64, f64)>,
) -> Result<(), String> {
    chart
        .draw_series(LineSeries::new(points, colour.stroke_width(2)))
        .map_err(text)?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    Ok(())
}

/// The names of what has been drawn, so far from the corner.
pub(super) fn legend<'a, B: DrawingBackend + 'a>(
    chart: &mut Chart<'a, B>,
    margin: u32,
) -> Result<(), String> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(margin)
        .background_style(WHITE.mix(0.85))
        .border_style(FAINT)
        .label_font((FONT, 14).into_font().color(&INK))
        .draw()
        .map_err(text)
}
