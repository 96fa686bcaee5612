//! `outcore metrics`: the numbers of all processes for Prometheus, over HTTP.
//!
//! The text is that of <https://prometheus.io/docs/instrumenting/exposition_formats/>, names and units as
//! <https://prometheus.io/docs/practices/naming/> asks: base units, `_total` on counters.

#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod lint;

use crate::runs::{Life, PartSample, Runs, Sample};
use crate::trouble::{Trouble, say};
use clap::Args;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;
use sys::histogram::{BUCKETS, Histogram, bucket_start};

/// What `outcore metrics` was asked for.
#[derive(Args, Debug)]
#[command(after_help = "The dashboard for Grafana is docs/grafana.json.")]
pub(crate) struct Options {
    /// Where to listen: an address and a port, by default one that only this machine reaches
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9643")]
    listen: String,

    /// Print them once, and do not listen
    #[arg(long)]
    once: bool,
}

/// Who asks has so long for it, and no longer a request than this.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_LINES: usize = 100;
const MOST_LINE: u64 = 8192;
/// How long to wait when nobody can be answered.
const AGAIN: Duration = Duration::from_millis(100);

/// What a metric is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// A number of the record: its name there, its name and help here, and what it is divided by.
struct Metric {
    number: &'static str,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    divisor: f64,
}

const fn metric(
    number: &'static str,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    divisor: f64,
) -> Metric {
    Metric { number, name, kind, help, divisor }
}

const METRICS: [Metric; 27] = [
    metric("budget_bytes", "outcore_budget_bytes", Kind::Gauge, "RAM that the process may use.", 1.0),
    metric("heap_bytes", "outcore_heap_bytes", Kind::Gauge, "Paged memory that holds data.", 1.0),
    metric("rss_bytes", "outcore_resident_set_bytes", Kind::Gauge, "Resident set of the process.", 1.0),
    metric(
        "unpaged_bytes",
        "outcore_unpaged_peak_bytes",
        Kind::Gauge,
        "The most memory that was not paged.",
        1.0,
    ),
    metric("metadata_bytes", "outcore_metadata_bytes", Kind::Gauge, "Tables of the pager.", 1.0),
    metric("frames", "outcore_frames", Kind::Gauge, "Pages that paged memory may hold in RAM.", 1.0),
    metric(
        "resident_pages",
        "outcore_frames_used",
        Kind::Gauge,
        "Pages of paged memory in RAM, mapped or not.",
        1.0,
    ),
    metric("parked_pages", "outcore_parked_pages", Kind::Gauge, "Pages in RAM that are not mapped.", 1.0),
    metric("swapped_pages", "outcore_swapped_pages", Kind::Gauge, "Pages in the store only.", 1.0),
    metric("minor_faults", "outcore_minor_faults_total", Kind::Counter, "Faults resolved without I/O.", 1.0),
    metric(
        "major_faults",
        "outcore_major_faults_total",
        Kind::Counter,
        "Faults that waited for the store.",
        1.0,
    ),
    metric("swap_ins", "outcore_swap_ins_total", Kind::Counter, "Pages read from the store.", 1.0),
    metric("swap_outs", "outcore_swap_outs_total", Kind::Counter, "Pages written to the store.", 1.0),
    metric(
        "pages_scanned",
        "outcore_pages_scanned_total",
        Kind::Counter,
        "Frames looked at by reclaim.",
        1.0,
    ),
    metric(
        "pages_reclaimed",
        "outcore_pages_reclaimed_total",
        Kind::Counter,
        "Frames freed by reclaim.",
        1.0,
    ),
    metric("rescues", "outcore_rescues_total", Kind::Counter, "Parked pages touched before they left.", 1.0),
    metric("refaults", "outcore_refaults_total", Kind::Counter, "Pages that came back.", 1.0),
    metric(
        "clean_evictions",
        "outcore_clean_evictions_total",
        Kind::Counter,
        "Evictions that wrote nothing: unchanged.",
        1.0,
    ),
    metric(
        "zero_evictions",
        "outcore_zero_evictions_total",
        Kind::Counter,
        "Evictions that wrote nothing: zeros.",
        1.0,
    ),
    metric(
        "readahead_pages",
        "outcore_readahead_pages_total",
        Kind::Counter,
        "Pages read before they were asked for.",
        1.0,
    ),
    metric(
        "readahead_hits",
        "outcore_readahead_hits_total",
        Kind::Counter,
        "Of these, pages then touched.",
        1.0,
    ),
    metric("read_bytes", "outcore_store_read_bytes_total", Kind::Counter, "Read from the store.", 1.0),
    metric(
        "writeback_bytes",
        "outcore_store_written_bytes_total",
        Kind::Counter,
        "Written to the store.",
        1.0,
    ),
    metric(
        "stall_ns",
        "outcore_stall_seconds_total",
        Kind::Counter,
        "Time that threads waited for the store.",
        1e9,
    ),
    metric("transfers", "outcore_transfers", Kind::Gauge, "Transfers under way.", 1.0),
    metric("poisoned_pages", "outcore_poisoned_pages_total", Kind::Counter, "Pages lost by the store.", 1.0),
    metric(
        "trace_dropped",
        "outcore_trace_dropped_events_total",
        Kind::Counter,
        "Events of a trace without room.",
        1.0,
    ),
];

