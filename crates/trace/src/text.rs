//! What is kept as text: headers, summaries and modules.

use std::fmt::Write as _;

/// Names and numbers of a process at its end.
pub type Summary = Vec<(String, u64)>;

/// A file that is mapped for execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Where it is mapped.
    pub start: u64,
    /// The address after it.
    pub end: u64,
    /// Which part of the file: its first byte.
    pub offset: u64,
    /// The file's path.
    pub path: String,
}

/// A summary as text.
pub fn summary_text<'a>(numbers: impl IntoIterator<Item = (&'a str, u64)>) -> String {
    let mut text = String::new();
    for (name, value) in numbers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

/// The summary that `text` is; lines that make no sense are passed over.
pub fn summary(text: &str) -> Summary {
    let line = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Modules as text.
pub fn modules_text(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        let path = module.path.replace('\n', " ");
        let _ = writeln!(text, "{:x} {:x} {:x} {path}", module.start, module.end, module.offset);
    }
    text
}

/// The modules that `text` is; lines that make no sense are passed over.
pub fn modules(text: &str) -> Vec<Module> {
    let line = |line: &str| {
        let mut parts = line.splitn(4, ' ');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (start, end, offset) = (number()?, number()?, number()?);
        let path = parts.next()?.to_owned();
        (start < end).then_some(Module { start, end, offset, path })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all = [Module { start: 0x1000, end: 0x3000, offset: 0x200, path: "/usr/bin/a b".into() }];
        assert_eq!(modules(&modules_text(&all)), all);
        assert_eq!(modules("what\n1 2\nzz 3 4 /a\n3000 1000 0 /b"), []);
        assert_eq!(summary(&summary_text([("a", 1), ("b", 2)])), [("a".into(), 1), ("b".into(), 2)]);
        assert_eq!(summary("a=\n=3\nb\nc=-1"), [(String::new(), 3)]);
    }
}
