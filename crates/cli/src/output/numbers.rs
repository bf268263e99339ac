//! Numbers for people: thousands separators and units. JSON never goes through here.

/// `12,884`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 instance`, `3 instances`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{} {}", count(number), if number == 1 { noun.to_owned() } else { plural })
}

/// `3.4 MB`, in powers of ten.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        // What would be printed as 1000.0 belongs to the next unit.
        if value < 999.95 || (unit == "B" && value < 1000.0) {
            return match unit {
                "B" => format!("{number} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `412`, `0.4`: requests per second.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second >= 10.0 || per_second == 0.0 {
        count(per_second.round() as u64)
    } else {
        format!("{per_second:.1}")
    }
}

/// `0`, `3 (0.02 %)`: failures with their share of all.
pub(crate) fn failures(failed: u64, all: u64) -> String {
    if failed == 0 {
        return "0".to_owned();
    }
    let share = 100.0 * failed as f64 / all.max(failed) as f64;
    format!("{} ({share:.2} %)", count(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, expect) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_884, "12,884"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), expect);
        }
        for (number, expect) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (3_400_000, "3.4 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(bytes(number), expect);
        }
        assert_eq!(counted(1, "instance"), "1 instance");
        assert_eq!(counted(1_200, "request"), "1,200 requests");
        assert_eq!(counted(2, "directory"), "2 directories");
        assert_eq!(counted(2, "key"), "2 keys");
        assert_eq!(failures(0, 10), "0");
        assert_eq!(failures(3, 100_000), "3 (0.00 %)");
        assert_eq!(rate(412.4), "412");
        assert_eq!(rate(0.44), "0.4");
        assert_eq!(rate(0.0), "0");
    }
}
