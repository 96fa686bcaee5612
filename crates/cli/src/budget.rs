//! The RAM budget: what `--ram` means on this machine.

use crate::memory::Memory;
use crate::size::{self, shown, typed};
use crate::trouble::Trouble;

/// The smallest budget: below it the pages in flight and those that a single
/// instruction may need at once do not fit together.
pub(crate) const MIN_RAM_BYTES: u64 = 16 << 20;

/// The largest budget: the pager keeps account of so many pages.
pub(crate) const MAX_RAM_BYTES: u64 = ((1 << 27) - 1) * 4096;

/// The least that `auto` leaves to others, besides a tenth of what is left.
const MARGIN_BYTES: u64 = 64 << 20;

/// What `--ram` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ram {
    /// What the cgroup or the machine leaves.
    Auto,
    /// Of the cgroup's limit, else of RAM.
    Percent(f64),
    /// Exactly this.
    Bytes(u64),
}

/// The budget in bytes that `--ram` asks for on a machine with this `memory`; what is not given in bytes is
/// [`MAX_RAM_BYTES`] at most.
///
/// # Errors
/// The text is no budget, or one below [`MIN_RAM_BYTES`] or above [`MAX_RAM_BYTES`].
pub(crate) fn resolve(text: &str, memory: &Memory) -> Result<u64, Trouble> {
    let ram = read(text)?;
    let bytes = match ram {
        Ram::Auto => automatic(memory, 0),
        Ram::Percent(percent) => ((memory.whole() as f64 * percent / 100.0) as u64).min(MAX_RAM_BYTES),
        Ram::Bytes(bytes) => bytes,
    };
    if bytes > MAX_RAM_BYTES {
        return Err(Trouble::own(format!(
            "--ram {text} is too much; the largest budget is below {}",
            typed((MAX_RAM_BYTES + 1).next_power_of_two())
        )));
    }
    if bytes >= MIN_RAM_BYTES {
        return Ok(bytes);
    }
    let smallest = typed(MIN_RAM_BYTES);
    Err(Trouble::own(match ram {
        Ram::Bytes(_) => {
            format!("--ram {text} is below the minimum; the smallest that works is {smallest}")
        }
        Ram::Percent(_) => format!(
            "--ram {text} of {} is {}, below the minimum; the smallest that works is {smallest}",
            shown(memory.whole()),
            shown(bytes)
        ),
        Ram::Auto => format!(
            "only {} of memory is left, too little for the smallest budget of {smallest}; \
             end something, or insist with --ram {smallest}",
            shown(memory.left())
        ),
    }))
}

/// What is left beside the `held` bytes of the program itself, with these, minus a tenth and at
/// least [`MARGIN_BYTES`] for what is not heap: the program's code, its stacks, file cache,
/// and its neighbours.
pub(crate) fn automatic(memory: &Memory, held: u64) -> u64 {
    let left = memory.left().saturating_add(held);
    left.saturating_sub(MARGIN_BYTES.max(left / 10)).min(MAX_RAM_BYTES)
}

/// Reads the option's text.
fn read(text: &str) -> Result<Ram, Trouble> {
    if text == "auto" {
        return Ok(Ram::Auto);
    }
    let Some(percent) = text.strip_suffix('%') else {
        return size::parse(text)
            .map(Ram::Bytes)
            .map_err(|error| Trouble::own(format!("--ram {text} {error}")));
    };
    let plain = percent.chars().all(|c| c.is_ascii_digit() || c == '.');
    match percent.parse::<f64>() {
        Ok(value) if plain && value > 0.0 && value <= 100.0 => Ok(Ram::Percent(value)),
        _ => Err(Trouble::own(format!("--ram {text} is not a percentage between 0% and 100%, such as 25%"))),
    }
}

/// Whether `--ram` says that the budget is to follow what there is.
pub(crate) fn is_automatic(text: &str) -> bool {
    text == "auto"
}

/// What to warn of before starting with `budget` bytes: none if they are there.
pub(crate) fn warning(budget: u64, memory: &Memory) -> Option<String> {
    let (bound, what) = match memory.limit {
        Some(limit) => (limit, "the memory limit of this control group"),
        None => (memory.total, "the RAM of this machine"),
    };
    (budget > bound).then(|| {
        format!(
            "warning: the budget of {} is more than {what}, {}; the kernel may end the program before \
             Outcore pages anything. Choose --ram below that limit",
            shown(budget),
            shown(bound)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const FREE: Memory = Memory { total: 16 * GIB, available: 10 * GIB, limit: None, limit_leaves: None };
    const LIMITED: Memory = Memory { limit: Some(2 * GIB), limit_leaves: Some(GIB), ..FREE };

    #[test]
    fn percentages_are_of_the_limit_else_of_ram() {
        assert_eq!(resolve("25%", &FREE).unwrap(), 4 * GIB);
        assert_eq!(resolve("25%", &LIMITED).unwrap(), GIB / 2);
        assert_eq!(resolve("12.5%", &FREE).unwrap(), 2 * GIB);
        assert_eq!(resolve("100%", &FREE).unwrap(), 16 * GIB);
        for text in ["0%", "101%", "-5%", "%", "x%", "inf%", "NaN%", "1e1%"] {
            let text = resolve(text, &FREE).unwrap_err().text;
            assert!(text.contains("not a percentage"), "{text}");
        }
    }

    #[test]
    fn auto_takes_what_is_left_but_for_a_margin() {
        assert_eq!(resolve("auto", &FREE).unwrap(), 9 * GIB);
        assert_eq!(resolve("auto", &LIMITED).unwrap(), GIB - GIB / 10);
        let tight = Memory { available: 70 << 20, ..FREE };
        let text = resolve("auto", &tight).unwrap_err().text;
        assert!(text.contains("70 MiB") && text.contains("16M"), "{text}");
    }

    #[test]
    fn too_little_names_the_smallest_that_works() {
        assert_eq!(resolve("16M", &FREE).unwrap(), MIN_RAM_BYTES);
        assert_eq!(
            resolve("1M", &FREE).unwrap_err().text,
            "--ram 1M is below the minimum; the smallest that works is 16M"
        );
        assert!(resolve("0.01%", &FREE).unwrap_err().text.contains("smallest that works is 16M"));
    }

    #[test]
    fn more_than_can_be_kept_account_of_is_refused_or_left() {
        let huge = Memory { total: 4096 * GIB, available: 2048 * GIB, limit: None, limit_leaves: None };
        assert_eq!(resolve("auto", &huge).unwrap(), MAX_RAM_BYTES);
        assert_eq!(resolve("50%", &huge).unwrap(), MAX_RAM_BYTES);
        assert_eq!(resolve("511G", &huge).unwrap(), 511 * GIB);
        let text = resolve("512G", &huge).unwrap_err().text;
        assert_eq!(text, "--ram 512G is too much; the largest budget is below 512G");
    }

    #[test]
    fn more_than_there_is_is_warned_of() {
        assert_eq!(warning(2 * GIB, &LIMITED), None);
        assert!(warning(3 * GIB, &LIMITED).unwrap().contains("control group, 2 GiB"));
        assert!(warning(17 * GIB, &FREE).unwrap().contains("machine, 16 GiB"));
    }
}
