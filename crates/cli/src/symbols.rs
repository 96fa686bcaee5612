//! Names of code addresses, from the programs' own symbols and debug information.

use object::{Object, ObjectSegment};
use std::collections::HashMap;
use std::fs;
use trace::Module;

/// Finds names; what has been found once is remembered.
pub(crate) struct Symbols {
    modules: Vec<Module>,
    files: HashMap<String, Option<Loaded>>,
    known: HashMap<u64, String>,
}

struct Loaded {
    loader: addr2line::Loader,
    /// Where parts of the file go: first byte, length, address.
    segments: Vec<(u64, u64, u64)>,
}

impl Symbols {
    /// For addresses in these modules.
    pub(crate) fn new(modules: Vec<Module>) -> Self {
        Self { modules, files: HashMap::new(), known: HashMap::new() }
    }

    /// What is at `addr`: the function, and file and line where they are known.
    pub(crate) fn name(&mut self, addr: u64) -> String {
        if let Some(name) = self.known.get(&addr) {
            return name.clone();
        }
        let name = self.find(addr).unwrap_or_else(|| format!("{addr:#x}"));
        self.known.insert(addr, name.clone());
        name
    }

    fn find(&mut self, addr: u64) -> Option<String> {
        let module = self.modules.iter().find(|module| (module.start..module.end).contains(&addr))?.clone();
        let offset = addr - module.start + module.offset;
        let short = module.path.rsplit('/').next().unwrap_or(&module.path).to_owned();
        let loaded = self.files.entry(module.path.clone()).or_insert_with(|| load(&module.path));
        let unnamed = format!("{short}+{offset:#x}");
        let Some(loaded) = loaded else { return Some(unnamed) };
        let part = loaded.segments.iter().find(|(start, len, _)| (*start..start + len).contains(&offset))?;
        let probe = offset - part.0 + part.2;
        let named = loaded.loader.find_symbol(probe).map(demangled);
        let line = line_of_symbol(&loaded.loader, probe).map(|line| format!(" {line}"));
        match named {
            Some(named) => Some(format!("{named} ({short}{})", line.unwrap_or_default())),
            None => Some(unnamed),
        }
    }
}

fn load(path: &str) -> Option<Loaded> {
    let bytes = fs::read(path).ok()?;
    let file = object::File::parse(&bytes[..]).ok()?;
    let segments = file.segments().map(|segment| {
        let (start, len) = segment.file_range();
        (start, len, segment.address())
    });
    let segments = segments.collect();
    Some(Loaded { loader: addr2line::Loader::new(path).ok()?, segments })
}

/// File and line, in the function that has the symbol: of what was inlined there, where that was called.
fn line_of_symbol(loader: &addr2line::Loader, probe: u64) -> Option<String> {
    let mut frames = loader.find_frames(probe).ok()?;
    let mut outermost = None;
    while let Ok(Some(frame)) = frames.next() {
        outermost = Some(frame);
    }
    let location = outermost?.location?;
    Some(format!("{}:{}", location.file?.rsplit('/').next()?, location.line?))
}

fn demangled(symbol: &str) -> String {
    let name = addr2line::demangle_auto(symbol.into(), None).into_owned();
    // What a hash at the end says is for linkers.
    match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            name.into()
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    pub(crate) extern "C" fn a_function_with_a_name() -> u64 {
        std::hint::black_box(7)
    }

    #[test]
    fn addresses_of_this_program_have_names() {
        let addr = a_function_with_a_name as *const () as u64;
        let modules = crate::recording::mapped_modules(std::process::id()).unwrap();
        let mut symbols = Symbols::new(modules);
        let name = symbols.name(addr);
        assert!(name.contains("a_function_with_a_name") && name.contains("symbols.rs:"), "{name}");
        assert_eq!(symbols.name(16), "0x10");
    }
}
