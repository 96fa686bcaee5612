//! Pictures: the same drawing as SVG, as PNG, and on a terminal.

mod canvas;
mod chart;
mod curves;
mod heat;
mod screen;
mod timeline;

pub(crate) use canvas::{png, svg};
pub(crate) use curves::{Curves, Line, Mark};
pub(crate) use heat::Heat;
pub(crate) use screen::on_terminal;
pub(crate) use timeline::{Series, Timeline};
