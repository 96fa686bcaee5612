//! Costs of the simulated machine, in a file.

use crate::trouble::Trouble;
use machine::Costs;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// How costs are written. What is left out is as on the machine without a file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    fault_ns: u64,
    zero_ns: u64,
    stack_ns: u64,
    copy_ns: u64,
    mapped_ns: u64,
    file_ns: u64,
    latency_ns: u64,
    bytes_a_second: u64,
}

impl Default for Written {
    fn default() -> Self {
        Self::from(Costs::default())
    }
}

impl From<Costs> for Written {
    fn from(costs: Costs) -> Self {
        let Costs { fault, zero, stack, copy, mapped, file, latency, bandwidth } = costs;
        Self {
            fault_ns: fault,
            zero_ns: zero,
            stack_ns: stack,
            copy_ns: copy,
            mapped_ns: mapped,
            file_ns: file,
            latency_ns: latency,
            bytes_a_second: bandwidth,
        }
    }
}

impl From<Written> for Costs {
    fn from(written: Written) -> Self {
        Self {
            fault: written.fault_ns,
            zero: written.zero_ns,
            stack: written.stack_ns,
            copy: written.copy_ns,
            mapped: written.mapped_ns,
            file: written.file_ns,
            latency: written.latency_ns,
            bandwidth: written.bytes_a_second,
        }
    }
}

/// Costs as a value of JSON.
pub(super) fn json(costs: Costs) -> serde_json::Value {
    serde_json::to_value(Written::from(costs)).unwrap_or_default()
}

/// Writes a file that `outcore machine --costs` reads.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, costs: Costs) -> Result<(), Trouble> {
    let text = format!("{:#}\n", json(costs));
    fs::write(path, text)
        .map_err(|error| Trouble::bad_input(format!("{} cannot be written: {error}", path.display())))
}

/// Reads such a file.
///
/// # Errors
/// It cannot be read, or says what makes no sense: the line and column.
pub(crate) fn read(path: &Path) -> Result<Costs, Trouble> {
    let refused =
        |why: &dyn std::fmt::Display| Trouble::bad_input(format!("--costs {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refused(&error))?;
    let written: Written = serde_json::from_str(&text).map_err(|error| refused(&error))?;
    let costs = Costs::from(written);
    costs.check().map_err(|why| refused(&why))?;
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("costs.json");
        let costs =
            Costs { fault: 9_000, zero: 1, stack: 2, copy: 3, mapped: 4, file: 5, ..Costs::default() };
        write(&path, costs).unwrap();
        assert_eq!(read(&path).unwrap(), costs);
        fs::write(&path, r#"{"fault_ns": 5}"#).unwrap();
        assert_eq!(read(&path).unwrap(), Costs { fault: 5, ..Costs::default() });
        for (wrong, says) in [
            (r#"{"fault": 5}"#, "unknown field `fault`"),
            (r#"{"fault_ns": -5}"#, "line 1 column 15"),
            (r#"{"bytes_a_second": 0}"#, "0 bytes a second"),
            ("", "line 1 column 0"),
        ] {
            fs::write(&path, wrong).unwrap();
            let trouble = read(&path).unwrap_err();
            assert!(trouble.text.contains(says) && trouble.status == 2, "{wrong}: {}", trouble.text);
        }
    }
}
