//! An independent open-loop load client with exact accounting, for tests and the quickstart.
