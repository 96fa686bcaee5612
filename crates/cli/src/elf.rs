//! What an ELF file's headers say about loading a library into it.

use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, FileHeader32, FileHeader64, PT_INTERP,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The first bytes of every ELF file.
pub(crate) const MAGIC: &[u8] = &object::elf::ELFMAG;

/// The machine that this binary runs on.
pub(crate) const HOST: &str = if cfg!(target_arch = "aarch64") { "64-bit ARM" } else { "x86-64" };
const HOST_MACHINE: u16 = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };

/// What [`inspect`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The loader named here loads preloaded libraries into it.
    Preloadable {
        /// The dynamic loader that the file asks for.
        loader: PathBuf,
    },
    /// As `Preloadable`, but with another C library than ours.
    Musl,
    /// It has no loader.
    Static,
    /// It is for another machine, or for a narrower one.
    Foreign(String),
    /// Its headers make no sense.
    Damaged,
}

/// Reads the headers of `file`.
pub(crate) fn inspect(file: &File) -> Finding {
    let data = ReadCache::new(file);
    if let Ok(header) = FileHeader64::<Endianness>::parse(&data) {
        return judge(header, &data).unwrap_or(Finding::Damaged);
    }
    match FileHeader32::<Endianness>::parse(&data) {
        Ok(header) => header
            .endian()
            .map_or(Finding::Damaged, |endian| Finding::Foreign(machine(header.e_machine(endian), "32-bit"))),
        Err(_) => Finding::Damaged,
    }
}

/// [`inspect`] of a 64-bit file.
fn judge(header: &FileHeader64<Endianness>, data: &ReadCache<&File>) -> object::Result<Finding> {
    let endian = header.endian()?;
    let number = header.e_machine(endian);
    if number != HOST_MACHINE || endian != Endianness::default() {
        return Ok(Finding::Foreign(machine(number, "64-bit")));
    }
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) != PT_INTERP {
            continue;
        }
        let Ok(name) = segment.data(endian, data) else { return Ok(Finding::Damaged) };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let loader = PathBuf::from(OsStr::from_bytes(name));
        let is_musl = loader.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-musl"));
        return Ok(if is_musl { Finding::Musl } else { Finding::Preloadable { loader } });
    }
    Ok(Finding::Static)
}

/// The name of the machine with this number.
fn machine(number: u16, width: &str) -> String {
    match number {
        EM_X86_64 if width == "32-bit" => "x32".to_owned(),
        EM_X86_64 => "x86-64".to_owned(),
        EM_386 => "32-bit x86".to_owned(),
        EM_AARCH64 => "64-bit ARM".to_owned(),
        EM_ARM => "32-bit ARM".to_owned(),
        EM_RISCV => format!("{width} RISC-V"),
        EM_PPC64 => "64-bit POWER".to_owned(),
        EM_S390 => "IBM Z".to_owned(),
        other => format!("another {width} machine (ELF number {other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_preloadable() {
        let file = File::open("/proc/self/exe").unwrap();
        let finding = inspect(&file);
        assert!(matches!(finding, Finding::Preloadable { .. }), "{finding:?}");
    }

    #[test]
    fn machines_have_names() {
        assert_eq!(machine(EM_RISCV, "64-bit"), "64-bit RISC-V");
        assert_eq!(machine(9999, "32-bit"), "another 32-bit machine (ELF number 9999)");
    }
}
