//! Timestamps of Wait and Choice: ISO 8601 extended with `T` and an offset.
//!
//! The profile of the language is RFC 3339 with an upper-case `T`, and `Z` where there is no other
//! offset. jiff reads far more (a space for the `T`, an annotation, a week date), so the form is
//! checked first.

use jiff::Timestamp;

/// Reads `2016-03-14T01:59:00Z`. `None` for every other form: a space for the `T`, no offset, a
/// month 13. Seconds may have a fraction; an hour 24 and a leap second are refused.
pub fn parse(text: &str) -> Option<Timestamp> {
    if has_form(text.as_bytes()) { text.parse().ok() } else { None }
}

/// Whether the text has the form `dddd-dd-ddTdd:dd:dd[.d+](Z|±dd:dd)`.
fn has_form(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked(19) else { return false };
    let fits = date_time.iter().zip(b"dddd-dd-ddTdd:dd:dd").all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte == form,
    });
    if !fits || date_time.get(17..) == Some(b"60") {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            // More than nanoseconds cannot be kept.
            if !(1..=9).contains(&digits) {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    match rest {
        b"Z" => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_profile_is_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T00:00:01.5Z", 1),
            ("1969-12-31T23:30:00-00:30", 0),
            ("2016-08-18T17:33:00Z", 1_471_541_580),
        ] {
            assert_eq!(parse(text).map(Timestamp::as_second), Some(seconds), "{text}");
        }
        for text in [
            "",
            "x",
            "2016-12-05 21:29:29Z",
            "2016-12-05T21:29:29",
            "05-12-2016T21:29:29Z",
            "2016-13-05T21:29:29Z",
            "2016-12-05T25:29:29Z",
            "2016-12-05t21:29:29z",
            "2016-12-05T21:29Z",
            "2016-12-05T21:29:29.Z",
            "2016-12-05T21:29:29+0100",
            "2016-12-05T21:29:29Z[UTC]",
            "2016-12-05T21:29:60Z",
            "2016-02-30T00:00:00Z",
            "٢016-12",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