/// A number of an area, or of a page family.
struct PartMetric {
    name: &'static str,
    help: &'static str,
    value: fn(&PartSample) -> Option<u64>,
}

/// As they were when the map was last drawn: at rest, or a quarter of a second ago while somebody looks.
const PARTS: [PartMetric; 5] = [
    PartMetric {
        name: "outcore_part_bytes",
        help: "Pages of an area, or of a page family.",
        value: |part| Some(part.pages * 4096),
    },
    PartMetric {
        name: "outcore_part_resident_bytes",
        help: "Of these, mapped.",
        value: |part| Some(part.resident * 4096),
    },
    PartMetric {
        name: "outcore_part_parked_bytes",
        help: "Of these, in RAM and not mapped.",
        value: |part| Some(part.parked * 4096),
    },
    PartMetric {
        name: "outcore_part_swapped_bytes",
        help: "Of these, in the store only.",
        value: |part| Some(part.swapped * 4096),
    },
    PartMetric {
        name: "outcore_family_used_bytes",
        help: "Objects of a page family.",
        value: |part| part.used_bytes,
    },
];

type Of = fn(&Sample) -> &Histogram;

const HISTOGRAMS: [(&str, &str, Of); 4] = [
    ("outcore_minor_fault_seconds", "How long faults without I/O took.", |sample| &sample.minor),
    ("outcore_stall_seconds", "How long a thread waited for the store in one fault.", |sample| &sample.stall),
    ("outcore_store_read_seconds", "How long reads from the store took.", |sample| &sample.read),
    ("outcore_store_write_seconds", "How long writes to the store took.", |sample| &sample.write),
];

/// `outcore metrics`.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn metrics(options: &Options) -> Result<u8, Trouble> {
    let mut runs = Runs::default();
    if options.once {
        let text = exposition(&runs.look());
        return crate::trace_verbs::written(io::stdout().write_all(text.as_bytes())).map(|()| 0);
    }
    let refused = |why: &dyn std::fmt::Display| {
        Trouble::bad_input(format!(
            "--listen {}: {why}; write an address and a port, such as 127.0.0.1:9643",
            options.listen
        ))
    };
    let addresses: Vec<SocketAddr> =
        options.listen.to_socket_addrs().map_err(|error| refused(&error))?.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(|error| refused(&error))?;
    let at = listener.local_addr().map_err(|error| refused(&error))?;
    say(&format!("metrics at http://{at}/metrics"));
    if !at.ip().is_loopback() {
        say("others can reach this address, and see which programs run here and what they need");
    }
    loop {
        match listener.accept() {
            // Who breaks off, or asks nonsense, is no reason to end.
            Ok((stream, _)) => drop(answer(stream, &mut runs)),
            // Where there is no descriptor or memory for it, there may be soon.
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

/// Answers one request.
fn answer(mut stream: TcpStream, runs: &mut Runs) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(io::Read::take(&stream, MOST_LINE * MOST_LINES as u64));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    for _ in 0..MOST_LINES {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
    }
    let mut words = first.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", exposition(&runs.look())),
        ("GET" | "HEAD", "/") => ("200 OK", "Outcore: see /metrics\n".to_owned()),
        ("GET" | "HEAD", _) => ("404 Not Found", "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "GET /metrics\n".to_owned()),
    };
    let shown = if method == "HEAD" { "" } else { &body };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{shown}",
        body.len()
    )?;
    stream.flush()
}

