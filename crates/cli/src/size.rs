//! Sizes as people write and read them. Units are binary: `256M` is 256 MiB.

use std::fmt;

/// Larger sizes exceed the address space of a process.
const MAX_BYTES: u64 = 1 << 47;

/// Letters for 2^10, 2^20, 2^30 and 2^40 bytes.
const UNITS: [char; 4] = ['K', 'M', 'G', 'T'];

/// Why a text is not a usable size. Reads on after the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeError {
    /// Not a number with an optional unit.
    Nonsense,
    /// A minus sign.
    Negative,
    /// Nothing at all.
    Zero,
    /// More than an address space holds.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nonsense => {
                "is not a size; write a number of bytes, or one with K, M, G or T, such as 256M or 1.5G"
            }
            Self::Negative => "is negative; write a size such as 256M",
            Self::Zero => "is nothing; write a size such as 256M",
            Self::TooLarge => "is more than an address space holds; the largest size is 128T",
        })
    }
}

/// Reads a size such as `4096`, `4096K`, `256M`, `1.5G` or `1GiB`.
///
/// # Errors
/// [`SizeError`] for anything else, zero, and more than 2^47 bytes.
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    if text.starts_with('-') {
        return Err(SizeError::Negative);
    }
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_len);
    let unit_bytes = unit_bytes(unit).ok_or(SizeError::Nonsense)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let has_point = whole.len() != number.len();
    let fraction_fits = if has_point { !fraction.is_empty() && unit_bytes > 1 } else { true };
    if whole.is_empty() || !fraction_fits || fraction.contains('.') {
        return Err(SizeError::Nonsense);
    }
    // Nine decimals of a TiB are finer than a page; more digits change nothing.
    let fraction = &fraction[..fraction.len().min(9)];
    let whole: u128 = whole.parse().map_err(|_| SizeError::TooLarge)?;
    let tenths = 10_u128.pow(fraction.len() as u32);
    let part: u128 =
        if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| SizeError::Nonsense)? };
    let unit_bytes = u128::from(unit_bytes);
    let bytes = whole.saturating_mul(unit_bytes).saturating_add(part * unit_bytes / tenths);
    match u64::try_from(bytes) {
        Ok(0) => Err(SizeError::Zero),
        Ok(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        _ => Err(SizeError::TooLarge),
    }
}

/// The bytes of a unit: none for one that is unknown.
fn unit_bytes(unit: &str) -> Option<u64> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
        return Some(1);
    }
    let mut letters = unit.chars();
    let letter = letters.next()?.to_ascii_uppercase();
    let power = UNITS.iter().position(|known| *known == letter)? + 1;
    let rest = letters.as_str();
    (rest.is_empty() || rest.eq_ignore_ascii_case("ib")).then(|| 1 << (10 * power))
}

/// `bytes` as they would be typed, exactly: `16M`.
pub(crate) fn typed(bytes: u64) -> String {
    let power = (1..=UNITS.len()).rev().find(|power| bytes != 0 && bytes.is_multiple_of(1 << (10 * power)));
    match power {
        Some(power) => format!("{}{}", bytes >> (10 * power), UNITS[power - 1]),
        None => bytes.to_string(),
    }
}

/// `bytes` for reading, rounded: `1.5 GiB`.
pub(crate) fn shown(bytes: u64) -> String {
    let Some(power) = (1..=UNITS.len()).rev().find(|power| bytes >> (10 * power) != 0) else {
        return format!("{bytes} bytes");
    };
    let value = bytes as f64 / (1_u64 << (10 * power)) as f64;
    let decimals = usize::from(value < 100.0 && value.fract() != 0.0);
    format!("{value:.decimals$} {}iB", UNITS[power - 1])
}

/// `number` with its thousands apart: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("4096K", 4 << 20),
            ("256M", 256 << 20),
            ("256m", 256 << 20),
            ("256MiB", 256 << 20),
            ("1G", 1 << 30),
            ("1.5G", 3 << 29),
            ("0.25g", 1 << 28),
            ("128T", 1 << 47),
            ("17b", 17),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_for_a_reason() {
        for (text, error) in [
            ("", SizeError::Nonsense),
            ("M", SizeError::Nonsense),
            ("12Q", SizeError::Nonsense),
            ("256MB", SizeError::Nonsense),
            ("1.5", SizeError::Nonsense),
            ("1.G", SizeError::Nonsense),
            (".5G", SizeError::Nonsense),
            ("1.2.3G", SizeError::Nonsense),
            (" 1G", SizeError::Nonsense),
            ("1e9", SizeError::Nonsense),
            ("+1G", SizeError::Nonsense),
            ("٣G", SizeError::Nonsense),
            ("-1G", SizeError::Negative),
            ("0", SizeError::Zero),
            ("0.0G", SizeError::Zero),
            ("129T", SizeError::TooLarge),
            ("99999999999999999999", SizeError::TooLarge),
            ("999999999999999999999999999999999999999999T", SizeError::TooLarge),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_typed_reads_back() {
        for bytes in [1, 1023, 1 << 10, 16 << 20, 3 << 29, 1 << 47, (1 << 30) + 1] {
            assert_eq!(parse(&typed(bytes)), Ok(bytes));
        }
        assert_eq!(typed(16 << 20), "16M");
    }

    #[test]
    fn what_is_shown_is_short() {
        assert_eq!(shown(0), "0 bytes");
        assert_eq!(shown(256 << 20), "256 MiB");
        assert_eq!(shown(3 << 29), "1.5 GiB");
        assert_eq!(shown((271 << 20) + 12345), "271 MiB");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
