//! Rules for texts: names, hosts, paths, schedules, references. Each says what is wrong and, where
//! it can, what was meant.

use super::diagnostic::Code;
use super::report::{closest, shown};
use super::shape::TextRule;
use crate::traffic::RULE_BYTES_MAX;

/// Longest text that a launch file may hold anywhere but in a tip.
const TEXT_BYTES_MAX: usize = 4096;

/// What is wrong with a text, or worth a look.
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

fn fault(code: Code, message: impl Into<String>) -> Option<Fault> {
    Some(Fault { code, message: message.into(), suggestion: None })
}

fn fault_or(code: Code, message: impl Into<String>, suggestion: Option<String>) -> Option<Fault> {
    Some(Fault { code, message: message.into(), suggestion })
}

/// Words of `run.type`.
pub(super) const RUN_TYPES: &[(&str, &str)] = &[
    ("docker", "any engine that has an artifact; a service with ports, a worker without"),
    ("process", "the process engine; a service with ports, a worker without"),
    ("daemon", "one instance on every node"),
    ("cron", "runs to its end by a schedule"),
    ("job", "runs to its end once, when asked"),
    ("lambda", "a function that an event source calls"),
];

/// Kinds of data stores that `databases` may name.
const DATABASE_KINDS: &[&str] = &[
    "dynamodb",
    "aurora",
    "elasticsearch",
    "elasticache",
    "kinesis",
    "kinesis-streams",
    "mongodb",
    "mysql",
    "postgres",
    "rds",
    "redis",
    "redshift",
    "s3",
    "sqs",
];

/// Judges a text; `None` when nothing is to be said.
pub(super) fn check(rule: TextRule, text: &str) -> Option<Fault> {
    if text.len() > TEXT_BYTES_MAX {
        return fault(Code::BadFormat, format!("is longer than {TEXT_BYTES_MAX} bytes"));
    }
    match rule {
        TextRule::Free => None,
        TextRule::Filled if text.trim().is_empty() => fault(Code::BadFormat, "is empty"),
        TextRule::Filled => None,
        TextRule::Owner => owner(text),
        TextRule::Team => owner(text).or_else(|| team(text)),
        TextRule::RunType => run_type(text),
        TextRule::Variable => variable(text),
        TextRule::Label => label(text),
        TextRule::Token => token(text),
        TextRule::Host => host(text),
        // It stands in a cookie as well.
        TextRule::RoutePath => url_path(text, &['?', '#', ';']),
        TextRule::RequestPath => url_path(text, &['#']),
        TextRule::Url => url(text),
        TextRule::FolderPath => folder(text),
        TextRule::Schedule => schedule(text),
        TextRule::Timezone => timezone(text),
        TextRule::Database => database(text),
    }
}

/// `http://` or `https://`, a host without user and password, and nothing that breaks a request.
fn url(text: &str) -> Option<Fault> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        let message = format!("must begin with http:// or https://; found `{}`", shown(text));
        return fault(Code::BadFormat, message);
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return fault(Code::BadFormat, "holds a user; a secret belongs in `token`");
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '#';
    if authority.is_empty() || rest.contains(odd) {
        return fault(Code::BadFormat, format!("is no address: `{}`", shown(text)));
    }
    None
}

fn owner(text: &str) -> Option<Fault> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return fault(Code::BadFormat, "is empty");
    }
    let upper = trimmed.to_ascii_uppercase();
    let template = trimmed.starts_with("{{") && trimmed.ends_with("}}");
    let unfilled = ["TODO", "TBD", "FIXME", "XXX"].contains(&upper.as_str());
    if template || unfilled {
        return fault(Code::Placeholder, format!("is a placeholder: `{}`", shown(trimmed)));
    }
    None
}

fn team(text: &str) -> Option<Fault> {
    if text.contains('@') {
        return fault(
            Code::TeamAddress,
            format!(
                "names a team, and `{}` is an address; addresses belong in `shepherds`",
                shown(text)
            ),
        );
    }
    None
}

fn run_type(text: &str) -> Option<Fault> {
    if is_run_type(text) {
        return None;
    }
    if text == "workflow" {
        return fault(Code::LegacyType, "`workflow` is an old form; it is read as `job`");
    }
    if let Some(region) = text.strip_prefix("lambda/")
        && is_region(region)
    {
        return fault(
            Code::LegacyType,
            format!("`{text}` is an old form; it is read as `lambda`, the cluster has the region"),
        );
    }
    let words: Vec<&str> = RUN_TYPES.iter().map(|(word, _)| *word).collect();
    let suggestion = closest(text, words.iter().copied()).map(str::to_owned);
    let hint = match text {
        "service" | "worker" => {
            "; an app with `expose` is a service and one without is a worker by itself"
        }
        _ => "",
    };
    fault_or(
        Code::UnknownValue,
        format!("must be one of {}; found `{}`{hint}", words.join(", "), shown(text)),
        suggestion,
    )
}

