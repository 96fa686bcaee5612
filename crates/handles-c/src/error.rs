//! Failures as numbers and texts, kept for each thread.

use handles::{AccessError, AllocError, BuildError, HandleError, PinError, ReleaseError, StoreError};
use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_int};

/// The numbers of `enum pm_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Code {
    Init = 1,
    Invalid = 2,
    Full = 3,
    Handle = 4,
    Stale = 5,
    Bounds = 6,
    Pinned = 7,
    NotPinned = 8,
    Frames = 9,
    Deadlock = 10,
    Io = 11,
    Corrupt = 12,
}

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

thread_local! {
    static LAST: Cell<c_int> = const { Cell::new(0) };
    static MESSAGE: RefCell<CString> = RefCell::default();
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Keeps it for [`pm_last_error`]; `result` says that there is something to ask for.
    pub(crate) fn note<T>(self, result: T) -> T {
        let text = CString::new(self.message).expect("messages have no zero bytes");
        LAST.set(self.code as c_int);
        // A thread that is ending has none any more.
        let _ = MESSAGE.try_with(|message| message.replace(text));
        result
    }
}

/// Why the last call of this thread that failed did; 0 if none has. A number of `enum pm_error`.
#[unsafe(no_mangle)]
pub extern "C" fn pm_last_error() -> c_int {
    LAST.get()
}

/// The same as a text, which is good until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn pm_message() -> *const c_char {
    MESSAGE.try_with(|text| text.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

impl From<HandleError> for Failure {
    fn from(error: HandleError) -> Self {
        let code = match error {
            HandleError::Stale(_) => Code::Stale,
            HandleError::Foreign(_) => Code::Handle,
        };
        Self::new(code, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Read { .. } | StoreError::Write { .. } => Code::Io,
            StoreError::Wrong { .. } => Code::Corrupt,
        };
        Self::new(code, error)
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        let code = match error {
            AllocError::Empty | AllocError::TooLarge { .. } => Code::Invalid,
            AllocError::Full { .. } => Code::Full,
        };
        Self::new(code, error)
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Handle(error) => error.into(),
            AccessError::OutOfBounds { .. } => Self::new(Code::Bounds, error),
            AccessError::Store(error) => error.into(),
        }
    }
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Handle(error) => error.into(),
            PinError::TooLarge { .. } => Self::new(Code::Frames, error),
            PinError::Deadlock { .. } => Self::new(Code::Deadlock, error),
            PinError::Store(error) => error.into(),
        }
    }
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Handle(error) => error.into(),
            ReleaseError::Pinned(_) => Self::new(Code::Pinned, error),
            ReleaseError::NotPinned(_) => Self::new(Code::NotPinned, error),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let code = match error {
            BuildError::SwapFile(_) => Code::Io,
            BuildError::PageSize(_) | BuildError::Size { .. } | BuildError::Policy(_) => Code::Invalid,
        };
        // A name may have any byte but zero, so the text has none either.
        Self::new(code, error)
    }
}
