//! Desired and observed state in, a plan out; pure.
