//! Times as text and back: ISO 8601 and the pictures of XPath F&O 9.8.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use regex::RegexBuilder;

use super::error::{Error, Result};
use super::integer::Integer;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The picture that is used when none is given but a time zone is.
const ISO_PICTURE: &str = "[Y0001]-[M01]-[D01]T[H01]:[m01]:[s01].[f001][Z01:01t]";

/// A piece of a picture.
enum Part {
    Literal(String),
    Marker(Box<Marker>),
}

/// `[Y0001]`, `[MNn,3-3]`, `[Z01:01t]`.
struct Marker {
    component: char,
    names: Option<Names>,
    integer: Option<Integer>,
    /// `t`: zero offset is `Z`.
    traditional: bool,
    width_max: Option<usize>,
    /// How many of the last digits of a year are shown.
    year_digits: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Upper,
    Lower,
    Title,
}

fn pieces(picture: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = picture;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '[' if rest.starts_with('[') => {
                literal.push('[');
                rest = &rest[1..];
            }
            '[' => {
                let Some(end) = rest.find(']') else { return Err(Error::new("D3135")) };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                let spec: String = rest[..end].chars().filter(|c| !c.is_whitespace()).collect();
                parts.push(Part::Marker(Box::new(Marker::parse(&spec)?)));
                rest = &rest[end + 1..];
            }
            ']' if rest.starts_with(']') => {
                literal.push(']');
                rest = &rest[1..];
            }
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

impl Marker {
    fn parse(spec: &str) -> Result<Self> {
        let Some(component) = spec.chars().next() else {
            return Err(Error::new("D3132").text(spec));
        };
        let rest = &spec[component.len_utf8()..];
        let (format, width) = match rest.rsplit_once(',') {
            Some((format, width)) => (format, Some(width)),
            None => (rest, None),
        };
        let default = match component {
            'Y' | 'M' | 'D' | 'd' | 'W' | 'w' | 'X' | 'x' | 'H' | 'h' | 'f' => "1",
            'F' | 'P' | 'C' | 'E' => "n",
            'm' | 's' => "01",
            'Z' | 'z' => "01:01",
            _ => return Err(Error::new("D3132").text(&component.to_string())),
        };
        let bound = |text: &str| text.parse::<usize>().ok().map(|width| width.min(1_000));
        let (width_min, width_max) = match width.map(|width| width.split_once('-')) {
            None => (None, None),
            Some(Some((least, most))) => (bound(least), bound(most)),
            Some(None) => (width.and_then(bound), None),
        };
        let mut format = if format.is_empty() { default } else { format };
        let mut modifier = None;
        if format.chars().count() > 1
            && let Some(last @ ('a' | 't' | 'c' | 'o')) = format.chars().last()
        {
            modifier = Some(last);
            format = &format[..format.len() - 1];
        }
        let mut marker = Self {
            component,
            names: None,
            integer: None,
            traditional: modifier == Some('t'),
            width_max,
            year_digits: None,
        };
        if format.starts_with('n') {
            marker.names = Some(Names::Lower);
        } else if format.starts_with("Nn") {
            marker.names = Some(Names::Title);
        } else if format.starts_with('N') {
            marker.names = Some(Names::Upper);
        } else {
            let ordinal = if modifier == Some('o') { ";o" } else { "" };
            let mut integer = Integer::parse(&format!("{format}{ordinal}"))?;
            if let Some(least) = width_min {
                integer.mandatory = integer.mandatory.max(least);
            }
            if component == 'Y' {
                if let Some(most) = width_max {
                    integer.mandatory = most;
                    marker.year_digits = Some(most);
                } else if integer.mandatory + integer.optional >= 2 {
                    marker.year_digits = Some(integer.mandatory + integer.optional);
                }
            }
            marker.integer = Some(integer);
        }
        Ok(marker)
    }

    fn format(&self, at: DateTime, offset_minutes: i32) -> Result<String> {
        match self.component {
            'P' => {
                let half = if at.hour() < 12 { "am" } else { "pm" };
                let upper = self.names == Some(Names::Upper);
                Ok(if upper { half.to_uppercase() } else { half.to_owned() })
            }
            'C' | 'E' => Ok("ISO".to_owned()),
            'Z' | 'z' => self.format_zone(offset_minutes),
            _ => {
                let value = component(self.component, at);
                match &self.integer {
                    Some(integer) => {
                        let value = match self.year_digits {
                            Some(digits) if digits < 18 => {
                                value % 10_i64.pow(u32::try_from(digits).unwrap_or(0))
                            }
                            _ => value,
                        };
                        #[expect(clippy::cast_precision_loss, reason = "a part of a date")]
                        integer.format(value as f64)
                    }
                    None => self.format_name(value),
                }
            }
        }
    }

    fn format_name(&self, value: i64) -> Result<String> {
        let index = usize::try_from(value - 1).unwrap_or(usize::MAX);
        let name = match self.component {
            'M' | 'x' => MONTHS.get(index),
            'F' => DAYS.get(index),
            _ => None,
        };
        let Some(name) = name else {
            return Err(Error::new("D3133").text(&self.component.to_string()));
        };
        let name = match self.names {
            Some(Names::Upper) => name.to_uppercase(),
            Some(Names::Lower) => name.to_lowercase(),
            _ => (*name).to_owned(),
        };
        Ok(name.chars().take(self.width_max.unwrap_or(usize::MAX)).collect())
    }

    fn format_zone(&self, offset_minutes: i32) -> Result<String> {
        if offset_minutes == 0 && self.traditional {
            return Ok("Z".to_owned());
        }
        let Some(integer) = &self.integer else {
            return Err(Error::new("D3133").text(&self.component.to_string()));
        };
        let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
        let text = if integer.is_grouped() {
            integer.format(f64::from(hours * 100 + minutes))?
        } else {
            match integer.mandatory {
                1 | 2 if minutes == 0 => integer.format(f64::from(hours))?,
                1 | 2 => format!("{}:{minutes:02}", integer.format(f64::from(hours))?),
                3 | 4 => integer.format(f64::from(hours * 100 + minutes))?,
                _ => return Err(Error::new("D3134")),
            }
        };
        let sign = if offset_minutes < 0 { '-' } else { '+' };
        let name = if self.component == 'z' { "GMT" } else { "" };
        Ok(format!("{name}{sign}{text}"))
    }

    /// The pattern that reads this component; `width` when a number follows at once.
    fn pattern(&self, width: Option<usize>) -> String {
        match self.component {
            'Z' => "[-+][0-9]{1,2}(?::?[0-9]{2})?|Z".to_owned(),
            'z' => "GMT[-+][0-9]{1,2}(?::?[0-9]{2})?".to_owned(),
            'P' => "(?i:am|pm)".to_owned(),
            'C' | 'E' => "ISO".to_owned(),
            _ => match &self.integer {
                Some(integer) => integer.pattern(width),
                None => {
                    let list: &[&str] = if self.component == 'F' { &DAYS } else { &MONTHS };
                    let most = self.width_max.unwrap_or(usize::MAX);
                    let names = list.iter().map(|name| name.chars().take(most).collect());
                    names.collect::<Vec<String>>().join("|")
                }
            },
        }
    }

    /// The number that a matched text means.
    fn read(&self, text: &str) -> Option<i64> {
        match self.component {
            'Z' | 'z' => zone_minutes(text.trim_start_matches("GMT")).map(i64::from),
            'P' => Some(i64::from(text.eq_ignore_ascii_case("pm"))),
            'C' | 'E' => Some(0),
            _ => match &self.integer {
                #[expect(clippy::cast_possible_truncation, reason = "saturates")]
                Some(integer) => integer.read(text).map(|number| number as i64),
                None => {
                    let list: &[&str] = if self.component == 'F' { &DAYS } else { &MONTHS };
                    let wanted = text.to_lowercase();
                    let at = list.iter().position(|name| {
                        let name = name.to_lowercase();
                        let most = self.width_max.unwrap_or(usize::MAX);
                        name == wanted || name.chars().take(most).collect::<String>() == wanted
                    })?;
                    i64::try_from(at + 1).ok()
                }
            },
        }
    }
}

fn component(component: char, at: DateTime) -> i64 {
    let date = at.date();
    match component {
        'Y' => i64::from(at.year()),
        'M' => i64::from(at.month()),
        'D' => i64::from(at.day()),
        'd' => i64::from(date.day_of_year()),
        'F' => i64::from(date.weekday().to_monday_one_offset()),
        'W' => i64::from(date.iso_week_date().week()),
        'X' => i64::from(date.iso_week_date().year()),
        'w' => week_of_month(date).1,
        'x' => week_of_month(date).0,
        'H' => i64::from(at.hour()),
        'h' => i64::from((at.hour() + 11) % 12 + 1),
        'm' => i64::from(at.minute()),
        's' => i64::from(at.second()),
        'f' => i64::from(at.millisecond()),
        _ => 0,
    }
}

/// The month that a date's week belongs to, by its Thursday as ISO years do, and the week's number
/// in it.
fn week_of_month(date: Date) -> (i64, i64) {
    let to_thursday =
        i64::from(Weekday::Thursday.to_monday_one_offset() - date.weekday().to_monday_one_offset());
    let thursday = date.saturating_add(jiff::Span::new().days(to_thursday));
    (i64::from(thursday.month()), i64::from((thursday.day() - 1) / 7 + 1))
}

/// `+0530`, `-05:00`, `Z`: minutes east of Greenwich.
fn zone_minutes(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    let (hours, minutes) =
        if digits.len() <= 2 { (number, 0) } else { (number / 100, number % 100) };
    Some(sign * (hours * 60 + minutes))
}

/// `$fromMillis`, `$now`.
pub(super) fn format(millis: f64, picture: Option<&str>, zone: Option<&str>) -> Result<String> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let at = Timestamp::from_millisecond(millis as i64)
        .map_err(|_| Error::new("D1001").text_raw(super::value::js_number(millis)))?;
    if picture.is_none() && zone.is_none() {
        return Ok(format!("{at:.3}"));
    }
    let minutes = zone.and_then(zone_minutes).unwrap_or(0).clamp(-1_500, 1_500);
    let offset = Offset::from_seconds(minutes * 60).unwrap_or(Offset::UTC);
    let local = offset.to_datetime(at);
    let mut out = String::new();
    for part in pieces(picture.unwrap_or(ISO_PICTURE))? {
        match part {
            Part::Literal(text) => out.push_str(&text),
            Part::Marker(marker) => out.push_str(&marker.format(local, minutes)?),
        }
    }
    Ok(out)
}

