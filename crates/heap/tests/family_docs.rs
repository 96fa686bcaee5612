#![expect(unsafe_code, reason = "drives an allocator at a fixed address")]
//! What docs/families.md shows is what the heap says. With `OUTCORE_BLESS=1` the page's
//! outputs are made: each stands between a line that names its scene and the fence's end.

use heap::{
    Choice, Families, FamiliesReport, FamilyId, Json, Layout, Options, PageSource, UsageReport, Violation,
};
use rustix::mm::{MapFlags, ProtFlags};
use std::fmt::Write;
use std::path::Path;
use std::ptr::NonNull;

/// Where the page of each scene lies, so that the output is the same each time.
const PLACE: usize = 0x6_0000_0000;

/// One mapping at a fixed place, unmapped with its heap.
struct Fixed(usize);

// SAFETY: the mapping is fresh, private and readable and writable; nothing is discarded
// in the scenes, which is asserted.
unsafe impl PageSource for Fixed {
    fn reserve(&self, _max_len: usize) -> Option<(usize, usize)> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: a new mapping, which replaces nothing.
        let mapped = unsafe { rustix::mm::mmap_anonymous(PLACE as *mut _, self.0, rights, flags) };
        assert_eq!(mapped.expect("the place is free").expose_provenance(), PLACE);
        Some((PLACE, self.0))
    }

    fn extend(&self, _end: usize) -> bool {
        true
    }

    fn promise(&self, _bytes: usize) -> bool {
        true
    }

    fn renounce(&self, _bytes: usize) {}

    fn discard(&self, _addr: usize, _len: usize) {
        panic!("scenes keep their pages");
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        // SAFETY: the heap is being dropped, and the scene is over.
        unsafe { rustix::mm::munmap(PLACE as *mut _, self.0) }.expect("munmap");
    }
}

struct Scene {
    heap: Families<Fixed>,
    text: String,
}

impl Scene {
    fn new(layout: Layout) -> Self {
        let options = Options { layout, choice: Choice::MostRoom };
        let heap = Families::with_options(Fixed(2 << 20), options).expect("valid");
        Self { heap, text: String::new() }
    }

    fn register(&self, name: &str, size: usize) -> FamilyId {
        self.heap.register(name, size).expect("a new name")
    }

    fn calloc(&self, family: FamilyId, units: usize) -> NonNull<u8> {
        self.heap.calloc(family, units).expect("memory")
    }

    fn free(&self, block: NonNull<u8>) {
        // SAFETY: scenes free what they have, and use it no more.
        unsafe { self.heap.free(block.as_ptr()) }.expect("used");
    }

    fn say(&mut self, said: impl std::fmt::Display) {
        writeln!(self.text, "{}", said.to_string().trim_end()).expect("text");
    }

    /// The family's blocks as they are now, apart from what was said before.
    fn blocks(&mut self, family: FamilyId) {
        if !self.text.is_empty() {
            self.say("");
        }
        self.say(self.heap.walk(family).expect("registered"));
    }

    fn end(self) -> String {
        assert_eq!(self.heap.check(), Ok(()));
        self.text
    }
}

const NARROW: Layout = Layout::InPage { page_size: 4096, meta_size: 28 };
const WIDE: Layout = Layout::InPage { page_size: 4096, meta_size: 48 };

fn split() -> String {
    let mut scene = Scene::new(Layout::Outside);
    let emp = scene.register("emp", 36);
    scene.calloc(emp, 1);
    scene.blocks(emp);
    scene.calloc(emp, 3);
    scene.blocks(emp);
    scene.end()
}

fn merge() -> String {
    let mut scene = Scene::new(Layout::Outside);
    let emp = scene.register("emp", 36);
    let [one, two, _three] = [1, 3, 1].map(|units| scene.calloc(emp, units));
    scene.free(one);
    scene.blocks(emp);
    scene.free(two);
    scene.blocks(emp);
    scene.end()
}

fn hard() -> String {
    let mut scene = Scene::new(WIDE);
    let emp = scene.register("emp", 36);
    let [_one, two, _three] = [1, 2, 104].map(|units| scene.calloc(emp, units));
    scene.free(two);
    scene.blocks(emp);
    let two = scene.calloc(emp, 1);
    scene.blocks(emp);
    scene.free(two);
    scene.blocks(emp);
    scene.end()
}

fn soft() -> String {
    let mut scene = Scene::new(NARROW);
    let object = scene.register("object", 100);
    scene.calloc(object, 39);
    scene.blocks(object);
    scene.calloc(object, 1);
    scene.blocks(object);
    scene.end()
}

fn reports() -> String {
    let mut scene = Scene::new(WIDE);
    let (emp, student) = (scene.register("emp", 36), scene.register("student", 56));
    for (family, count) in [(emp, 3), (student, 2)] {
        (0..count).for_each(|_| _ = scene.calloc(family, 1));
    }
    scene.say(FamiliesReport(&scene.heap.registered()));
    let stats = [emp, student].map(|family| scene.heap.stats(family).expect("registered"));
    scene.say(UsageReport(&stats));
    scene.say(Json(&stats[0]));
    scene.end()
}

fn misuse() -> String {
    let mut scene = Scene::new(WIDE);
    let emp = scene.register("emp", 36);
    let [one, two] = [1, 2].map(|units| scene.calloc(emp, units));
    let address = two.as_ptr().addr();
    let last = scene.calloc(emp, 1);
    scene.free(two);
    for wrong in [address, last.as_ptr().addr() + 4, last.as_ptr().addr() - 4, PLACE + 5 * 4096, 16] {
        // SAFETY: refused.
        let refused = unsafe { scene.heap.free(wrong as *mut u8) }.expect_err("refused");
        scene.say(refused);
    }
    assert_eq!(scene.heap.check(), Ok(()));
    // SAFETY: overruns the first object by a byte, into a meta block that decides nothing.
    unsafe { one.as_ptr().add(36).write(1) };
    let found = scene.heap.check().expect_err("overwritten");
    assert!(matches!(found, Violation::MetaBlock { .. }));
    scene.say(found);
    scene.text
}

#[test]
fn the_outputs_in_the_docs_are_real() {
    // One after the other: they lie at the same place.
    let scenes = [
        ("a split", split()),
        ("a merge", merge()),
        ("hard fragmentation", hard()),
        ("soft fragmentation", soft()),
        ("reports", reports()),
        ("misuse", misuse()),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/families.md");
    let shown = std::fs::read_to_string(&path).expect("the page");
    let mut made = shown.clone();
    for (name, scene) in scenes {
        let mark = format!("<!-- output: {name} -->\n```text\n");
        let start = made.find(&mark).unwrap_or_else(|| panic!("no output of {name}")) + mark.len();
        let end = start + made[start..].find("```\n").expect("the output ends");
        made.replace_range(start..end, &scene);
    }
    if std::env::var_os("OUTCORE_BLESS").is_some() {
        std::fs::write(&path, &made).expect("the page can be written");
    } else {
        assert!(
            shown == made,
            "docs/families.md is not what the heap says: run this test with OUTCORE_BLESS=1\n{made}"
        );
    }
}