/// A label's value: backslash, quote and line feed are written with a backslash.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(sample: &Sample) -> String {
    let mut text =
        format!("pid=\"{}\",program=\"{}\",run=\"{}\"", sample.pid, escaped(&sample.name), sample.supervisor);
    if sample.heap() != 0 {
        let _ = write!(text, ",heap=\"{}\"", sample.heap());
    }
    text
}

/// The numbers of the processes that run.
fn exposition(samples: &[Sample]) -> String {
    let alive: Vec<&Sample> = samples.iter().filter(|sample| sample.life == Life::Alive).collect();
    // For the next time.
    alive.iter().for_each(|sample| sample.watch());
    let mut text = String::new();
    let head = |text: &mut String, name: &str, help: &str, kind: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    head(&mut text, "outcore_processes", "Processes that run under outcore.", "gauge");
    let _ = writeln!(text, "outcore_processes {}", alive.len());
    for metric in &METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        head(&mut text, metric.name, metric.help, kind);
        for sample in &alive {
            let value = sample.number(metric.number) as f64 / metric.divisor;
            // A heap is in the resident set of its process.
            if sample.heap() != 0 && metric.number == "rss_bytes" {
                continue;
            }
            let _ = writeln!(text, "{}{{{}}} {value}", metric.name, labels(sample));
        }
    }
    for part in &PARTS {
        head(&mut text, part.name, part.help, "gauge");
        for sample in &alive {
            for found in sample.parts() {
                if let Some(value) = (part.value)(&found) {
                    let whose = if found.used_bytes.is_some() { "family" } else { "area" };
                    let labels = format!("{},{whose}=\"{}\"", labels(sample), escaped(&found.name));
                    let _ = writeln!(text, "{}{{{labels}}} {value}", part.name);
                }
            }
        }
    }
    for (name, help, of) in HISTOGRAMS {
        head(&mut text, name, help, "histogram");
        for sample in &alive {
            series(&mut text, name, &labels(sample), of(sample));
        }
    }
    text
}

/// A histogram: a bucket for each power of two from 1 µs to 17 s, which are borders of the record's own.
fn series(text: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let mut sum = 0;
    let mut bucket = 0;
    for power in 10..=34 {
        let end = 1_u64 << power;
        while bucket < BUCKETS && bucket_start(bucket + 1) <= end {
            sum += histogram.buckets()[bucket];
            bucket += 1;
        }
        let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{}\"}} {sum}", end as f64 / 1e9);
    }
    let (count, total) = (histogram.count(), histogram.sum() as f64 / 1e9);
    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum{{{labels}}} {total}\n{name}_count{{{labels}}} {count}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::tests::{busy, ended};

    #[test]
    fn the_text_follows_the_conventions() {
        let text = exposition(&[busy().1, ended()]);
        crate::golden::check("metrics.txt", &text);
        assert_eq!(lint::lint(&text), Vec::<String>::new());
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn requests_are_answered_and_nonsense_is_survived() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let ask = move |request: &'static str| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(at).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut text = String::new();
                let _ = io::Read::read_to_string(&mut stream, &mut text);
                text
            })
        };
        for (request, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET /what HTTP/1.1\r\n\r\n", "HTTP/1.1 404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405"),
            ("\r\n\r\n", "HTTP/1.1 405"),
            ("", "HTTP/1.1 405"),
        ] {
            let client = ask(request);
            let (stream, _) = listener.accept().unwrap();
            answer(stream, &mut Runs::default()).unwrap();
            let text = client.join().unwrap();
            assert!(text.starts_with(expected), "{request:?}: {text}");
        }
    }
}
