//! What a program may do with a page.

use core::fmt;

/// A set of the rights to read, write and execute.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prot(u8);

/// What a program does to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Loads from it.
    Read,
    /// Stores to it.
    Write,
    /// Fetches an instruction from it.
    Execute,
}

impl Prot {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Reading.
    pub const READ: Self = Self(1);
    /// Writing.
    pub const WRITE: Self = Self(2);
    /// Executing.
    pub const EXECUTE: Self = Self(4);
    /// Reading and writing.
    pub const READ_WRITE: Self = Self(3);
    /// All rights.
    pub const ALL: Self = Self(7);

    /// The rights that either has.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The rights that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `other`'s rights are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether `access` is allowed.
    pub const fn allows(self, access: Access) -> bool {
        self.contains(match access {
            Access::Read => Self::READ,
            Access::Write => Self::WRITE,
            Access::Execute => Self::EXECUTE,
        })
    }

    /// Rights as written in three letters, with `-` for each that is missing: `rw-`.
    pub fn parse(text: &str) -> Option<Self> {
        let letters = text.as_bytes();
        let each = [(b'r', Self::READ), (b'w', Self::WRITE), (b'x', Self::EXECUTE)];
        if letters.len() != each.len() {
            return None;
        }
        letters.iter().zip(each).try_fold(Self::NONE, |all, (letter, (name, right))| match letter {
            b'-' => Some(all),
            letter if *letter == name => Some(all.with(right)),
            _ => None,
        })
    }
}

/// The letters of the rights there are, or `-`.
impl fmt::Display for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("-");
        }
        let each = [("r", Self::READ), ("w", Self::WRITE), ("x", Self::EXECUTE)];
        each.into_iter()
            .filter(|(_, right)| self.contains(*right))
            .try_for_each(|(name, _)| f.write_str(name))
    }
}

impl fmt::Debug for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `r`, `w` or `x`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::Execute => "x",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_read_back_as_they_are_written() {
        for bits in 0..8 {
            let prot = Prot(bits);
            let letter = |right: Prot, name: &'static str| if prot.contains(right) { name } else { "-" };
            let text =
                [letter(Prot::READ, "r"), letter(Prot::WRITE, "w"), letter(Prot::EXECUTE, "x")].concat();
            assert_eq!(Prot::parse(&text), Some(prot));
            assert_eq!(prot.to_string(), if bits == 0 { "-".into() } else { text.replace('-', "") });
        }
        for text in ["", "rw", "wr-", "rwxx", "r w", "RW-"] {
            assert_eq!(Prot::parse(text), None, "{text}");
        }
    }
}
