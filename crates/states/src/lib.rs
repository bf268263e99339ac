//! Amazon States Language: parse, validate and interpret; pure.
