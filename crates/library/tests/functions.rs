#![expect(unsafe_code, reason = "calls C functions")]
//! What the C functions do with heaps of their own, and with what is wrong.

use outcore::block::{OcLocation, oc_calloc, oc_calloc_named, oc_free, oc_locate, oc_malloc};
use outcore::error::oc_error;
use outcore::instance::{OcHeap, oc_check, oc_heap_drop, oc_heap_new, oc_heap_new_in_page, oc_trim};
use outcore::print::{OcFormat, oc_print_blocks, oc_print_families, oc_print_usage};
use outcore::register::{oc_bytes, oc_find, oc_register};
use std::ffi::{CStr, c_int};
use std::ptr::{null, null_mut};

/// errno and the message of what failed last.
fn error() -> (c_int, String) {
    // SAFETY: the message is valid until the next failure of this thread.
    let message = unsafe { CStr::from_ptr(oc_error()) }.to_str().expect("text").to_owned();
    (std::io::Error::last_os_error().raw_os_error().unwrap_or(0), message)
}

fn register(heap: *const OcHeap, name: &CStr, size: usize) -> u32 {
    // SAFETY: a heap, and a string.
    unsafe { oc_register(heap, name.as_ptr(), size, 0) }
}

/// What a report function writes to a stream.
fn written(report: impl FnOnce(*mut libc::FILE) -> c_int) -> String {
    // SAFETY: the stream is open until it is closed; the buffer has that many bytes.
    unsafe {
        let file = libc::tmpfile();
        assert!(!file.is_null());
        assert_eq!(report(file), 0);
        libc::rewind(file);
        let mut text = vec![0u8; 1 << 16];
        let len = libc::fread(text.as_mut_ptr().cast(), 1, text.len(), file);
        libc::fclose(file);
        text.truncate(len);
        String::from_utf8(text).expect("text")
    }
}

#[test]
fn a_textbook_heap_of_its_own() {
    // SAFETY: the heap is dropped at the end, and its blocks are used within their size.
    unsafe {
        let heap = oc_heap_new_in_page(4096, 48);
        let (emp, student) = (register(heap, c"emp", 36), register(heap, c"student", 56));
        assert_eq!(
            (oc_bytes(heap), oc_find(heap, c"emp".as_ptr()), oc_find(heap, c"none".as_ptr())),
            (1, emp, 0)
        );
        let emps = [0; 3].map(|_| oc_calloc(heap, emp, 1));
        let students = [0; 2].map(|_| oc_malloc(heap, student, 1));
        assert!(emps.iter().chain(&students).all(|block| !block.is_null()));
        let usage = |family| {
            let text = written(|to| oc_print_usage(heap, family, to, OcFormat::Json as c_int));
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let names = ["blocks", "free_blocks", "used_blocks", "used_bytes"];
            names.map(|name| json[0][name].as_u64().expect("a number"))
        };
        assert_eq!((usage(emp), usage(student)), ([4, 1, 3, 252], [3, 1, 2, 208]));
        for block in [emps[0], emps[2], students[1]] {
            assert_eq!(oc_free(heap, block), 0);
        }
        assert_eq!((usage(emp), usage(student)), ([3, 2, 1, 84], [2, 1, 1, 104]));
        let text = written(|to| oc_print_blocks(heap, emp, to, OcFormat::Text as c_int));
        assert!(
            text.starts_with("family emp, objects of 36 bytes, meta blocks of 48 in the page\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3 + 3, "{text}");
        let text = written(|to| oc_print_families(heap, to, OcFormat::Json as c_int));
        assert_eq!(text.lines().count(), 1);
        let mut found = OcLocation { family: 0, used: 0, data: null_mut(), size: 0 };
        assert_eq!(oc_locate(heap, emps[1].cast::<u8>().add(35).cast(), &raw mut found), 0);
        assert_eq!((found.family, found.used, found.data, found.size), (emp, 1, emps[1], 36));
        assert_eq!((oc_free(heap, emps[1]), oc_free(heap, students[0]), oc_check(heap)), (0, 0, 0));
        assert_eq!((oc_trim(heap), oc_trim(heap)), (2, 0));
        oc_heap_drop(heap);
        oc_heap_drop(null_mut());
    }
}

#[test]
fn what_is_wrong_is_told_and_refused() {
    // SAFETY: strings and heaps are valid; wrong pointers are refused.
    unsafe {
        assert!(oc_heap_new_in_page(4096, 30).is_null());
        assert_eq!(
            error(),
            (libc::EINVAL, "oc_heap_new_in_page: a meta block of 30 bytes: give 28 or 48".into())
        );
        let heap = oc_heap_new();
        let emp = register(heap, c"emp", 36);
        for (name, size, align, message) in [
            (c"", 1, 0, "the family's name is empty: give it 1 to 255 bytes"),
            (c"emp", 36, 0, "a family named \"emp\" is registered already"),
            (c"none", 0, 0, "objects of 0 bytes cannot be told apart: give a size of at least 1"),
            (c"\xff", 1, 0, "the family's name is not UTF-8 at byte 0"),
            (
                c"odd",
                36,
                8,
                "an alignment of 8 for objects of 36 bytes: give a power of two that divides their size",
            ),
        ] {
            assert_eq!(oc_register(heap, name.as_ptr(), size, align), 0);
            assert_eq!(error(), (libc::EINVAL, format!("oc_register: {message}")));
        }
        assert_eq!(oc_register(heap, null(), 1, 0), 0);
        assert_eq!(error(), (libc::EINVAL, "oc_register: the family's name is NULL".into()));
        for (family, units, number) in [
            (0, 1, libc::EINVAL),
            (9, 1, libc::EINVAL),
            (u32::MAX, 1, libc::EINVAL),
            (emp, 0, libc::EINVAL),
            (emp, usize::MAX, libc::ENOMEM),
            (emp, 1 << 40, libc::ENOMEM),
        ] {
            assert!(oc_calloc(heap, family, units).is_null() && oc_malloc(heap, family, units).is_null());
            assert_eq!(error().0, number, "{units} units of family {family}");
        }
        let block = oc_calloc(heap, emp, 2);
        for wrong in [block.cast::<u8>().add(36).cast(), (&raw const emp).cast_mut().cast()] {
            assert_eq!((oc_free(heap, wrong), error().0), (-1, libc::EINVAL));
        }
        assert_eq!((oc_free(null(), block), oc_free(heap, null_mut())), (-1, 0), "heaps are independent");
        assert_eq!((oc_free(heap, block), oc_free(heap, block), oc_check(heap)), (0, -1, 0));
        assert_eq!(oc_print_usage(heap, 9, null_mut(), 0), -1);
        assert_eq!(error().1, "oc_print_usage: no family of this heap has the number 9");
        assert_eq!(oc_print_blocks(heap, 0, null_mut(), 0), -1);
        oc_heap_drop(heap);
        assert!(register(null(), c"sized", 8) > 1);
        assert!(oc_calloc_named(c"sized".as_ptr(), 12, 1).is_null());
        let message = "xcalloc: \"sized\" has 12 bytes, and the family of that name has objects of 8";
        assert_eq!(error(), (libc::EINVAL, message.into()));
    }
}
