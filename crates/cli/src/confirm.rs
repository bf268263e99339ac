//! Asking before something is lost. Without a terminal the answer is no, unless `--yes` was given.

use std::io::IsTerminal;

use ark_model::exit::ExitCode;

use crate::failure::Failure;
use crate::output::Output;

/// Says what will be lost and asks for the word `expected`.
pub(crate) fn confirm(
    out: Output,
    yes: bool,
    lost: &[String],
    expected: &str,
) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    for line in lost {
        out.warn(line);
    }
    let refused = |headline: &str| Failure::new(ExitCode::Usage, "not-confirmed", headline);
    if !std::io::stdin().is_terminal() {
        return Err(refused("not confirmed: there is no terminal to ask on; nothing was changed")
            .remedy("without asking", "--yes"));
    }
    out.warn(format!("type `{expected}` to go on:"));
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| refused(&format!("not confirmed: {error}")))?;
    if line.trim() == expected {
        Ok(())
    } else {
        Err(refused("not confirmed; nothing was changed"))
    }
}