/// ISO 8601 as JavaScript reads it: a year, a month, a day, then perhaps a time and an offset. Unlike
/// there a time has seconds: the language's own pattern, which comes first, asks for them.
pub(super) fn parse_iso(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let digits = |text: &str, len: usize| -> Option<i8> {
        (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    let mut parts = date.split('-');
    let year =
        parts.next().filter(|year| year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()));
    let year: i16 = year?.parse().ok()?;
    let mut next = || match parts.next() {
        None => Some(1),
        Some(part) => digits(part, 2),
    };
    let (month, day) = (next()?, next()?);
    if parts.next().is_some() {
        return None;
    }
    if !(1..=31).contains(&day) {
        return None;
    }
    // As in JavaScript days that a month does not have are those of the next.
    let first = Date::new(year, month, 1).ok()?;
    let date = first.checked_add(jiff::Span::new().days(day - 1)).ok()?;
    let Some(time) = time else {
        return Some(Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?.as_millisecond());
    };
    let end = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(end);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':');
    let mut next = || digits(clock.next()?, 2);
    let (hour, minute, second) = (next()?, next()?, next()?);
    if clock.next().is_some() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    // 24:00:00 is the next day's midnight.
    let (hour, carry) = if (hour, minute, second) == (24, 0, 0) { (0, 1) } else { (hour, 0) };
    let at = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let minutes = if zone.is_empty() { 0 } else { zone_minutes(zone)? };
    let local = Offset::UTC.to_timestamp(date.to_datetime(at)).ok()?.as_millisecond();
    Some(local + millis + carry * 86_400_000 - i64::from(minutes) * 60_000)
}