/// Whether a text is a word of `run.type`.
pub(super) fn is_run_type(text: &str) -> bool {
    RUN_TYPES.iter().any(|(word, _)| *word == text)
}

fn variable(text: &str) -> Option<Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts_well = text.starts_with(|c: char| good(c) && !c.is_ascii_digit());
    if starts_well && text.chars().all(good) && text.len() <= 256 {
        return None;
    }
    let (name, hint) = match text.split_once('=') {
        Some((name, _)) => (name, "; values belong in `env_defaults` or in `ark config set`"),
        None => (text, ""),
    };
    let repaired: String = name.trim().trim_end_matches([';', ',', ':', ' ']).to_owned();
    let suggestion = (repaired != text && variable(&repaired).is_none()).then_some(repaired);
    fault_or(
        Code::BadFormat,
        format!("`{}` is not the name of an environment variable{hint}", shown(text)),
        suggestion,
    )
}

/// RFC 9110, section 5.6.2.
fn token(text: &str) -> Option<Fault> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=RULE_BYTES_MAX).contains(&text.len()) && text.bytes().all(good) {
        return None;
    }
    let suggestion = text.trim().trim_end_matches(':').to_owned();
    let suggestion = (suggestion != text && token(&suggestion).is_none()).then_some(suggestion);
    fault_or(
        Code::BadFormat,
        format!("`{}` is not the name of a header field or a cookie", shown(text)),
        suggestion,
    )
}

fn label(text: &str) -> Option<Fault> {
    if is_label(text) {
        return None;
    }
    let repaired = text.trim().to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    let suggestion = (repaired != text && is_label(&repaired)).then_some(repaired);
    fault_or(
        Code::BadFormat,
        format!(
            "`{}` is not a name: 1 to 63 characters a-z, 0-9 and -, with - inside only",
            shown(text)
        ),
        suggestion,
    )
}

fn is_label(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(good)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn host(text: &str) -> Option<Fault> {
    let lower = text.to_ascii_lowercase();
    if lower.len() <= 253 && lower.split('.').all(is_label) {
        return None;
    }
    let bare = lower
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .split(['/', ':'])
        .next()
        .unwrap_or_default()
        .to_owned();
    let suggestion = (bare != lower && bare.split('.').all(is_label)).then_some(bare);
    fault_or(
        Code::BadFormat,
        format!("`{}` is not a host name: no scheme, no port, no path", shown(text)),
        suggestion,
    )
}

fn url_path(text: &str, forbidden: &[char]) -> Option<Fault> {
    let bad =
        |c: char| c.is_control() || c.is_whitespace() || !c.is_ascii() || forbidden.contains(&c);
    if text.starts_with('/') && !text.contains(bad) && text.len() <= 2048 {
        return None;
    }
    let suggestion = (!text.starts_with('/')
        && !text.is_empty()
        && !text.contains(bad)
        && !text.contains("://"))
    .then(|| format!("/{text}"));
    fault_or(
        Code::BadFormat,
        format!("`{}` is not a path: it starts with / and has no spaces", shown(text)),
        suggestion,
    )
}

fn folder(text: &str) -> Option<Fault> {
    let climbs = text.split('/').any(|part| part == "..");
    if text.starts_with('/') && text.len() > 1 && !climbs && !text.contains(char::is_control) {
        return None;
    }
    fault(
        Code::BadFormat,
        format!(
            "`{}` is not a folder: an absolute path without `..`, and not `/` itself",
            shown(text)
        ),
    )
}

fn is_region(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len())
        && text.bytes().all(good)
        && text.contains('-')
        && text.ends_with(|c: char| c.is_ascii_digit())
}

fn database(text: &str) -> Option<Fault> {
    let mut parts = text.splitn(3, ':');
    let (Some(kind), Some(region), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return fault(
            Code::BadDatabase,
            format!("`{}` is not <kind>:<region>:<name>", shown(text)),
        );
    };
    if !DATABASE_KINDS.contains(&kind) {
        let suggestion = closest(kind, DATABASE_KINDS.iter().copied())
            .map(|known| format!("{known}:{region}:{name}"));
        return fault_or(
            Code::BadDatabase,
            format!("`{}` is not a kind of data store", shown(kind)),
            suggestion,
        );
    }
    if !is_region(region) {
        return fault(Code::BadDatabase, format!("`{}` is not a region", shown(region)));
    }
    if name.trim().is_empty() || name.contains(char::is_whitespace) {
        return fault(Code::BadDatabase, "the data store has no name");
    }
    None
}

