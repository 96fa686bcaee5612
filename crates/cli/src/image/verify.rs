//! `outcore image verify`: whether every page of an image is what was written.

use super::{DAMAGED, name, open};
use crate::progress::{Progress, Unit};
use crate::size;
use crate::trouble::{Trouble, say};
use ::image::PAGE;
use clap::Args;
use std::path::PathBuf;

pub(crate) const LONG_ABOUT: &str = "\
Read all of an image, and check every page of it and of its index against its digest.";

const EXAMPLES: &str = "\
Example:
  outcore image verify state.image && cp state.image backup/

Exit status: 0 if all is well; 1 if something is damaged, which is named; 2 if the file cannot be read or is no \
image.";

/// What `outcore image verify` was asked for.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct VerifyOptions {
    /// The image
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

pub(super) fn verify(options: &VerifyOptions) -> Result<u8, Trouble> {
    let image = open(&options.path)?;
    let mut named = 0;
    let progress = Progress::new("verifying", image.pages() * PAGE as u64, Unit::Bytes);
    let survey = image
        .survey(true, &mut |page| progress.reached(page * PAGE as u64), &mut |damage| {
            progress.aside(|| name(&damage, &mut named));
        })
        .map_err(|error| Trouble::bad_input(format!("{}: {error}", options.path.display())))?;
    progress.finish();
    let path = options.path.display();
    if survey.damaged > 0 {
        say(&format!(
            "{path}: {} of {} blocks are damaged; take the image from a backup, or save it again",
            survey.damaged,
            image.bytes() / PAGE as u64
        ));
        return Ok(DAMAGED);
    }
    println!(
        "{path}: all {} pages ({}) are as they were written",
        size::grouped(survey.touched),
        size::shown(image.bytes())
    );
    Ok(0)
}