/// `$toMillis` with a picture; `None` when the text does not fit it.
pub(super) fn parse(text: &str, picture: &str, now: i64) -> Result<Option<i64>> {
    let parts = pieces(picture)?;
    let mut pattern = "^".to_owned();
    let mut markers = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Literal(text) => pattern.push_str(&regex::escape(text)),
            Part::Marker(marker) => {
                // A number directly before another one takes only its own digits.
                let followed = matches!(
                    parts.get(at + 1),
                    Some(Part::Marker(next)) if next.integer.is_some() && !matches!(next.component, 'Z' | 'z')
                );
                let width = marker
                    .integer
                    .as_ref()
                    .filter(|integer| followed && integer.mandatory > 0)
                    .map(|integer| integer.mandatory);
                pattern.push_str(&format!("({})", marker.pattern(width)));
                markers.push(marker);
            }
        }
    }
    pattern.push('$');
    let regex = RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| Error::new("D3132").text(picture))?;
    let Some(captures) = regex.captures(text) else { return Ok(None) };
    let mut found: Vec<(char, i64)> = Vec::new();
    for (at, marker) in markers.iter().enumerate() {
        let Some(capture) = captures.get(at + 1) else { continue };
        match marker.read(capture.as_str()) {
            Some(value) => found.push((marker.component, value)),
            None => return Ok(None),
        }
    }
    assemble(&found, now)
}

