//! `outcore machine step`: a script in a terminal, one operation at a time, both ways.

mod screen;
mod stepper;

use super::options::{MachineOptions, read_script};
use crate::trouble::Trouble;
use ::machine::Runner;
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use stepper::Stepper;

pub(crate) const LONG_ABOUT: &str = "\
Carry out a script one operation at a time, and show the machine after each: page tables, frames with their \
owners and bits, the clock with its hand, slots and transfers.

Operations are carried out when they are first reached; going back shows what was, and does not undo what the \
script has written to files.";

const KEYS: &str = "\
Keys:
  right, n, space   the next operation         left, p, backspace   the one before
  end, G            to the end                 home, g              to the beginning
  down, j           scroll the panels down     up, k                up
  q, escape         leave";

/// What `outcore machine step` was asked for.
#[derive(Args, Debug)]
#[command(after_help = KEYS)]
pub(crate) struct StepScript {
    /// The script
    #[arg(value_name = "FILE")]
    script: PathBuf,

    #[command(flatten)]
    machine: MachineOptions,
}

/// `outcore machine step`.
///
/// # Errors
/// A script or options that make no sense, or no terminal.
pub(crate) fn step(options: &StepScript) -> Result<u8, Trouble> {
    let lines = read_script(&options.script)?;
    let text = fs::read(&options.script)
        .map_err(|error| Trouble::bad_input(format!("{}: {error}", options.script.display())))?;
    let mut settings = options.machine.settings()?;
    settings.watched = true;
    let runner = Runner::new(settings).map_err(Trouble::bad_input)?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Trouble::bad_input(
            "`machine step` needs a terminal; use `machine run` for a log".to_owned(),
        ));
    }
    let mut stepper = Stepper::new(runner, lines, &text);
    let mut terminal = ratatui::try_init().map_err(|error| no_terminal(&error))?;
    let outcome = watch(&mut terminal, &mut stepper);
    ratatui::restore();
    outcome.map_err(|error| no_terminal(&error))?;
    Ok(0)
}

fn no_terminal(error: &io::Error) -> Trouble {
    Trouble::bad_input(format!("the terminal cannot be used: {error}"))
}

/// Shows and obeys until it is told to leave.
fn watch(terminal: &mut DefaultTerminal, stepper: &mut Stepper) -> io::Result<()> {
    loop {
        terminal.draw(|frame| screen::draw(frame, stepper))?;
        let Event::Key(key) = event::read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if interrupt => return Ok(()),
            KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
            KeyCode::Right | KeyCode::Char('n' | ' ') | KeyCode::Enter => stepper.forward(),
            KeyCode::Left | KeyCode::Char('p') | KeyCode::Backspace => stepper.back(),
            KeyCode::End | KeyCode::Char('G') => stepper.go_to_end(),
            KeyCode::Home | KeyCode::Char('g') => stepper.go_to_start(),
            KeyCode::Down | KeyCode::Char('j') => stepper.scroll_down(),
            KeyCode::Up | KeyCode::Char('k') => stepper.scroll_up(),
            _ => {}
        }
    }
}
