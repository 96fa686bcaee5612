//! Pictures: the same drawing as SVG, as PNG, and on a terminal.

mod bars;
mod canvas;
mod chart;
mod curves;
mod heat;
mod output;
mod screen;
mod timeline;

pub(crate) use bars::{Bar, Bars, time};
pub(crate) use canvas::svg;
pub(crate) use curves::{Curves, Line, Mark};
pub(crate) use heat::Heat;
pub(crate) use output::Output;
pub(crate) use screen::on_terminal;
pub(crate) use timeline::{Series, Timeline};
