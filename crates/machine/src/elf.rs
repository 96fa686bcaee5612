//! What an ELF file's headers say about loading it.

use object::elf::{ET_DYN, ET_EXEC, FileHeader64, PF_R, PF_W, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};
use pager::space::{MAX_SPACE_PAGES, Prot, USER_END};
use std::fmt;

/// A segment to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first address.
    pub addr: u64,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many bytes it has in the file.
    pub file_size: u64,
    /// How many bytes it has in memory; those past the file's are zeros.
    pub memory_size: u64,
    /// The rights that its flags ask for.
    pub prot: Prot,
}

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Segments in order of address; no two have a page in common.
    pub segments: Vec<Segment>,
    /// Where the program begins.
    pub entry: u64,
}

/// Why a file cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It is no 64-bit ELF file, or its headers cannot be read.
    Unreadable(String),
    /// Neither an executable nor one that can be loaded anywhere.
    NotExecutable(u16),
    /// Nothing is to be loaded.
    NoSegments,
    /// A segment's bytes end after the file.
    Truncated {
        /// Which segment to be loaded, from 0.
        segment: usize,
        /// Where its bytes end.
        end: u64,
        /// How many bytes the file has.
        len: u64,
    },
    /// A segment has more bytes in the file than in memory.
    Oversized {
        /// Which segment, from 0.
        segment: usize,
        /// Bytes in the file.
        file_size: u64,
        /// Bytes in memory.
        memory_size: u64,
    },
    /// A segment ends above the addresses that a program has: the stack begins there.
    Address {
        /// Which segment, from 0.
        segment: usize,
        /// Its first address.
        addr: u64,
        /// Bytes in memory.
        memory_size: u64,
    },
    /// A segment's place in a page is not the same in the file as in memory.
    Misaligned {
        /// Which segment, from 0.
        segment: usize,
        /// Its first address.
        addr: u64,
        /// Where its bytes begin.
        offset: u64,
    },
    /// A segment begins in a page that another one has.
    Overlap {
        /// Which segment, from 0.
        segment: usize,
        /// Its first address.
        addr: u64,
        /// Bytes in a page.
        page_size: u64,
    },
    /// More pages than a process may have.
    TooLarge {
        /// How many.
        pages: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "not a 64-bit ELF file that can be read: {error}"),
            Self::NotExecutable(kind) => write!(f, "ELF type {kind} is not that of a program"),
            Self::NoSegments => f.write_str("the ELF file has no segment to load"),
            Self::Truncated { segment, end, len } => {
                write!(f, "segment {segment} ends at byte {end}, but the file has {len}: it is truncated")
            }
            Self::Oversized { segment, file_size, memory_size } => write!(
                f,
                "segment {segment} has {file_size} bytes in the file, but only {memory_size} in memory"
            ),
            Self::Address { segment, addr, memory_size } => write!(
                f,
                "segment {segment} of {memory_size} bytes at {addr:#x} is not between the first page and the stack, {STACK_TOP:#x}"
            ),
            Self::Misaligned { segment, addr, offset } => write!(
                f,
                "segment {segment} is at {addr:#x} but at byte {offset:#x} of the file: they differ within a page"
            ),
            Self::Overlap { segment, addr, page_size } => write!(
                f,
                "segment {segment} at {addr:#x} begins in a page of another one; use pages smaller than {page_size}"
            ),
            Self::TooLarge { pages } => {
                write!(f, "the segments have {pages} pages; a process may have {MAX_SPACE_PAGES}")
            }
        }
    }
}

/// Where programs are loaded that can be loaded anywhere: a multiple of every page size.
const ANYWHERE: u64 = 0x5555_0000_0000;

/// Stacks begin below this: a multiple of every page size.
pub(crate) const STACK_TOP: u64 = USER_END - (1 << 30);

impl Image {
    /// Reads the headers of a file of `len` bytes and checks everything that loading relies on.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn read<'data>(data: impl ReadRef<'data>, len: u64, page_size: u64) -> Result<Self, ImageError> {
        let unreadable = |error: object::Error| ImageError::Unreadable(error.to_string());
        let header = FileHeader64::<Endianness>::parse(data).map_err(unreadable)?;
        let endian = header.endian().map_err(unreadable)?;
        let base = match header.e_type(endian) {
            ET_EXEC => 0,
            ET_DYN => ANYWHERE,
            other => return Err(ImageError::NotExecutable(other)),
        };
        let headers = header.program_headers(endian, data).map_err(unreadable)?;
        let mut segments = Vec::new();
        for header in headers.iter().filter(|header| header.p_type(endian) == PT_LOAD) {
            let flags = header.p_flags(endian);
            let prot = [(PF_R, Prot::READ), (PF_W, Prot::WRITE), (PF_X, Prot::EXECUTE)]
                .into_iter()
                .filter(|(flag, _)| flags & flag != 0)
                .fold(Prot::NONE, |all, (_, right)| all.with(right));
            let number = segments.len();
            let addr = header.p_vaddr(endian);
            let segment = Segment {
                addr: addr.wrapping_add(base),
                offset: header.p_offset(endian),
                file_size: header.p_filesz(endian),
                memory_size: header.p_memsz(endian),
                prot,
            };
            if addr.checked_add(base).is_none() {
                let memory_size = segment.memory_size;
                return Err(ImageError::Address { segment: number, addr, memory_size });
            }
            segment.check(number, len, page_size)?;
            segments.push(segment);
        }
        segments.retain(|segment| segment.memory_size > 0);
        if segments.is_empty() {
            return Err(ImageError::NoSegments);
        }
        segments.sort_by_key(|segment| segment.addr);
        let (mut end_page, mut pages) = (0, 0);
        for (number, segment) in segments.iter().enumerate() {
            let (first, after) = segment.pages(page_size);
            if first < end_page {
                return Err(ImageError::Overlap { segment: number, addr: segment.addr, page_size });
            }
            end_page = after;
            pages += after - first;
        }
        // One more for the stack.
        if pages >= MAX_SPACE_PAGES {
            return Err(ImageError::TooLarge { pages });
        }
        Ok(Self { segments, entry: header.e_entry(endian).wrapping_add(base) })
    }
}

impl Segment {
    fn check(&self, segment: usize, len: u64, page_size: u64) -> Result<(), ImageError> {
        let Self { addr, offset, file_size, memory_size, .. } = *self;
        if file_size > memory_size {
            return Err(ImageError::Oversized { segment, file_size, memory_size });
        }
        let end = offset.saturating_add(file_size);
        if file_size > 0 && end > len {
            return Err(ImageError::Truncated { segment, end, len });
        }
        let fits = addr.checked_add(memory_size).is_some_and(|end| end <= STACK_TOP - page_size);
        if !fits || addr < page_size {
            return Err(ImageError::Address { segment, addr, memory_size });
        }
        if file_size > 0 && addr % page_size != offset % page_size {
            return Err(ImageError::Misaligned { segment, addr, offset });
        }
        Ok(())
    }

    /// Its first page, and the one after its last.
    pub fn pages(&self, page_size: u64) -> (u64, u64) {
        (self.addr / page_size, (self.addr + self.memory_size).div_ceil(page_size))
    }
}
