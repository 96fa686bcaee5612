//! `outcore image`: what it says of images that are sound, damaged, or none.

use image::{PAGE, Replacement, WorkingSet, Writer};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `outcore image`: status, standard output and error.
fn outcore(arguments: &[&str], path: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_outcore"))
        .arg("image")
        .args(arguments)
        .arg(path)
        .output()
        .expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

/// 1000 pages: 300 touched, of which every third is the same.
fn save(directory: &Path) -> PathBuf {
    let path = directory.join("a.image");
    let mut writer = Writer::new(Replacement::of(&path).expect("a file")).expect("a key");
    for number in 0..300u64 {
        let mut page = [1; PAGE];
        if number % 3 != 0 {
            page[..8].copy_from_slice(&number.to_le_bytes());
        }
        writer.page(number * 3, &page).expect("a page");
    }
    writer.finish(1000).expect("an image");
    path
}

#[test]
fn what_an_image_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = save(directory.path());
    let (status, out, error) = outcore(&["inspect"], &path);
    assert_eq!((status, error.as_str()), (0, ""));
    let (identity, rest) = out.split_once('\n').expect("lines");
    assert!(identity.starts_with("image ") && identity.ends_with(", version 1"), "{identity}");
    assert_eq!(
        rest,
        "arena                1,000 pages     3.9 MiB\n\
         zero                   700 pages     2.7 MiB  take no room\n\
         repeated                99 pages     396 KiB  are stored once\n\
         stored                 201 pages     804 KiB\n\
         index                    9 pages      36 KiB\n\
         file                   211 pages     844 KiB  with its header\n"
    );
    let (_, json, _) = outcore(&["inspect", "--json"], &path);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["pages"].as_u64(), json["pages_stored"].as_u64()), (Some(1000), Some(201)));
    assert!(json["working_set_pages"].is_null());

    let image = image::Image::open(&path).expect("an image");
    WorkingSet::of([5, 6, 7]).save(&path, image.identity()).expect("a working set");
    let (_, out, _) = outcore(&["inspect"], &path);
    assert!(
        out.ends_with("working set              3 pages      12 KiB  are read ahead at the next start\n"),
        "{out}"
    );
}

#[test]
fn damage_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = save(directory.path());
    let (status, out, error) = outcore(&["verify"], &path);
    let said = format!("{}: all 300 pages (844 KiB) are as they were written\n", path.display());
    assert_eq!((status, out.as_str(), error.as_str()), (0, said.as_str(), ""));

    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
    file.write_all_at(b"x", 2 * PAGE as u64 + 17).expect("a byte");
    assert_eq!(outcore(&["inspect"], &path).0, 0, "the index is sound");
    let (status, out, error) = outcore(&["verify"], &path);
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(
        error,
        format!(
            "outcore: page 3: a page at byte 8192 is not what was written\n\
             outcore: {}: 1 of 211 blocks are damaged; take the image from a backup, or save it again\n",
            path.display()
        )
    );

    // The last block is the root.
    file.write_all_at(b"x", 210 * PAGE as u64).expect("a byte");
    for verb in ["inspect", "verify"] {
        let (status, _, error) = outcore(&[verb], &path);
        assert_eq!(status, 1, "{verb}");
        assert!(error.starts_with("outcore: pages 0 to 999: a node of the index at byte 860160"), "{error}");
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("other");
    for (bytes, expected) in [
        (None, "No such file"),
        (Some(&b"hello"[..]), "not an image"),
        (Some(&b"OUTCIMG\n"[..]), "cut short"),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).expect("a file");
        }
        for verb in ["inspect", "verify"] {
            let (status, out, error) = outcore(&[verb], &path);
            assert_eq!((status, out.as_str()), (2, ""));
            assert!(error.starts_with("outcore: ") && error.contains(expected), "{error}");
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_outcore")).args(["image", "burn"]).output();
    assert_eq!(output.expect("the command runs").status.code(), Some(2));
}