/// The time that the components mean. What is missing before the first given one is taken from now,
/// what is missing after it begins at its start; a gap between is an error.
fn assemble(found: &[(char, i64)], now: i64) -> Result<Option<i64>> {
    let has = |component: char| found.iter().any(|(known, _)| *known == component);
    let get = |component: char| {
        found.iter().find(|(known, _)| *known == component).map(|(_, value)| *value)
    };
    if found.is_empty() {
        return Ok(None);
    }
    let by_week = (has('X') || has('W') || has('x') || has('w')) && !(has('M') || has('D'));
    if by_week {
        return Err(Error::new("D3136"));
    }
    let by_day = has('d') && !has('M') && !has('D');
    let halves = (has('P') || has('h')) && !has('H');
    let order = match (by_day, halves) {
        (true, true) => "YdPhmsf",
        (true, false) => "YdHmsf",
        (false, true) => "YMDPhmsf",
        (false, false) => "YMDHmsf",
    };
    let today = Timestamp::from_millisecond(now)
        .map(|now| Offset::UTC.to_datetime(now))
        .unwrap_or_default();
    let mut values = std::collections::HashMap::new();
    let (mut begun, mut ended) = (false, false);
    for part in order.chars() {
        let value = match get(part) {
            Some(value) => {
                begun = true;
                if ended {
                    return Err(Error::new("D3136"));
                }
                value
            }
            None if begun => {
                ended = true;
                i64::from(matches!(part, 'M' | 'D' | 'd'))
            }
            None if part == 'P' => i64::from(today.hour() >= 12),
            None => component(part, today),
        };
        values.insert(part, value);
    }
    let value = |part: char| values.get(&part).copied().unwrap_or(0);
    let hour = if halves {
        let hour = if value('h') == 12 { 0 } else { value('h') };
        hour + 12 * value('P')
    } else {
        value('H')
    };
    let date = i16::try_from(value('Y')).ok().and_then(|year| Date::new(year, 1, 1).ok());
    let Some(january) = date else { return Ok(None) };
    // As JavaScript does, parts beyond their range run over into the next larger one.
    let span = if by_day {
        jiff::Span::new().try_days(value('d') - 1)
    } else {
        jiff::Span::new()
            .try_months(value('M').max(1) - 1)
            .and_then(|span| span.try_days(value('D') - 1))
    };
    let Some(date) = span.ok().and_then(|span| january.checked_add(span).ok()) else {
        return Ok(None);
    };
    let Ok(midnight) = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)) else { return Ok(None) };
    let minutes = hour
        .saturating_mul(60)
        .saturating_add(value('m'))
        .saturating_sub(get('Z').or_else(|| get('z')).unwrap_or(0));
    let millis = minutes
        .saturating_mul(60)
        .saturating_add(value('s'))
        .saturating_mul(1_000)
        .saturating_add(value('f'));
    let at = midnight.checked_add(SignedDuration::from_millis(millis));
    Ok(at.ok().map(Timestamp::as_millisecond))
}
