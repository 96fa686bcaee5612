//! The files' names, numbered for the core.

use pager::space::FileNo;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

/// Every name that some process maps, or of whose file something is in memory.
#[derive(Default)]
pub(crate) struct Names {
    numbers: BTreeMap<CString, FileNo>,
    names: Vec<Option<CString>>,
    vacant: Vec<FileNo>,
}

impl Names {
    /// The number of `name`, a new one if it had none.
    pub(crate) fn number(&mut self, name: CString) -> FileNo {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.names.push(None);
            FileNo(self.names.len() as u32 - 1)
        });
        self.names[number.0 as usize] = Some(name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// The name of a number that is in use.
    pub(crate) fn name(&self, number: FileNo) -> &CStr {
        self.names[number.0 as usize].as_deref().expect("the core names files that are in use")
    }

    /// Forgets the names that `in_use` says nobody needs.
    pub(crate) fn forget(&mut self, in_use: impl Fn(FileNo) -> bool) {
        let Self { numbers, names, vacant } = self;
        numbers.retain(|_, number| {
            let used = in_use(*number);
            if !used {
                names[number.0 as usize] = None;
                vacant.push(*number);
            }
            used
        });
    }
}
