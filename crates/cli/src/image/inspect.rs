//! `outcore image inspect`: what an image holds.

use super::{DAMAGED, name, open};
use crate::size;
use crate::trouble::Trouble;
use ::image::{Image, PAGE, Survey, WorkingSet};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

pub(crate) const LONG_ABOUT: &str = "\
Say what an image holds.

An image is an arena in a file: its pages that are not zero, each distinct one once, behind an index with a \
digest of every page. This reads the index and none of the pages.";

const EXAMPLES: &str = "\
Examples:
  outcore image inspect state.image
  outcore image inspect --json state.image | jq .bytes

Exit status: 0; 1 if the index is damaged; 2 if the file cannot be read or is no image.";

/// What `outcore image inspect` was asked for.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct InspectOptions {
    /// The image
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn inspect(options: &InspectOptions) -> Result<u8, Trouble> {
    let image = open(&options.path)?;
    let mut named = 0;
    let survey = image
        .survey(false, &mut |_| {}, &mut |damage| name(&damage, &mut named))
        .map_err(|error| Trouble::bad_input(format!("{}: {error}", options.path.display())))?;
    let ahead = WorkingSet::load(&options.path, image.identity(), image.pages());
    if options.json {
        println!("{}", as_json(&image, &survey, ahead.as_ref()));
    } else {
        print!("{}", as_text(&image, &survey, ahead.as_ref()));
    }
    Ok(if survey.damaged == 0 { 0 } else { DAMAGED })
}

fn as_text(image: &Image, survey: &Survey, ahead: Option<&WorkingSet>) -> String {
    let bytes = |pages: u64| size::shown(pages * PAGE as u64);
    let repeated = survey.touched - survey.stored;
    let mut text = format!("image {:032x}, version 1\n", image.identity());
    let mut row = |name: &str, pages: u64, what: &str| {
        let pages_text = size::grouped(pages);
        let line = format!("{name:<12}{pages_text:>14} pages  {:>10}  {what}", bytes(pages));
        text.push_str(line.trim_end());
        text.push('\n');
    };
    row("arena", image.pages(), "");
    row("zero", image.pages() - survey.touched, "take no room");
    row("repeated", repeated, "are stored once");
    row("stored", survey.stored, "");
    row("index", survey.nodes, "");
    row("file", image.bytes() / PAGE as u64, "with its header");
    if let Some(ahead) = ahead {
        row("working set", ahead.pages(), "are read ahead at the next start");
    }
    text
}

fn as_json(image: &Image, survey: &Survey, ahead: Option<&WorkingSet>) -> serde_json::Value {
    json!({
        "identity": format!("{:032x}", image.identity()),
        "version": 1,
        "page_bytes": PAGE,
        "bytes": image.bytes(),
        "pages": image.pages(),
        "pages_touched": survey.touched,
        "pages_stored": survey.stored,
        "index_blocks": survey.nodes,
        "damaged": survey.damaged,
        "working_set_pages": ahead.map(WorkingSet::pages),
    })
}
