#![expect(unsafe_code, reason = "reads the loader's list of what it has loaded")]
//! The program's zeroed static data: arrays that it declares, and that nobody maps by a call.

use crate::mmap::{LARGEST, round_up};
use core::ffi::{c_int, c_void};
use engine::{Engine, PAGE, Rights};
use libc::{dl_iterate_phdr, dl_phdr_info, size_t};

/// Less stays with the kernel.
const THRESHOLD: usize = 1 << 20;

/// Tags of the dynamic section.
const DT_NULL: usize = 0;
const DT_SYMTAB: usize = 6;
const DT_RELA: usize = 7;
const DT_RELASZ: usize = 8;

/// Tells the engine of it. Before `main`, and before anything is paged.
pub(crate) fn announce(engine: &Engine) {
    let mut found = None;
    // SAFETY: the place outlives the call, and is what `first` takes it for.
    unsafe { dl_iterate_phdr(Some(first), (&raw mut found).cast()) };
    let Some((addr, len)) = found else { return };
    // A promise that cannot be kept leaves it to the kernel, which has made it already.
    if engine.promise(len as u64) {
        engine.address_space().mapped(addr, len, Rights::ReadWrite);
    }
}

/// Looks at what the loader lists first, which is the program.
unsafe extern "C" fn first(info: *mut dl_phdr_info, _size: size_t, found: *mut c_void) -> c_int {
    // SAFETY: as dl_iterate_phdr(3) says: the headers are there as long as the program is. `found`
    // is `announce`'s.
    unsafe {
        let info = &*info;
        let headers = core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        let base = info.dlpi_addr as usize;
        *found.cast::<Option<(usize, usize)>>() = headers
            .iter()
            .find_map(|header| zeroed(base, header))
            .and_then(|range| longest_without(range, &copied(base, headers)));
    }
    1
}

/// What libraries keep in the program, such as `environ`, `stderr` and whether there are threads:
/// the C library uses that when the pager calls it. Addresses and lengths, as the program's copy
/// relocations have them (System V ABI, AMD64 supplement, `R_X86_64_COPY`).
unsafe fn copied(base: usize, headers: &[libc::Elf64_Phdr]) -> Vec<(usize, usize)> {
    const COPY: u64 = 5;
    let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else {
        return Vec::new();
    };
    // SAFETY: the loader has relocated the program by these tables, which are mapped as long as it is.
    unsafe {
        let mut entry = (base + dynamic.p_vaddr as usize) as *const [usize; 2];
        let (mut relocations, mut bytes, mut symbols) = (0, 0, 0);
        loop {
            let [tag, value] = *entry;
            // The loader of glibc has made addresses of these already.
            let addr = if value < base { base + value } else { value };
            match tag {
                DT_NULL => break,
                DT_RELA => relocations = addr,
                DT_RELASZ => bytes = value,
                DT_SYMTAB => symbols = addr,
                _ => {}
            }
            entry = entry.add(1);
        }
        if relocations == 0 || symbols == 0 {
            return Vec::new();
        }
        let relocations = core::slice::from_raw_parts(
            relocations as *const libc::Elf64_Rela,
            bytes / size_of::<libc::Elf64_Rela>(),
        );
        let copies = relocations.iter().filter(|relocation| relocation.r_info & 0xffff_ffff == COPY);
        let size = |index: u64| (*(symbols as *const libc::Elf64_Sym).add(index as usize)).st_size;
        copies.map(|copy| (base + copy.r_offset as usize, size(copy.r_info >> 32) as usize)).collect()
    }
}

/// The longest run of pages of a range on which none of these lies, if that is long enough.
fn longest_without((from, len): (usize, usize), kept: &[(usize, usize)]) -> Option<(usize, usize)> {
    let mut edges: Vec<(usize, usize)> =
        kept.iter().map(|(addr, len)| (addr / PAGE * PAGE, round_up(addr.saturating_add(*len)))).collect();
    edges.push((from + len, from + len));
    edges.sort_unstable();
    let mut start = from;
    let mut longest = (from, 0);
    for (low, high) in edges {
        let free = low.min(from + len).saturating_sub(start);
        if free > longest.1 {
            longest = (start, free);
        }
        start = start.max(high);
    }
    (longest.1 >= THRESHOLD).then_some(longest)
}

/// The pages of a segment that are not of its file, where they are to be paged: address and length.
fn zeroed(base: usize, header: &libc::Elf64_Phdr) -> Option<(usize, usize)> {
    let is_data = header.p_type == libc::PT_LOAD && header.p_flags == libc::PF_R | libc::PF_W;
    let start = base.checked_add(header.p_vaddr as usize)?;
    let from = round_up(start.checked_add(header.p_filesz as usize)?);
    let end = start.checked_add(header.p_memsz as usize)? / PAGE * PAGE;
    let len = end.checked_sub(from)?;
    (is_data && (THRESHOLD..=LARGEST).contains(&len)).then_some((from, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(filesz: usize, memsz: usize) -> libc::Elf64_Phdr {
        libc::Elf64_Phdr {
            p_type: libc::PT_LOAD,
            p_flags: libc::PF_R | libc::PF_W,
            p_offset: 0,
            p_vaddr: 0x1100,
            p_paddr: 0,
            p_filesz: filesz as u64,
            p_memsz: memsz as u64,
            p_align: PAGE as u64,
        }
    }

    #[test]
    fn whole_pages_that_are_not_of_the_file() {
        let base = 0x5000_0000;
        let large = header(0x2345, 8 << 20);
        // From the page after the last byte of the file on.
        let from = base + 0x4000;
        assert_eq!(zeroed(base, &large), Some((from, base + 0x1000 + (8 << 20) - from)));
        assert_eq!(zeroed(base, &header(0x2345, 0x2345)), None);
        assert_eq!(zeroed(base, &header(0, THRESHOLD)), None, "what is left is small");
        assert_eq!(zeroed(base, &libc::Elf64_Phdr { p_flags: 7, ..large }), None);
        assert_eq!(zeroed(base, &header(usize::MAX, usize::MAX)), None);
        assert_eq!(zeroed(base, &header(0, usize::MAX)), None);
    }

    #[test]
    fn what_libraries_keep_there_is_left_out() {
        let range = (16 * PAGE, 1024 * PAGE);
        let at = |page: usize, len: usize| (page * PAGE + 8, len);
        assert_eq!(longest_without(range, &[]), Some(range));
        assert_eq!(longest_without(range, &[at(16, 8)]), Some((17 * PAGE, 1023 * PAGE)));
        assert_eq!(longest_without(range, &[at(1039, 8), at(3, 8)]), Some((16 * PAGE, 1023 * PAGE)));
        assert_eq!(
            longest_without(range, &[at(700, 8), at(100, 2 * PAGE)]),
            Some((103 * PAGE, 597 * PAGE)),
            "between the two"
        );
        assert_eq!(longest_without(range, &[at(200, 8), at(400, 8), at(600, 8), at(800, 8)]), None);
    }
}
