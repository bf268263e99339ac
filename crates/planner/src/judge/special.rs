//! Special functions of the tests: logarithms of factorials and the normal distribution.

/// Natural logarithm of `n!`, to about 14 digits: a table's worth of sums below 32, Stirling's
/// series above (Abramowitz and Stegun 6.1.41).
pub fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let x = n as f64;
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0)));
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + series
}

/// Natural logarithm of the number of ways to choose `k` of `n`; minus infinity when there are none.
pub fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Chance that a standard normal variable exceeds `z`, to about 14 digits: the series of the error
/// function near the middle, its continued fraction in the tails (Abramowitz and Stegun 26.2.10 and
/// 26.2.14).
pub fn normal_upper(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_upper(-z);
    }
    let density = normal_density(z);
    if z < 3.0 {
        let (mut term, mut sum, mut n) = (z, z, 1.0);
        while term > sum * 1e-17 {
            n += 2.0;
            term *= z * z / n;
            sum += term;
        }
        return 0.5 - density * sum;
    }
    let fraction = (1..=80).rev().fold(0.0, |below, n| f64::from(n) / (z + below));
    density / (z + fraction)
}

/// The value that a standard normal variable stays below with chance `p`.
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 || p.is_nan() {
        return if p <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // By halving: it is asked for a handful of times, and cannot go astray.
    let (upper, sign) = if p < 0.5 { (p, -1.0) } else { (1.0 - p, 1.0) };
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..70 {
        let middle = f64::midpoint(low, high);
        if normal_upper(middle) > upper { low = middle } else { high = middle }
    }
    sign * f64::midpoint(low, high)
}

/// Density of the standard normal distribution.
pub fn normal_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials_agree_where_the_two_ways_meet() {
        let sum = |n: u64| (2..=n).map(|i| (i as f64).ln()).sum::<f64>();
        for n in [0, 1, 2, 31, 32, 33, 100, 170] {
            assert!((ln_factorial(n) - sum(n)).abs() <= 1e-12 * sum(n).max(1.0), "{n}");
        }
    }

    /// Values from tables of the normal distribution.
    #[test]
    fn the_normal_distribution_agrees_with_its_tables() {
        for (z, upper) in [
            (0.0, 0.5),
            (1.0, 0.158_655_253_931_457_05),
            (1.959_963_984_540_054, 0.025),
            (2.999, 0.001_354_336_533_727_106_6),
            (3.0, 0.001_349_898_031_630_094_6),
            (5.0, 2.866_515_718_791_939e-7),
            (10.0, 7.619_853_024_160_527e-24),
        ] {
            let got = normal_upper(z);
            assert!((got / upper - 1.0).abs() < 1e-9, "{z}: {got}");
            assert!((normal_upper(-z) - (1.0 - upper)).abs() < 1e-14, "{z}");
            assert!((normal_quantile(upper) + z).abs() < 1e-8, "{z}");
        }
    }
}
