//! The script parser: what it says of mistakes, and that nothing makes it panic.

use machine::script::{Line, Op, parse};
use machine::{Runner, Settings};
use proptest::prelude::*;

/// Mistakes, and where they are.
#[test]
fn mistakes_have_a_line_and_a_column() {
    for (script, place, words) in [
        ("frobnicate", "1:1", "`frobnicate` is not an operation"),
        ("create 1", "1:9", "the child's pid is missing"),
        ("create 1 -2", "1:10", "not `-2`"),
        ("create 1 4294967296", "1:10", "4294967296 is more than a pid can be"),
        ("\n\n  switch", "3:9", "a pid is missing"),
        ("map \"a\"", "1:8", "a block is missing"),
        ("map a 1", "1:5", "@ADDR"),
        ("map @zz 1", "1:5", "not `@zz`"),
        ("map \"abc", "1:5", "no closing quote"),
        ("map \"a\\q\" 1", "1:7", "an escape is one of"),
        ("map \"\\x4\" 1", "1:6", "two hexadecimal digits"),
        ("map \"\\x+4\" 1", "1:6", "two hexadecimal digits"),
        ("write 0x600000000 256*3", "1:19", "256 is more than a byte holds"),
        ("write 0x600000000 1+3", "1:19", "BYTE*COUNT"),
        ("write 0x1_0 \"a\"", "1:7", "an address is wanted here"),
        ("read 0x 1", "1:6", "an address is wanted here"),
        ("read 99999999999999999999 1", "1:6", "more than 64 bits hold"),
        ("read 0 999999999999", "1:8", "more than one read may ask for"),
        ("fault 0 q", "1:9", "`r` or `w` or `x` is wanted here, not `q`"),
        ("mmap any 1 rwz private anon", "1:12", "three letters of rights"),
        ("mmap any 1 rw- mine anon", "1:16", "`shared` or `private`"),
        ("mmap any 1 rw- private anon please", "1:29", "`replace`"),
        ("mmap any 1 rw- private \"f\"", "1:27", "an offset is missing"),
        ("fail read swap 1 maybe", "1:18", "`on` or `off`"),
        ("expect dead", "1:1", "no operation before"),
        ("dump\nexpect maybe", "2:8", "bytes in quotes, ret, or dead"),
        ("dump # fine\ndump dump", "2:6", "nothing may follow"),
        ("map \"äö\" x", "1:10", "a block is wanted here"),
        // Nothing that a terminal would obey.
        ("switch \x1b[2J", "1:8", "not `\\u{1b}[2J`"),
        ("\u{feff}create 0 1", "1:1", "`\\u{feff}create` is not an operation"),
    ] {
        let error = parse(script.as_bytes()).expect_err(script).to_string();
        assert!(error.starts_with(&format!("{place}: ")), "{script:?}: {error}");
        assert!(error.contains(words), "{script:?}: {error} does not say {words:?}");
    }
}

#[test]
fn spaces_comments_and_line_ends_are_free() {
    let script = "# first\r\n\r\n\tcreate  0x0 1# a child\r\n switch 1 \n";
    let lines = parse(script.as_bytes()).expect("a script");
    assert_eq!(
        lines,
        [
            Line { number: 3, op: Op::Create { parent: 0, child: 1 } },
            Line { number: 4, op: Op::Switch { pid: 1 } }
        ]
    );
    assert_eq!(parse(b""), Ok(Vec::new()));
    assert_eq!(parse(b"map \"a#b\" 0").expect("a script").len(), 1);
}

/// Each operation's text is read back as the same operation.
#[test]
fn operations_read_back_as_they_are_written() {
    let script = r#"
        create 1 2
        fork 3
        switch 2
        destroy
        exit
        map
        map "a \0\n\"\\\xff" 7
        map @0x600000010 1
        write 0x600000000 "bytes"
        write 0x600000000 255*1000
        read 16 4
        fetch 16
        fault 0x600000000 w
        mmap any 4096 rw- shared "file" 8192
        mmap 0x700000000 4096 r-x private anon replace
        mmap 0x700000000 4096 --- shared anon
        munmap 0x700000000 4096
        mprotect 0x700000000 4096 -wx
        msync 0x700000000 4096
        exec "bin/true"
        sp 0x7fff0000
        push 8
        fail read "file" 1 on
        fail write swap 2 off
        expect "by\0"
        expect ret -1
        expect ret null
        expect dead
        dump
        stats
    "#;
    let lines = parse(script.as_bytes()).expect("a script");
    let text: String = lines.iter().map(|line| format!("{}\n", line.op)).collect();
    let again = parse(text.as_bytes()).expect(&text);
    assert!(lines.iter().map(|line| &line.op).eq(again.iter().map(|line| &line.op)), "{text}");
    assert!(parse(b"exit").expect("a script")[0].op == Op::Exit);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "create",
            "fork",
            "switch",
            "destroy",
            "exit",
            "map",
            "write",
            "read",
            "fetch",
            "fault",
            "mmap",
            "munmap",
            "mprotect",
            "msync",
            "exec",
            "sp",
            "push",
            "fail",
            "expect",
            "dump",
            "stats",
            "r",
            "w",
            "any",
            "anon",
            "replace",
            "shared",
            "private",
            "rw-",
            "swap",
            "on",
            "off",
            "ret",
            "dead",
            "null",
            "\n",
            "\n",
            "\n",
            "#",
            "1",
            "0",
            "2",
            "3",
            "0x600000000",
            "0x600010000",
            "0x10000",
            "65*9",
            "\"letters\"",
            "\"",
            "\\",
            "@0x600000000",
            "18446744073709551615",
            "140737488355328",
            "4294967295",
            "0x7fffffffffff",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
        any::<u64>().prop_map(|number| number.to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// Whatever parses can be carried out, and keeps every law.
    #[test]
    fn no_script_makes_the_machine_panic(words in prop::collection::vec(word(), 0..80)) {
        let text = words.join(" ");
        for line in text.split('\n') {
            // Line by line, so that a mistake in one does not hide the others.
            let mut script = String::from("create 0 1\nswitch 1\nmap\n");
            script.push_str(line);
            let Ok(lines) = parse(script.as_bytes()) else { continue };
            let directory = tempfile::tempdir().expect("a directory");
            let settings = Settings { files: directory.path().to_path_buf(), ..Settings::default() };
            let mut runner = Runner::new(settings).expect("a machine that is possible");
            for line in &lines {
                let outcome = runner.step(line);
                let json = machine::log::json(&outcome);
                prop_assert!(!json.contains('\n'));
                prop_assert!(!machine::log::text(&outcome).is_empty());
                runner.machine().check();
            }
        }
    }
}
