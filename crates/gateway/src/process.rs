//! Process identity: a pid together with its start time, read from `/proc`. Used to trust a
//! target's address and to recognise a running gateway. It must not signal anything.

use ark_model::instance::ProcessIdentity;

/// The start time of `pid` in clock ticks since boot; `None` when there is no such process, or it
/// has ended and waits for its parent to notice (a zombie serves nothing).
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_start_ticks(&stat)
}

/// This process.
pub fn own_identity() -> ProcessIdentity {
    let pid = std::process::id().cast_signed();
    ProcessIdentity { pid, start_ticks: start_ticks(pid).unwrap_or(0) }
}

/// Whether exactly this process lives: the same pid and the same start time.
pub fn is_alive(process: ProcessIdentity) -> bool {
    start_ticks(process.pid) == Some(process.start_ticks)
}

/// Field 22. The second field is the command's name in parentheses and may itself contain spaces
/// and parentheses, so fields are counted from the last `)`.
fn parse_start_ticks(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields =
        stat.get(after_name..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
    let state = fields.next()?;
    if matches!(state, b"Z" | b"X") {
        return None;
    }
    std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_the_22nd_field_whatever_the_name() {
        let tail = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for (name, state, expected) in [
            ("web", "S", Some(4711)),
            ("a) S (b", "R", Some(4711)),
            (")", "S", Some(4711)),
            ("web", "Z", None),
        ] {
            let stat = format!("12 ({name}) {state} {tail}");
            assert_eq!(parse_start_ticks(stat.as_bytes()), expected, "{stat}");
        }
        for broken in ["", "12", "12 (web", "12 (web) S 1 2"] {
            assert_eq!(parse_start_ticks(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn this_process_lives_and_another_start_time_does_not() {
        let own = own_identity();
        assert!(is_alive(own));
        assert!(!is_alive(ProcessIdentity { start_ticks: own.start_ticks + 1, ..own }));
    }
}
