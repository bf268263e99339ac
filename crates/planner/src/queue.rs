//! Which deployment waits, which gives way.
