//! Screens that tests compare with those that are checked in.

use std::path::PathBuf;

/// Compares with `tests/screens/NAME`; `OUTCORE_BLESS=1` makes it.
pub(crate) fn check(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/screens").join(name);
    if std::env::var_os("OUTCORE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} is not what is drawn; OUTCORE_BLESS=1 makes it:\n{text}", path.display());
}
