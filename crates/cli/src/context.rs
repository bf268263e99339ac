//! What most commands begin with: environment, app, server, streams.

use std::path::PathBuf;

use ark_model::{AppName, EnvName, NameError};

use crate::client::{Client, Connection};
use crate::failure::Failure;
use crate::launch;
use crate::output::{Output, Shown};
use crate::settings::Settings;

/// The variable that names the environment.
const VARIABLE: &str = "ARK_ENV";

/// Which environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct EnvArg {
    /// Environment [default: ARK_ENV, else what `ark env use` saved]
    #[arg(short, long, value_name = "ENV")]
    pub(crate) env: Option<EnvName>,
}

impl EnvArg {
    /// The environment that is meant.
    pub(crate) fn get(&self) -> Result<EnvName, Failure> {
        self.optional()?.ok_or_else(|| {
            Failure::usage("which environment?")
                .remedy("name it", "-e ENV, or ARK_ENV")
                .remedy("save a default", "ark env use ENV")
        })
    }

    /// The environment, when one is given or saved.
    pub(crate) fn optional(&self) -> Result<Option<EnvName>, Failure> {
        if let Some(env) = &self.env {
            return Ok(Some(env.clone()));
        }
        // An empty variable is an unset one, as everywhere.
        match std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|error: NameError| Failure::usage(format!("{VARIABLE}: {error}"))),
            None => Ok(Settings::load()?.env),
        }
    }
}

/// What every command takes that asks a server and shows its answer.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) shown: Shown,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// The same about one environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct InEnv {
    #[command(flatten)]
    pub(crate) env: EnvArg,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// Server and streams of a command.
#[derive(Debug)]
pub(crate) struct Context {
    /// The server.
    pub(crate) client: Client,
    /// The streams.
    pub(crate) out: Output,
}

impl Context {
    /// Finds the server; sends nothing yet.
    pub(crate) fn new(asking: &Asking) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(&asking.connection)?, out: Output::new(asking.shown) })
    }

    /// The same for a command whose output is another program's.
    pub(crate) fn quiet(connection: &Connection) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(connection)?, out: Output::new(Shown::default()) })
    }
}

/// The folder the command was called in.
pub(crate) fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir()
        .map_err(|error| Failure::usage(format!("the current folder cannot be read: {error}")))
}

/// The app that is meant, by argument or by the folder.
pub(crate) fn app(given: Option<AppName>) -> Result<AppName, Failure> {
    match given {
        Some(app) => Ok(app),
        None => launch::app_name(None, &here()?),
    }
}
