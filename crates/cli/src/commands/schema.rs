//! `ark schema`: the JSON Schema of launch files. Needs no server.

use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown};

/// What `schema` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark schema > launch.schema.json",
    after_help = "In an editor with the YAML language server, put this line first in a launch file:\n  # yaml-language-server: $schema=../launch.schema.json"
)]
pub(crate) struct Args {}

pub(crate) fn shown(_: &Args) -> Shown {
    Shown::default()
}

pub(crate) fn run(_: Args) -> Ended {
    let schema = serde_json::to_string_pretty(&ark_model::definition::json_schema())
        .map_err(|error| Failure::usage(error.to_string()))?;
    Output::new(Shown::default()).line(schema);
    Ok(Exit::DONE)
}
