//! Why an engine could not be made.

use core::error::Error;
use core::fmt::{self, Display, Formatter};
use rustix::io::Errno;

/// Why an engine could not be made. Nothing is left of it.
#[derive(Debug)]
pub enum OpenError {
    /// The budget does not hold the transfers of a moment.
    SmallBudget {
        /// What was asked for, in bytes.
        given: u64,
        /// What works, in bytes.
        least: u64,
    },
    /// The budget has more pages than can be numbered.
    LargeBudget {
        /// What was asked for, in bytes.
        given: u64,
        /// What works, in bytes.
        most: u64,
    },
    /// Others that share the budget leave too little of it.
    SharedBudget {
        /// All of it, in bytes.
        budget: u64,
        /// What is left, in bytes.
        left: u64,
        /// What works, in bytes.
        least: u64,
    },
    /// As many share the budget as can.
    TooManyShare,
    /// The kernel gives no userfaultfd.
    Userfaultfd(Errno),
    /// The store cannot be made.
    Store(store::OpenError),
    /// The plan of failures for a test is none.
    Faults(String),
    /// The kernel refuses something else.
    Kernel(&'static str, Errno),
    /// The pager's thread cannot be started.
    Thread(std::io::Error),
}

impl OpenError {
    /// For a user who set variables of the environment.
    pub(crate) fn in_environment(&self) -> String {
        match self {
            Self::SmallBudget { given, least } => {
                format!("OUTCORE_RAM={given} is below the minimum of {least} bytes")
            }
            Self::LargeBudget { .. } => "OUTCORE_RAM is more than this version can page (512 GiB)".to_owned(),
            Self::Faults(error) => format!("OUTCORE_FAULTS: {error}"),
            other => other.to_string(),
        }
    }
}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallBudget { given, least } => {
                write!(f, "a budget of {given} bytes is too small: give at least {least} bytes")
            }
            Self::LargeBudget { given, most } => {
                write!(f, "a budget of {given} bytes is too large: give at most {most} bytes")
            }
            Self::SharedBudget { budget, left, least } => write!(
                f,
                "the others that share the budget of {budget} bytes leave {left} bytes of it, and {least} bytes are \
                 needed: make the budget larger, or drop one of them"
            ),
            Self::TooManyShare => {
                write!(
                    f,
                    "{} heaps, arenas or processes share the budget already: drop some",
                    sys::ledger::SEATS
                )
            }
            Self::Userfaultfd(error) => {
                write!(f, "no userfaultfd is to be had ({error}); 'outcore doctor' says how to enable it")
            }
            Self::Store(error) => write!(f, "{error}"),
            Self::Faults(error) => write!(f, "the plan of failures: {error}"),
            Self::Kernel(what, error) => write!(f, "{what}: {error}"),
            Self::Thread(error) => write!(f, "the pager cannot be started: {error}"),
        }
    }
}

impl Error for OpenError {}
