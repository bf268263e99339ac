//! Functions that write strings in another form: Base64, and the escapes of addresses.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::error::{Error, Result};
use super::super::eval::Run;
use super::super::value::Val;
use super::argument;

pub(super) fn base64_encode(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    run.bytes(text.len() * 2)?;
    Ok(BASE64.encode(text).into())
}

pub(super) fn base64_decode(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    let text = text_or_return!(arguments);
    run.bytes(text.len())?;
    // What is no Base64 is passed over, as the reference does.
    let clean: String = text
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'))
        .collect();
    let usable = if clean.len() % 4 == 1 { clean.len() - 1 } else { clean.len() };
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let bytes = engine.decode(&clean[..usable]).unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}

fn percent_encode(run: &Run<'_>, text: &str, kept: &str) -> Result<Val> {
    run.bytes(text.len() * 3)?;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Ok(out.into())
}

/// Decodes `%xx`, leaving those that stand for one of `kept`.
fn percent_decode(run: &Run<'_>, text: &str, kept: &str, function: &'static str) -> Result<Val> {
    run.bytes(text.len())?;
    let malformed = || Error::new("D3140").token(function).text(text);
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = bytes.get(at..at + 2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let code = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .ok_or_else(malformed)?;
        if kept.as_bytes().contains(&code) {
            out.extend(&bytes[at - 1..at + 2]);
        } else {
            out.push(code);
        }
        at += 2;
    }
    String::from_utf8(out).map(Val::from).map_err(|_| malformed())
}

const COMPONENT_KEPT: &str = "-_.!~*'()";
const URL_KEPT: &str = "-_.!~*'();/?:@&=+$,#";

pub(super) fn encode_url_component(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_encode(run, text_or_return!(arguments), COMPONENT_KEPT)
}

pub(super) fn encode_url(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_encode(run, text_or_return!(arguments), URL_KEPT)
}

pub(super) fn decode_url_component(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_decode(run, text_or_return!(arguments), "", "decodeUrlComponent")
}

pub(super) fn decode_url(run: &Run<'_>, arguments: &[Val]) -> Result<Val> {
    percent_decode(run, text_or_return!(arguments), ";/?:@&=+$,#", "decodeUrl")
}
