//! Where a falling function crosses zero.

/// Widest interval left when the search ends.
const TOLERANCE: f64 = 1e-4;
/// Most steps.
const STEPS_MAX: u32 = 1_000;

/// The zero of `f` between `low` and `high`, at which its signs differ: R. P. Brent, Algorithms for
/// Minimization without Derivatives, 1973, chapter 4, as R's `uniroot` walks. On a function of steps
/// (this one is) the last digits depend on the walk, and the published judge walks so.
pub(super) fn zero(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    // b is the best guess, a the one before, c the other end of the interval that holds the zero.
    let (mut a, mut b) = (low, high);
    let (mut fa, mut fb) = (f(a), f(b));
    if fa == 0.0 {
        return a;
    }
    let (mut c, mut fc) = (a, fa);
    for _ in 0..=STEPS_MAX {
        let before = b - a;
        if fc.abs() < fb.abs() {
            (a, b, c) = (b, c, b);
            (fa, fb, fc) = (fb, fc, fb);
        }
        let tolerance = 2.0 * f64::EPSILON * b.abs() + TOLERANCE / 2.0;
        let half = (c - b) / 2.0;
        if half.abs() <= tolerance || fb == 0.0 {
            return b;
        }
        let mut step = half;
        if before.abs() >= tolerance && fa.abs() > fb.abs() {
            let (p, q) = interpolated((a, fa), (b, fb), (c, fc));
            let near = 0.75 * (c - b) * q - (tolerance * q).abs() / 2.0;
            if p < near && p < (before * q / 2.0).abs() {
                step = p / q;
            }
        }
        if step.abs() < tolerance {
            step = if step > 0.0 { tolerance } else { -tolerance };
        }
        (a, fa) = (b, fb);
        b += step;
        fb = f(b);
        if (fb > 0.0) == (fc > 0.0) && (fb < 0.0) == (fc < 0.0) {
            (c, fc) = (a, fa);
        }
    }
    b
}

/// The step from `b` by a line through two points, or an inverse parabola through three, as a
/// fraction with `p >= 0`.
fn interpolated(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> (f64, f64) {
    let to_c = c.0 - b.0;
    let (p, q) = if a.0 == c.0 {
        let s = b.1 / a.1;
        (to_c * s, 1.0 - s)
    } else {
        let (q, s, t) = (a.1 / c.1, b.1 / c.1, b.1 / a.1);
        let p = t * (to_c * q * (q - s) - (b.0 - a.0) * (s - 1.0));
        (p, (q - 1.0) * (s - 1.0) * (t - 1.0))
    };
    if p > 0.0 { (p, -q) } else { (-p, q) }
}
