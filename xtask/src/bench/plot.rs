//! The picture: how many times as fast as the kernel's swap file each contender is.

use super::contender::Contender;
use super::results::Results;
use plotters::prelude::*;
use plotters::style::register_font;
use std::path::Path;
use std::sync::Once;

/// The name of the font, which comes along: a machine may have none.
const FONT: &str = "sans-serif";

const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(150, 150, 150), RGBColor(230, 159, 0), RGBColor(0, 158, 115)];

/// Draws groups of bars, one a phase, on a logarithmic axis.
pub(crate) fn draw(path: &Path, results: &Results, contenders: &[Contender]) -> Result<(), String> {
    paint(path, results, contenders).map_err(|error| format!("{}: {error}", path.display()))
}

fn with_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A font that cannot be read is an error as soon as a word is drawn.
        let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    });
}

fn paint(path: &Path, results: &Results, contenders: &[Contender]) -> Result<(), Box<dyn std::error::Error>> {
    with_font();
    let base = Contender::SwapFile.name();
    let phases: Vec<&str> =
        results.phases().into_iter().filter(|phase| results.median(base, phase).is_some()).collect();
    let root = SVGBackend::new(path, (1000, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Times as fast as the kernel's swap file", (FONT, 20))
        .margin(12)
        .x_label_area_size(60)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..phases.len() as f64, (0.1..20.0f64).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(phases.len() + 1)
        .x_label_formatter(&|at| {
            let phase = (at.fract() < 0.01).then(|| phases.get(*at as usize)).flatten();
            phase.map_or(String::new(), |phase| (*phase).to_owned())
        })
        .y_label_formatter(&|ratio| format!("{ratio}×"))
        .draw()?;
    let width = 0.8 / contenders.len() as f64;
    for (index, contender) in contenders.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let bars = phases.iter().enumerate().filter_map(|(at, phase)| {
            let ratio = results.median(base, phase)? / results.median(contender.name(), phase)?;
            let left = at as f64 + 0.1 + width * index as f64;
            Some(Rectangle::new([(left, 1.0), (left + width, ratio)], colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(contender.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_words_on_a_machine_without_fonts() {
        let mut results = Results::default();
        for (contender, seconds) in [(Contender::SwapFile, 4), (Contender::Outcore, 1)] {
            let line = format!(
                r#"{{"phase":"fill","seconds":{seconds},"bytes":1,"touches":1,"swap_ins":0,"swap_outs":0}}"#
            );
            results.add(contender.name(), &line).unwrap();
        }
        let path = std::env::temp_dir().join(format!("outcore-plot-{}.svg", std::process::id()));
        draw(&path, &results, &[Contender::Outcore, Contender::SwapFile]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.contains(">\nfill\n</text>") && text.contains(Contender::Outcore.name()), "{text}");
    }
}
