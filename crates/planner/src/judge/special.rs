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
