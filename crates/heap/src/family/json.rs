//! Reports as JSON: one object or array, on one line. Addresses are strings in hex, for
//! readers whose numbers are not as precise; what is absent is null.

use crate::family::blocks::BlockState;
use crate::family::report::{FamiliesReport, UsageReport};
use crate::family::stats::{FamilyInfo, FamilyStats};
use crate::family::walk::{BlockInfo, PageInfo, Walk};
use core::fmt::{self, Display, Formatter, Write};

/// A report that is written as JSON where the report itself is text.
///
/// ```
/// # use heap::{Anonymous, Families, FamiliesReport, Json};
/// let families = Families::new(Anonymous::new());
/// families.register("emp", 36)?;
/// let json = Json(&FamiliesReport(&families.registered())).to_string();
/// assert!(json.contains(r#"{"name":"emp","object_bytes":36,"alignment":4}"#));
/// # Ok::<(), heap::RegisterError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json<'a, T>(pub &'a T);

/// A string in quotes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                ' '..='\u{10ffff}' => f.write_char(char)?,
                control => write!(f, "\\u{:04x}", u32::from(control))?,
            }
        }
        f.write_char('"')
    }
}

fn array<'a, T: 'a>(f: &mut Formatter<'_>, items: &'a [T]) -> fmt::Result
where
    Json<'a, T>: Display,
{
    f.write_char('[')?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        write!(f, "{}", Json(item))?;
    }
    f.write_char(']')
}

/// A number, or null.
struct Number(Option<usize>);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("null"),
        }
    }
}

impl Display for Json<'_, FamilyInfo> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let FamilyInfo { name, size, align, .. } = self.0;
        write!(f, r#"{{"name":{},"object_bytes":{size},"alignment":{align}}}"#, Text(name))
    }
}

impl Display for Json<'_, FamiliesReport<'_>> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        array(f, self.0.0)
    }
}

impl Display for Json<'_, FamilyStats> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stats = self.0;
        write!(f, r#"{{"name":{},"object_bytes":{}"#, Text(&stats.family.name), stats.family.size)?;
        write!(f, r#","pages":{},"page_bytes":{}"#, stats.pages, stats.page_bytes)?;
        write!(f, r#","kernel_calls":{},"blocks":{}"#, stats.kernel_calls, stats.blocks)?;
        write!(f, r#","free_blocks":{},"used_blocks":{}"#, stats.free_blocks, stats.used_blocks)?;
        write!(f, r#","used_bytes":{},"free_bytes":{}"#, stats.used_bytes, stats.free_bytes)?;
        write!(f, r#","hard_bytes":{},"soft_bytes":{}}}"#, stats.hard_bytes, stats.soft_bytes)
    }
}

impl Display for Json<'_, UsageReport<'_>> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        array(f, self.0.0)
    }
}

impl Display for Json<'_, BlockInfo> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let block = self.0;
        let state = match block.state {
            BlockState::Free => "free",
            BlockState::Used => "used",
        };
        write!(f, r#"{{"address":"{:#x}","offset":{}"#, block.address, block.offset)?;
        write!(f, r#","size":{},"state":"{state}""#, block.size)?;
        write!(f, r#","previous":{},"next":{}"#, Number(block.previous), Number(block.next))?;
        write!(f, r#","hard_bytes":{},"soft":{}}}"#, block.hard, block.soft)
    }
}

impl Display for Json<'_, PageInfo> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"address":"{:#x}","bytes":{},"blocks":"#, self.0.address, self.0.bytes)?;
        array(f, &self.0.blocks)?;
        f.write_char('}')
    }
}

impl Display for Json<'_, Walk> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let FamilyInfo { name, size, .. } = &self.0.family;
        write!(f, r#"{{"name":{},"object_bytes":{size}"#, Text(name))?;
        write!(f, r#","meta_bytes":{},"pages":"#, self.0.meta_size)?;
        array(f, &self.0.pages)?;
        f.write_char('}')
    }
}
