//! What the hardware may allow, given the state of what backs a page. The only place that says so.
//!
//! | state of the backing | rights, before the area's own are taken into account |
//! |---|---|
//! | never written | all but writing, of the frame of zeros |
//! | not in memory, in a transfer, or in memory with the reference bit clear | none |
//! | referenced, clean | all but writing |
//! | referenced, dirty, and everybody who maps it is to see what is written | all |
//! | referenced, dirty, and to be copied before it is written | all but writing |

use super::prot::Prot;

/// What matters about the state of a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has never been written and no file holds its bytes: it reads as zeros.
    NeverWritten,
    /// A touch must be noticed: not in memory, in a transfer, or the reference bit is clear.
    Trapped,
    /// In memory, referenced, and the same as in its place.
    Clean,
    /// In memory, referenced, and not the same.
    Dirty,
}

/// Who is to see what is written through an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody who maps the backing: shared, or only one owner.
    Direct,
    /// Nobody else: the page is copied first.
    CopyOnWrite,
}

/// The rights of an entry: those that the state of its backing allows and its area has.
#[must_use]
pub const fn rights(standing: Standing, sharing: Sharing, area: Prot) -> Prot {
    let all_but_writing = Prot::READ.with(Prot::EXECUTE);
    let of_state = match (standing, sharing) {
        (Standing::Trapped, _) => Prot::NONE,
        (Standing::Dirty, Sharing::Direct) => Prot::ALL,
        (Standing::NeverWritten | Standing::Clean | Standing::Dirty, _) => all_but_writing,
    };
    of_state.and(area)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of the table, with every area.
    #[test]
    fn rights_are_those_of_the_table() {
        let table = [
            (Standing::NeverWritten, Sharing::Direct, "r-x"),
            (Standing::NeverWritten, Sharing::CopyOnWrite, "r-x"),
            (Standing::Trapped, Sharing::Direct, "---"),
            (Standing::Trapped, Sharing::CopyOnWrite, "---"),
            (Standing::Clean, Sharing::Direct, "r-x"),
            (Standing::Clean, Sharing::CopyOnWrite, "r-x"),
            (Standing::Dirty, Sharing::Direct, "rwx"),
            (Standing::Dirty, Sharing::CopyOnWrite, "r-x"),
        ];
        for (standing, sharing, allowed) in table {
            for area in ["---", "r--", "-w-", "--x", "rw-", "r-x", "-wx", "rwx"] {
                let both: String = allowed
                    .chars()
                    .zip(area.chars())
                    .map(|(state, area)| if state == area { state } else { '-' })
                    .collect();
                let area = Prot::parse(area).expect("three letters");
                assert_eq!(
                    Prot::parse(&both),
                    Some(rights(standing, sharing, area)),
                    "{standing:?} {sharing:?} {area}"
                );
            }
        }
    }
}
