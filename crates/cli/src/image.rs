//! `outcore image`: what is in an image, and whether it is sound.

mod inspect;
mod verify;

use crate::trouble::Trouble;
use ::image::{Damage, Image};
use clap::Subcommand;
use std::path::Path;

/// What to do with an image.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Say what an image holds, from its index
    #[command(long_about = inspect::LONG_ABOUT)]
    Inspect(inspect::InspectOptions),
    /// Read all of an image, and check every page
    #[command(long_about = verify::LONG_ABOUT)]
    Verify(verify::VerifyOptions),
}

/// Exit status where an image is damaged.
const DAMAGED: u8 = 1;
/// Damaged parts that are named; of more, the number is said.
const NAMED: u64 = 20;

/// `outcore image`.
///
/// # Errors
/// What is no image, or cannot be read.
pub(crate) fn image(verb: &ImageVerb) -> Result<u8, Trouble> {
    match verb {
        ImageVerb::Inspect(options) => inspect::inspect(options),
        ImageVerb::Verify(options) => verify::verify(options),
    }
}

fn open(path: &Path) -> Result<Image, Trouble> {
    Image::open(path).map_err(|error| Trouble::bad_input(format!("{}: {error}", path.display())))
}

/// Names what is damaged, up to [`NAMED`] parts.
fn name(damage: &Damage, named: &mut u64) {
    *named += 1;
    if *named <= NAMED {
        let Damage { page, count, offset, block } = damage;
        let pages = match count {
            1 => format!("page {page}"),
            _ => format!("pages {page} to {}", page + count - 1),
        };
        crate::trouble::say(&format!("{pages}: {block} at byte {offset} is not what was written"));
    } else if *named == NAMED + 1 {
        crate::trouble::say("and more");
    }
}
