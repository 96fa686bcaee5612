//! `include/outcore.h` is what cbindgen makes of the sources. With `OUTCORE_BLESS=1`
//! it is made.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("a configuration");
    let sources = [
        "error.rs",
        "instance.rs",
        "register.rs",
        "block.rs",
        "print.rs",
        "process.rs",
        "map_file.rs",
        "backed.rs",
        "shared_c.rs",
        "budget_c.rs",
    ];
    let builder = sources.iter().fold(cbindgen::Builder::new().with_config(config), |builder, name| {
        builder.with_src(root.join("src").join(name))
    });
    let mut made = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut made);
    let header = root.join("include/outcore.h");
    if std::env::var_os("OUTCORE_BLESS").is_some() {
        std::fs::write(&header, &made).expect("the header can be written");
    }
    let found = std::fs::read(&header).expect("there is a header");
    assert!(
        found == made,
        "include/outcore.h is not what the sources say: run this test with OUTCORE_BLESS=1"
    );
}
