//! `ark completion`: completions for a shell.

use clap_complete::Shell;

use crate::failure::{Ended, Exit};
use crate::output::{Output, Shown};

/// What `completion` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark completion bash > /etc/bash_completion.d/ark\n  ark completion zsh > \"${fpath[1]}/_ark\"\n  ark completion fish > ~/.config/fish/completions/ark.fish"
)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn shown(_: &Args) -> Shown {
    Shown::default()
}

pub(crate) fn run(args: Args) -> Ended {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "ark", &mut text);
    Output::new(Shown::default()).line(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::DONE)
}