fn timezone(text: &str) -> Option<Fault> {
    // The zones compiled in, not those of this machine: the verdict must not depend on where the
    // file is judged.
    let zones = jiff::tz::TimeZoneDatabase::bundled();
    if text.len() <= 64 && zones.get(text).is_ok() {
        return None;
    }
    let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
    let suggestion = closest(text, names.iter().map(String::as_str)).map(str::to_owned);
    fault_or(
        Code::UnknownTimezone,
        format!("`{}` is not a time zone, like Europe/Berlin or UTC", shown(text)),
        suggestion,
    )
}

/// A cron field: name, smallest and largest value, names of values from the smallest on.
type CronField = (&'static str, u32, u32, &'static [&'static str]);

const CRON_FIELDS: [CronField; 5] = [
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of month", 1, 31, &[]),
    (
        "month",
        1,
        12,
        &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    ),
    ("day of week", 0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

const CRON_NAMES: &[&str] =
    &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

fn schedule(text: &str) -> Option<Fault> {
    let text = text.trim();
    if let Some(zoned) = text.strip_prefix("CRON_").unwrap_or(text).strip_prefix("TZ=") {
        let (zone, rest) = zoned.split_once(char::is_whitespace).unwrap_or((zoned, ""));
        let rest = rest.trim();
        let suggestion = (schedule(rest).is_none()).then(|| rest.to_owned());
        let message =
            format!("a schedule has no time zone in it: write `run.timezone: {}`", shown(zone));
        return fault_or(Code::BadSchedule, message, suggestion);
    }
    if text.starts_with('@') {
        if CRON_NAMES.contains(&text) {
            return None;
        }
        let suggestion = closest(text, CRON_NAMES.iter().copied()).map(str::to_owned);
        let message = format!("`{}` is not a schedule", shown(text));
        return fault_or(Code::BadSchedule, message, suggestion);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != CRON_FIELDS.len() {
        return fault(
            Code::BadSchedule,
            format!(
                "a schedule has 5 fields (minute, hour, day of month, month, day of week), found {}",
                fields.len()
            ),
        );
    }
    fields
        .iter()
        .zip(CRON_FIELDS)
        .find(|(text, field)| !text.split(',').all(|part| cron_part(part, field)))
        .and_then(|(text, (name, min, max, _))| {
            fault(
                Code::BadSchedule,
                format!(
                    "`{}` is not a {name} of a schedule ({min} to {max}, *, a-b, a,b, */n)",
                    shown(text)
                ),
            )
        })
}

fn cron_part(part: &str, field: &CronField) -> bool {
    let (name, min, max, names) = field;
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let whole = |text: &str| {
        let digits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    if step.is_some_and(|step| whole(step).is_none_or(|n| n == 0)) {
        return false;
    }
    let value = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let named = names.iter().position(|name| *name == lower);
        named
            .and_then(|index| u32::try_from(index).ok())
            .map(|index| index + min)
            .or_else(|| whole(text))
            .filter(|n| (*min..=*max).contains(n))
    };
    match range {
        "*" => true,
        "?" => name.starts_with("day"),
        _ => match range.split_once('-') {
            Some((first, last)) => match (value(first), value(last)) {
                (Some(first), Some(last)) => first <= last,
                _ => false,
            },
            None => value(range).is_some(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TextRule::{
        Database, FolderPath, Host, Label, Owner, RequestPath, RoutePath, RunType, Schedule, Team,
        Timezone, Token, Variable,
    };

    #[test]
    fn texts_that_are_right() {
        for (rule, texts) in [
            (Variable, &["PATH", "_X", "a1", "my.var", "X-Y"][..]),
            (Label, &["web", "who-is-who", "7up", "a"]),
            (Host, &["web.example.test", "localhost", "Example.COM"]),
            (Token, &["x-canary", "_session.id"]),
            (RoutePath, &["/", "/a/b", "/github.com/x%20y"]),
            (RequestPath, &["/_health", "/check?full=1"]),
            (FolderPath, &["/data", "/var/lib/x"]),
            (RunType, &["docker", "process", "daemon", "cron", "job", "lambda"]),
            (
                Database,
                &[
                    "dynamodb:us-west-1:workflow-manager-prod-v3",
                    "dynamodb:us-west-2:{env}--who-is-who-db-us-west-2-Objects",
                ],
            ),
            (Timezone, &["UTC", "Europe/Berlin", "America/Los_Angeles"]),
            (
                Schedule,
                &[
                    "0 3 * * *",
                    "*/5 * * * *",
                    "0/15 * * Jul *",
                    "30 08 ? Jul Sun",
                    "* * 1,15 * Sun",
                    "0 0 1-7 jan-mar mon-fri",
                    "@daily",
                    "0 0 * * 7",
                ],
            ),
            (Team, &["eng-infra"]),
            (Owner, &["owner@example.com"]),
        ] {
            for text in texts {
                let fault = check(rule, text).map(|fault| fault.message);
                assert_eq!(fault, None, "{rule:?} {text}");
            }
        }
    }

    #[test]
    fn texts_that_are_wrong() {
        use Code::{
            BadDatabase, BadFormat, BadSchedule, LegacyType, Placeholder, TeamAddress,
            UnknownTimezone, UnknownValue,
        };
        for (rule, text, code, suggestion) in [
            (Variable, "RATE;", BadFormat, Some("RATE")),
            (Variable, "A=b", BadFormat, Some("A")),
            (Variable, "A B", BadFormat, None),
            (Variable, "1A", BadFormat, None),
            (Variable, "", BadFormat, None),
            (Label, "Who_Is_Who", BadFormat, Some("who-is-who")),
            (Label, "-a", BadFormat, None),
            (Host, "https://a.test:80/x", BadFormat, Some("a.test")),
            (Host, "a..b", BadFormat, None),
            (RoutePath, "health", BadFormat, Some("/health")),
            (RoutePath, "/a?b", BadFormat, None),
            (RoutePath, "/a;b", BadFormat, None),
            (Token, "X-Canary:", BadFormat, Some("X-Canary")),
            (Token, "two words", BadFormat, None),
            (RoutePath, "/a b", BadFormat, None),
            (FolderPath, "data", BadFormat, None),
            (FolderPath, "/a/../b", BadFormat, None),
            (FolderPath, "/", BadFormat, None),
            (RunType, "workflow", LegacyType, None),
            (RunType, "lambda/us-west-1", LegacyType, None),
            (RunType, "lambda/", UnknownValue, Some("lambda")),
            (RunType, "dokcer", UnknownValue, Some("docker")),
            (RunType, "service", UnknownValue, None),
            (Database, "dynamo:us-west-1:x", BadDatabase, Some("dynamodb:us-west-1:x")),
            (Database, "dynamodb:x", BadDatabase, None),
            (Database, "dynamodb:us-west-1:", BadDatabase, None),
            (Timezone, "Europe/Berln", UnknownTimezone, Some("Europe/Berlin")),
            (Timezone, "../etc/passwd", UnknownTimezone, None),
            (Schedule, "0 3 * *", BadSchedule, None),
            (Schedule, "0 3 * * * *", BadSchedule, None),
            (Schedule, "60 3 * * *", BadSchedule, None),
            (Schedule, "0 3 0 * *", BadSchedule, None),
            (Schedule, "*/0 3 * * *", BadSchedule, None),
            (Schedule, "5-1 3 * * *", BadSchedule, None),
            (Schedule, "0 3 * * *,", BadSchedule, None),
            (Schedule, "? 3 * * *", BadSchedule, None),
            (Schedule, "TZ=Europe/Berlin 0 3 * * *", BadSchedule, Some("0 3 * * *")),
            (Schedule, "CRON_TZ=UTC @daily", BadSchedule, Some("@daily")),
            (Schedule, "TZ=UTC", BadSchedule, None),
            (Schedule, "TZ=UTC TZ=UTC", BadSchedule, None),
            (Schedule, "@dayly", BadSchedule, Some("@daily")),
            (Schedule, "", BadSchedule, None),
            (Team, "TODO", Placeholder, None),
            (Team, "{{.TeamName}}", Placeholder, None),
            (Team, "owner@example.com", TeamAddress, None),
            (Team, "", BadFormat, None),
            (Owner, "{{.CreatorEmail}}", Placeholder, None),
        ] {
            let fault = check(rule, text).unwrap_or_else(|| panic!("{rule:?} {text} was accepted"));
            assert_eq!(fault.code, code, "{rule:?} {text}: {}", fault.message);
            assert_eq!(fault.suggestion.as_deref(), suggestion, "{rule:?} {text}");
        }
    }
}
