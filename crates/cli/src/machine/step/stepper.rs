//! Where in a script the viewer is, and what the machine was like there.

use ::machine::script::Line;
use ::machine::{Runner, View};

/// A script, and the machine after each operation that was carried out.
#[derive(Debug)]
pub(crate) struct Stepper {
    runner: Runner,
    lines: Vec<Line>,
    /// The script's lines as they are written.
    text: Vec<String>,
    /// The machine before the first operation, after it, and so on.
    views: Vec<View>,
    at: usize,
    scroll: u16,
}

impl Stepper {
    /// Before the first operation.
    pub(crate) fn new(runner: Runner, lines: Vec<Line>, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
        let views = vec![runner.view(None)];
        Self { runner, lines, text, views, at: 0, scroll: 0 }
    }

    /// The next operation; carried out, if it has not been.
    pub(crate) fn forward(&mut self) {
        let Some(line) = self.lines.get(self.at) else { return };
        if self.views.len() == self.at + 1 {
            let outcome = self.runner.step(line);
            self.views.push(self.runner.view(Some(outcome)));
        }
        self.at += 1;
    }

    /// The operation before.
    pub(crate) fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// After the last operation.
    pub(crate) fn go_to_end(&mut self) {
        while self.at < self.lines.len() {
            self.forward();
        }
    }

    /// Before the first.
    pub(crate) fn go_to_start(&mut self) {
        self.at = 0;
    }

    /// What is too long for its panel moves up.
    pub(crate) fn scroll_down(&mut self) {
        self.scroll = self.scroll.saturating_add(1);
    }

    /// And down again.
    pub(crate) fn scroll_up(&mut self) {
        self.scroll = self.scroll.saturating_sub(1);
    }

    /// Lines that panels leave out at their top.
    pub(crate) fn scrolled(&self) -> u16 {
        self.scroll
    }

    /// The machine now.
    pub(crate) fn view(&self) -> &View {
        &self.views[self.at]
    }

    /// The machine before the operation that is shown.
    pub(crate) fn before(&self) -> Option<&View> {
        self.views.get(self.at.checked_sub(1)?)
    }

    /// How many operations were done, and how many there are.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.at, self.lines.len())
    }

    /// The script's lines.
    pub(crate) fn text(&self) -> &[String] {
        &self.text
    }

    /// The line of the operation that is shown, from 1; 0 before the first.
    pub(crate) fn line(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |done| self.lines[done].number as usize)
    }
}
