//! Pictures in files.

use super::canvas::{Picture, png, svg};
use crate::trouble::Trouble;
use std::fs;
use std::path::Path;

/// What a picture is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Lines and letters.
    Svg,
    /// Pixels.
    Png,
}

impl Output {
    /// By the end of a file's name.
    ///
    /// # Errors
    /// It says neither.
    pub(crate) fn named(path: &Path) -> Result<Self, Trouble> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Trouble::bad_input(format!(
                "--output {}: write a name that ends with .svg or .png",
                path.display()
            ))),
        }
    }

    /// Draws a picture in a file.
    ///
    /// # Errors
    /// It cannot be drawn, or the file not be written.
    pub(crate) fn write(self, picture: &impl Picture, path: &Path) -> Result<(), Trouble> {
        let bytes = match self {
            Self::Svg => svg(picture).map(String::into_bytes),
            Self::Png => png(picture),
        };
        let drawn = bytes.map_err(Trouble::bad_input)?;
        fs::write(path, drawn)
            .map_err(|error| Trouble::bad_input(format!("{} cannot be written: {error}", path.display())))
    }
}
