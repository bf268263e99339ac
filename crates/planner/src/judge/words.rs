//! Numbers for a reader at three in the morning.

pub(super) use ark_model::judgement::grouped;

/// A share of 0 to 1 in percent.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".into(),
        p if p < 0.1 => format!("{p:.3} %"),
        p if p < 10.0 => format!("{p:.1} %"),
        p if p > 99.0 && p < 100.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

/// A chance of 0 to 1, as one in so many when it is small.
pub(super) fn chance(p: f64) -> String {
    match p {
        p if p < 1e-9 => "chance below 1 in 10^9".into(),
        p if p < 0.1 => format!("chance 1 in {}", grouped((1.0 / p).round() as u64)),
        p => format!("chance {}", percent(p)),
    }
}

/// Microseconds in the unit that suits.
pub(super) fn duration(us: f64) -> String {
    match us {
        us if us < 999.5 => format!("{us:.0} us"),
        us if us < 9_995.0 => format!("{:.1} ms", us / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// Bytes in the unit that suits.
pub(super) fn bytes(count: u64) -> String {
    match count {
        c if c < 1 << 10 => format!("{c} B"),
        c if c < 1 << 20 => format!("{} KiB", c >> 10),
        c if c < 1 << 30 => format!("{} MiB", c >> 20),
        c => format!("{} GiB", c >> 30),
    }
}

/// How much larger (or smaller) `new` is than `old`: `30 % more`, `2.4 times`.
pub(super) fn change(old: f64, new: f64, more: &str, less: &str) -> String {
    match new / old {
        ratio if ratio >= 2.0 => format!("{ratio:.1} times"),
        ratio if ratio >= 1.0 => format!("{:.0} % {more}", (ratio - 1.0) * 100.0),
        ratio => format!("{:.0} % {less}", (1.0 - ratio) * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (19_400, "19,400")] {
            assert_eq!(grouped(n), text);
        }
        for (share, text) in
            [(0.0, "0 %"), (0.000_2, "0.020 %"), (0.0137, "1.4 %"), (0.42, "42 %"), (1.0, "100 %")]
        {
            assert_eq!(percent(share), text);
        }
        for (p, text) in [
            (1e-12, "chance below 1 in 10^9"),
            (0.000_25, "chance 1 in 4,000"),
            (0.35, "chance 35 %"),
        ] {
            assert_eq!(chance(p), text);
        }
        for (us, text) in
            [(7.0, "7 us"), (1_500.0, "1.5 ms"), (130_000.0, "130 ms"), (2.5e6, "2.5 s")]
        {
            assert_eq!(duration(us), text);
        }
        for (count, text) in [(512, "512 B"), (4_096, "4 KiB"), (3 << 20, "3 MiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(change(100.0, 130.0, "slower", "faster"), "30 % slower");
        assert_eq!(change(100.0, 300.0, "slower", "faster"), "3.0 times");
        assert_eq!(change(100.0, 90.0, "slower", "faster"), "10 % faster");
    }
}
