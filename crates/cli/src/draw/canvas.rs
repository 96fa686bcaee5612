//! What pictures are drawn on.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::{FontStyle, RGBColor, register_font};
use std::fmt::Display;
use std::sync::Once;

/// Something that can be drawn, on whatever.
pub(crate) trait Picture {
    /// Its size in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws it.
    ///
    /// # Errors
    /// What the canvas says.
    fn draw<B: DrawingBackend>(&self, on: &DrawingArea<B, Shift>) -> Result<(), String>;
}

/// The name of the font, which comes along, so that pictures look the same everywhere.
pub(crate) const FONT: &str = "sans-serif";

pub(super) const INK: RGBColor = RGBColor(51, 51, 51);
pub(super) const FAINT: RGBColor = RGBColor(222, 222, 222);
/// Colours that people with any kind of colour vision tell apart (M. Okabe and K. Ito, 2008).
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

fn with_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A font that cannot be read leaves pictures without text, which tests would show.
        let _ = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        let _ = register_font(FONT, FontStyle::Bold, dejavu::sans::bold());
    });
}

pub(super) fn text(error: impl Display) -> String {
    error.to_string()
}

/// The picture as SVG.
///
/// # Errors
/// It cannot be drawn.
pub(crate) fn svg(picture: &impl Picture) -> Result<String, String> {
    with_font();
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, picture.size()).into_drawing_area();
        picture.draw(&area)?;
        area.present().map_err(text)?;
    }
    Ok(out)
}

/// The picture as PNG.
///
/// # Errors
/// It cannot be drawn.
pub(crate) fn png(picture: &impl Picture) -> Result<Vec<u8>, String> {
    let (width, height) = picture.size();
    let pixels = pixels(picture)?;
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(text)?;
    writer.write_image_data(&pixels).map_err(text)?;
    writer.finish().map_err(text)?;
    Ok(out)
}

/// Three bytes a pixel, row by row.
pub(super) fn pixels(picture: &impl Picture) -> Result<Vec<u8>, String> {
    with_font();
    let (width, height) = picture.size();
    let mut pixels = vec![0; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        picture.draw(&area)?;
        area.present().map_err(text)?;
    }
    Ok(pixels)
}

/// Bytes for an axis: `64 MiB`.
pub(super) fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = value;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(value < 10.0 && value.fract() > 0.05);
    format!("{value:.decimals$} {}", units[unit])
}

/// A unit in which an axis up to some number of bytes has short labels.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub(super) bytes: f64,
    name: &'static str,
}

impl Unit {
    /// For an axis that ends there.
    pub(super) fn up_to(end: f64) -> Self {
        let units = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
        let (name, bytes) =
            units.into_iter().rev().find(|(_, bytes)| end >= 4.0 * bytes).unwrap_or(("B", 1.0));
        Self { bytes, name }
    }

    /// A label for so many of them.
    pub(super) fn label(self, value: f64) -> String {
        let decimals = usize::from(value.fract().abs() > 0.04);
        format!("{value:.decimals$} {}", self.name)
    }
}

#[cfg(test)]
pub(super) mod golden {
    use super::*;
    use std::path::PathBuf;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures").join(name)
    }

    /// Compares a picture with the one that is checked in, in both forms. `OUTCORE_BLESS=1` makes them.
    pub(in crate::draw) fn check(name: &str, picture: &impl Picture) {
        let (svg, png) = (super::svg(picture).unwrap(), super::png(picture).unwrap());
        let (svg_path, png_path) = (path(&format!("{name}.svg")), path(&format!("{name}.png")));
        if std::env::var_os("OUTCORE_BLESS").is_some() {
            std::fs::create_dir_all(svg_path.parent().unwrap()).unwrap();
            std::fs::write(&svg_path, &svg).unwrap();
            std::fs::write(&png_path, &png).unwrap();
        }
        let expected = std::fs::read_to_string(&svg_path).unwrap_or_default();
        assert!(expected == svg, "{} is not what is drawn; OUTCORE_BLESS=1 makes it", svg_path.display());
        let expected =
            std::fs::File::open(&png_path).unwrap_or_else(|error| panic!("{}: {error}", png_path.display()));
        let mut reader = png::Decoder::new(std::io::BufReader::new(expected)).read_info().unwrap();
        let mut old = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut old).unwrap();
        let new = pixels(picture).unwrap();
        assert_eq!(old.len(), new.len(), "{name}");
        // Rounding may differ between processors, a picture may not.
        let apart: u64 = old.iter().zip(&new).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(apart <= new.len() as u64 / 500, "{} differs by {apart}", png_path.display());
    }
}
