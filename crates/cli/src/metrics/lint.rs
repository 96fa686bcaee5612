//! What Prometheus and its linter ask of a text, as <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/practices/naming/> say. For tests.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: name, labels in the order of their names, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Units that are not base units, and words that say what the type says.
const NOT_IN_NAMES: [&str; 16] = [
    "ns",
    "us",
    "ms",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "kib",
    "mib",
    "kilobytes",
    "megabytes",
    "percent",
    "gauge",
    "counter",
    "histogram",
];

fn is_name(text: &str, colons: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    text.chars().all(fits) && text.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

/// Reads a line that is no comment.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            if let Some(after) = inside.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = inside.split_once("=\"")?;
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                match characters.next()? {
                    (_, '\\') => match characters.next()?.1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        _ => return None,
                    },
                    (at, '"') => break at,
                    (_, c) => value.push(c),
                }
            };
            if !is_name(label, false) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            inside = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
        }
    }
    let value = rest.strip_prefix(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    is_name(name, true).then(|| (name.to_owned(), labels, value))
}

/// Everything that is wrong with a text.
pub(crate) fn lint(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ended = BTreeSet::new();
    let (mut help, mut family, mut kind) = (String::new(), String::new(), String::new());
    let mut seen = BTreeSet::new();
    let mut buckets: BTreeMap<(String, String), Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut sums = BTreeSet::new();
    if !text.ends_with('\n') {
        wrong.push("the last line has no end".to_owned());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
            if words.trim().is_empty() {
                wrong.push(format!("{name} has no help"));
            }
            help = name.to_owned();
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').unwrap_or((rest, ""));
            if help != name {
                wrong.push(format!("{name} has its type without its help"));
            }
            if !ended.insert(name.to_owned()) {
                wrong.push(format!("{name} is there twice"));
            }
            if !["counter", "gauge", "histogram"].contains(&of) {
                wrong.push(format!("{name} has type {of}"));
            }
            if (of == "counter") != name.ends_with("_total") {
                wrong.push(format!("{name} is a {of}"));
            }
            if ["_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end)) {
                wrong.push(format!("{name} is named as a part of a histogram"));
            }
            if let Some(word) = name.split('_').find(|word| NOT_IN_NAMES.contains(word)) {
                wrong.push(format!("{name} says {word}"));
            }
            (family, kind) = (name.to_owned(), of.to_owned());
            continue;
        }
        let Some((name, mut labels, value)) = sample(line) else {
            wrong.push(format!("{line} cannot be read"));
            continue;
        };
        if !seen.insert((name.clone(), labels.clone())) {
            wrong.push(format!("{line} is there twice"));
        }
        let part = name.strip_prefix(&family);
        let belongs = match part {
            Some("") => kind != "histogram",
            Some("_bucket" | "_sum" | "_count") => kind == "histogram",
            _ => false,
        };
        if !belongs {
            wrong.push(format!("{line} is not of {family}, a {kind}"));
        }
        let le = labels.remove("le");
        let key = (family.clone(), format!("{labels:?}"));
        match (part, le) {
            (Some("_bucket"), Some(le)) => {
                let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::NAN) };
                buckets.entry(key).or_default().push((le, value));
            }
            (Some("_count"), None) => drop(counts.insert(key, value)),
            (Some("_sum"), None) => drop(sums.insert(key)),
            (_, Some(_)) | (Some("_bucket"), None) => wrong.push(format!("{line}: le is of buckets")),
            (_, None) => {}
        }
        if kind == "counter" && (value < 0.0 || !value.is_finite()) {
            wrong.push(format!("{line} is no count"));
        }
    }
    for (key, buckets) in &buckets {
        // Not a number compares as neither, so it is out of order.
        let in_order = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let last = buckets.last().copied().unwrap_or_default();
        if !in_order || last.0 != f64::INFINITY || counts.get(key) != Some(&last.1) || !sums.contains(key) {
            wrong.push(format!("the histogram {} {} does not add up", key.0, key.1));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"a\\\"}\"} 0\n\
        # HELP b_seconds Help.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\n\
        b_seconds_bucket{le=\"+Inf\"} 3\nb_seconds_sum 4.5\nb_seconds_count 3\n";

    #[test]
    fn what_is_wrong_is_found() {
        assert_eq!(lint(GOOD), Vec::<String>::new());
        for (from, to) in [
            ("# HELP a_total Help.\n", ""),
            ("a_total Help.", "a_total "),
            ("# TYPE a_total counter", "# TYPE a_total gauge"),
            ("a_total{x=\"a\\\"}\"} 0", "a_total{x=\"1\"} 0"),
            ("a_total{x=\"1\"} 2", "a_total{x=\"1\"} two"),
            ("a_total{x=\"1\"} 2", "a_total{x=\"1} 2"),
            ("a_total{x=\"1\"} 2", "a_total{1x=\"1\"} 2"),
            ("a_total{x=\"1\"} 2", "a_total{x=\"1\"} -2"),
            ("a_total{x=\"1\"} 2", "c_total{x=\"1\"} 2"),
            ("b_seconds", "b_ms"),
            ("{le=\"0.5\"} 1", "{le=\"0.5\"} 4"),
            ("{le=\"0.5\"} 1", "{le=\"half\"} 1"),
            ("b_seconds_count 3", "b_seconds_count 2"),
            ("b_seconds_sum 4.5\n", ""),
            ("b_seconds_count 3\n", "b_seconds_count 3"),
        ] {
            let bad = GOOD.replace(from, to);
            assert!(bad != GOOD && !lint(&bad).is_empty(), "{from} to {to} is not found");
        }
    }
}
