//! Outcomes as lines.

use crate::outcome::{Outcome, PageName, PteLine, Ret};
use std::fmt::{self, Write};

/// One line of JSON, without its end: the keys `n op pid ret dead faults io ptes`, and `error`
/// where the operation could not be done at all.
pub fn json(outcome: &Outcome) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let ret = match &outcome.ret {
        Ret::Zero | Ret::MinusOne | Ret::Null => outcome.ret.to_string(),
        Ret::Address(_) | Ret::Bytes(_) => quoted(&outcome.ret.to_string()),
    };
    let pid = outcome.pid.map_or("null".into(), |pid| pid.to_string());
    let (n, op, dead) = (outcome.n, outcome.op, outcome.dead);
    let mut line = format!("{{\"n\":{n},\"op\":\"{op}\",\"pid\":{pid},\"ret\":{ret},\"dead\":{dead}");
    list(&mut line, "faults", &outcome.faults, |line, (addr, access, ret)| {
        write!(line, "[\"{addr:#x}\",\"{access}\",{ret}]")
    });
    list(&mut line, "io", &outcome.io, |line, (direction, name, block)| {
        write!(line, "[\"{direction}\",{},{block}]", quoted(&String::from_utf8_lossy(name)))
    });
    list(&mut line, "ptes", &outcome.ptes, |line, pte| write!(line, "\"{pte}\""));
    if let Some(error) = &outcome.error {
        let _ = write!(line, ",\"error\":{}", quoted(error));
    }
    line.push('}');
    line
}

/// Adds a key and its list to a line. Writing to a string cannot fail.
fn list<T>(line: &mut String, key: &str, items: &[T], item: impl Fn(&mut String, &T) -> fmt::Result) {
    let _ = write!(line, ",\"{key}\":[");
    for (index, one) in items.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        let _ = item(line, one);
    }
    line.push(']');
}

/// Lines of text for people, each with its end:
///
/// ```text
///   7  1> write 0x600010000 "hi"        = 0
///         fault 0x600010000 w -> 0; write swap 2; read data1.bin 0
///         0:rw:3 1:-:- 2:r:0
/// ```
pub fn text(outcome: &Outcome) -> String {
    let pid = outcome.pid.map_or("-".into(), |pid| pid.to_string());
    let ret = match &outcome.ret {
        Ret::Bytes(bytes) => readable(bytes),
        other => other.to_string(),
    };
    let mut text = format!("{:>3}  {pid}> {:<34} = {ret}", outcome.n, outcome.text);
    if outcome.dead {
        text.push_str(", dead");
    }
    if let Some(reason) = outcome.error.as_ref().or(outcome.reason.as_ref()) {
        let _ = write!(text, " ({reason})");
    }
    text.push('\n');
    let faults =
        outcome.faults.iter().map(|(addr, access, ret)| format!("fault {addr:#x} {access} -> {ret}"));
    let io = outcome
        .io
        .iter()
        .map(|(direction, name, block)| format!("{direction} {} {block}", String::from_utf8_lossy(name)));
    let events: Vec<String> = faults.chain(io).collect();
    if !events.is_empty() {
        let _ = writeln!(text, "        {}", events.join("; "));
    }
    if !outcome.ptes.is_empty() {
        let _ = writeln!(text, "        {}", pages(outcome));
    }
    if let Some(report) = &outcome.report {
        report.lines().for_each(|line| {
            let _ = writeln!(text, "        {line}");
        });
    }
    text
}

/// The page table, with runs of untouched or absent pages drawn together.
fn pages(outcome: &Outcome) -> String {
    /// Fewer are written one by one.
    const RUN: usize = 4;
    let mut words: Vec<String> = Vec::new();
    let mut rest = &outcome.ptes[..];
    while let Some(first) = rest.first() {
        let alike = run(rest);
        let ends = |pte: &str| pte.split_once(':').map(|(page, rest)| (page.to_owned(), rest.to_owned()));
        match (ends(&first.to_string()), ends(&rest[alike - 1].to_string())) {
            (Some((start, what)), Some((end, _))) if alike >= RUN => {
                words.push(format!("{start}..{end}:{what}"))
            }
            _ => words.extend(rest[..alike].iter().map(ToString::to_string)),
        }
        rest = &rest[alike..];
    }
    words.join(" ")
}

/// How many pages from the first on lie side by side and are the same.
fn run(ptes: &[PteLine]) -> usize {
    let number = |pte: &PteLine| match pte.page {
        PageName::Arena(number) => (true, number),
        PageName::Address(addr) => (false, addr),
    };
    let step = |two: &[PteLine]| {
        let ((arena, first), (other, second)) = (number(&two[0]), number(&two[1]));
        (arena == other).then(|| second.wrapping_sub(first))
    };
    let Some(stride) = ptes.get(..2).map(step) else { return ptes.len() };
    let alike = ptes.windows(2).take_while(|two| {
        two[0].prot == two[1].prot && two[0].frame == two[1].frame && stride.is_some() && step(two) == stride
    });
    1 + alike.count()
}

/// Bytes as text where they are text, else in hexadecimal; long ones end in dots.
fn readable(bytes: &[u8]) -> String {
    const MOST: usize = 64;
    let some = &bytes[..bytes.len().min(MOST)];
    let dots = if bytes.len() > MOST { "…" } else { "" };
    if !some.is_empty() && some.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return format!("\"{}\"{dots}", String::from_utf8_lossy(some));
    }
    format!("{}{dots}", Ret::Bytes(some.to_vec()))
}
