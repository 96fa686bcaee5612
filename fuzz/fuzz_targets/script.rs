//! Any bytes as a script: refused with a place that is there, or carried out with every law kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use machine::script::{Op, parse};
use machine::{Runner, Settings, log};

fuzz_target!(|bytes: &[u8]| {
    let lines = match parse(bytes) {
        Ok(lines) => lines,
        Err(error) => {
            let line = bytes.split(|byte| *byte == b'\n').nth(error.line as usize - 1).expect("the line is there");
            assert!(error.column as usize <= line.len() + 1, "the column is there");
            return;
        }
    };
    // Nothing outside of an empty directory is touched.
    let files = std::env::temp_dir().join("outcore-fuzz-empty");
    std::fs::create_dir_all(&files).expect("a directory");
    let settings = Settings { files, page_size: 512, arena: 8192, ..Settings::default() };
    let mut runner = Runner::new(settings).expect("a machine that is possible");
    for line in &lines {
        // Those take as long as they are told to.
        let slow = match &line.op {
            Op::Read { count, .. } => *count > 1 << 16,
            Op::Write { data, .. } => data.count > 1 << 16,
            Op::Mmap { len, .. } => *len > 1 << 20,
            _ => false,
        };
        if !slow {
            let outcome = runner.step(line);
            assert!(!log::json(&outcome).contains('\n'));
            runner.machine().check();
        }
    }
});
