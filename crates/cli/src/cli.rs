//! The command line: which commands there are, and which of them needs what kind of runtime.

use std::sync::OnceLock;

use ark_model::exit::ExitCode;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::failure::{Ended, Exit, Failure};
use crate::output::{Output, Shown};

/// One definition, one command, everywhere.
#[derive(Debug, Parser)]
#[command(name = "ark", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

macro_rules! commands {
    ($(#[doc = $group:literal] { $($(#[$meta:meta])* $variant:ident $module:ident $name:literal)+ })+) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($($(#[$meta])* #[command(name = $name)] $variant(commands::$module::Args),)+)+
            /// Become the parent of one instance (started by the process engine)
            #[command(name = "shim", hide = true)]
            Shim(commands::shim::Args),
            /// Run the sample app (started by an engine)
            #[command(name = "sample", hide = true)]
            Sample,
        }

        impl Command {
            /// Whether data is JSON; decides how a failure is printed.
            fn shown(&self) -> Shown {
                match self {
                    $($(Self::$variant(args) => commands::$module::shown(args),)+)+
                    Self::Shim(_) | Self::Sample => Shown::default(),
                }
            }

            fn run(self) -> Ended {
                match self {
                    $($(Self::$variant(args) => commands::$module::run(args),)+)+
                    Self::Shim(args) => commands::shim::run(&args),
                    Self::Sample => commands::sample::run(),
                }
            }
        }

        /// Names of commands, by group, in the order of the help.
        const GROUPS: &[(&str, &[&str])] = &[$(($group, &[$($name),+])),+];
    };
}

commands! {
    #[doc = "Run Ark"] {
        /// Start server and gateway on this machine
        Up up "up"
        /// Stop everything: apps, gateway, server
        Down down "down"
        /// Run the server alone, beside a gateway that runs already
        Server server "server"
        /// Run the gateway alone
        Gateway gateway "gateway"
        /// See a deployment, a replacement under load, a failure and a rollback in a minute
        Quickstart quickstart "quickstart"
        /// Look whether everything is well
        Doctor doctor "doctor"
        /// Remove what nothing needs any more
        Gc gc "gc"
    }
    #[doc = "Deploy"] {
        /// Check launch files; needs no server
        Validate validate "validate"
        /// Print the JSON Schema of launch files, for editors
        Schema schema "schema"
        /// Make launch files out of a Compose file; needs no server
        Import import "import"
        /// Say what a deployment would do
        Plan plan "plan"
        /// Build the images of a project
        Build build "build"
        /// Build and deploy what a push to a repository changed
        Ci ci "ci"
        /// Make a new release the live one
        Deploy deploy "deploy"
        /// Go back to an earlier release
        Rollback rollback "rollback"
        /// Let a deployment in steps go on
        Promote promote "promote"
        /// Let a deployment in steps stay where it is
        Pause pause "pause"
        /// Let a paused deployment go on
        Resume resume "resume"
        /// Approve the step that waits for it
        Approve approve "approve"
        /// End a running deployment; the old release takes over again
        Abort abort "abort"
        /// List the releases of an app
        Releases releases "releases"
        /// List deployments
        Deployments deployments "deployments"
        /// Say what a deployment did to traffic
        Receipt receipt "receipt"
        /// Say what differs between two releases
        Diff diff "diff"
    }
    #[doc = "Look"] {
        /// Show the apps of an environment
        Status status "status"
        /// Show the instances of an app
        Ps ps "ps"
        /// Show what the instances of an app wrote
        Logs logs "logs"
        /// Show what happened, who did it and why
        Events events "events"
        /// Print the addresses of an app
        Open open "open"
    }
    #[doc = "Operate"] {
        /// Start apps with what they depend on, or one on this machine (-l)
        Start start "start"
        /// Stop an app
        Stop stop "stop"
        /// Replace all instances by new ones of the same release
        Restart restart "restart"
        /// Set the number of instances
        Scale scale "scale"
        /// Run a command beside an instance
        Exec exec "exec"
        /// Run a job, or a command with any app's release, to its end
        Run run "run"
        /// Show the runs of an app, and what they wrote
        Runs runs "runs"
        /// Show schedules; trigger, pause and resume them
        Cron cron "cron"
    }
    #[doc = "Workflows"] {
        /// Define workflows, start, look at and steer executions
        Workflow workflow "workflow"
        /// Start a workflow as workers expect it
        Submit submit "submit"
        /// Show one execution, or follow it to its end
        Workflows workflows "workflows"
        /// Work on the tasks of an activity: one command for each
        Worker worker "worker"
    }
    #[doc = "Configure"] {
        /// Set and show configuration and secrets
        Config config "config"
        /// Make, list, choose and destroy environments
        Env env "env"
        /// Add, list, drain and remove hosts
        Node node "node"
        /// Set and list registries of images
        Registry registry "registry"
        /// Let Git hosting services tell of pushes
        Hook hook "hook"
        /// Make, list and revoke API tokens
        Token token "token"
        /// Print completions for a shell
        Completion completion "completion"
        /// Print the version
        Version version "version"
    }
}

/// The roles that engines start by the hundred: no time and no memory for a command line of forty
/// commands. Anything else than exactly what an engine types is left to that.
fn engine_role() -> Option<Ended> {
    let mut words = std::env::args_os().skip(1);
    let role = words.next()?;
    match (role.to_str()?, words.next(), words.next()) {
        ("shim", Some(directory), None) => {
            Some(commands::shim::run(&commands::shim::Args { directory: directory.into() }))
        }
        ("sample", None, None) => Some(commands::sample::run()),
        _ => None,
    }
}

/// Runs the command line of this process; answers its exit code.
pub(crate) fn run() -> Exit {
    if let Some(ended) = engine_role() {
        return ended.unwrap_or_else(|failure| failure.exit);
    }
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let shown = cli.command.shown();
    match cli.command.run() {
        Ok(exit) => exit,
        Err(failure) => {
            Output::new(shown).failure(&failure);
            failure.exit
        }
    }
}

/// Help and version go to standard output with 0, everything else to standard error with 2.
fn usage(error: &clap::Error) -> Exit {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A stream that is gone can be told nothing.
        let _ = error.print();
        return Exit(u8::try_from(error.exit_code()).unwrap_or(ExitCode::Usage.number()));
    }
    let words: Vec<_> = std::env::args_os().skip(1).take_while(|word| word != "--").collect();
    let json = words.iter().any(|word| word == "--json");
    let command = words.first().and_then(|word| word.to_str());
    let failure = misread(&error.to_string(), command);
    Output::new(Shown { json, ..Shown::default() }).failure(&failure);
    failure.exit
}

/// What clap says, in the words and the form of every other failure.
fn misread(text: &str, command: Option<&str>) -> Failure {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let headline = lines.next().unwrap_or("the command line cannot be read");
    let headline = headline.strip_prefix("error: ").unwrap_or(headline).trim_end_matches(':');
    let failure = lines.fold(Failure::usage(headline), Failure::detail);
    let known = command.filter(|name| GROUPS.iter().any(|(_, names)| names.contains(name)));
    failure.remedy("help", known.map_or("ark --help".into(), |name| format!("ark {name} --help")))
}

/// The whole command line, with the commands grouped in the help.
pub(crate) fn command() -> clap::Command {
    static HELP: OnceLock<String> = OnceLock::new();
    let command = Cli::command();
    let help = HELP.get_or_init(|| overview(&command));
    command.override_help(help.as_str())
}

fn overview(command: &clap::Command) -> String {
    let mut text = String::from(
        "Examples:\n  ark quickstart\n  ark deploy web -e production\n  ark status -e production\n\n\
         Usage: ark COMMAND     (ark COMMAND --help shows examples and options)\n",
    );
    let about = |name: &str| {
        let found = command.find_subcommand(name).and_then(clap::Command::get_about);
        found.map(ToString::to_string).unwrap_or_default()
    };
    for (group, names) in GROUPS {
        text.push_str(&format!("\n{group}\n"));
        for name in *names {
            text.push_str(&format!("  {name:<12} {}\n", about(name)));
        }
    }
    text
}

/// A runtime for a client: one thread is enough.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(ExitCode::Failed, "runtime", format!("no runtime can be started: {error}"))
    })?;
    let ended = runtime.block_on(future);
    // A thread that waits for standard input would otherwise keep the process alive.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_is_a_failure_like_any_other() {
        let text = "error: the following required arguments were not provided:\n  <NAME>\n\n\
                    Usage: ark env destroy <NAME>\n\nFor more information, try '--help'.\n";
        let failure = misread(text, Some("env"));
        assert_eq!(failure.exit.0, 2);
        assert_eq!(failure.headline, "the following required arguments were not provided");
        assert_eq!(failure.details, ["<NAME>", "Usage: ark env destroy <NAME>"]);
        assert_eq!(failure.remedies[0].command, "ark env --help");
        assert_eq!(misread("error: no\n", Some("deply")).remedies[0].command, "ark --help");
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_help_begins_with_examples_and_fits_a_screen() {
        let mut command = command();
        command.build();
        let mut seen = 0;
        for sub in command.get_subcommands_mut() {
            if sub.is_hide_set() {
                continue;
            }
            seen += 1;
            let name = sub.get_name().to_owned();
            let help = sub.render_help().to_string();
            let mut lines = help.lines();
            assert_eq!(lines.next(), Some("Examples:"), "{name}:\n{help}");
            let examples = lines.take_while(|line| line.starts_with("  ark ")).count();
            assert!((1..=3).contains(&examples), "{name} has {examples} examples");
            assert!(help.lines().count() <= 50, "{name} is too long:\n{help}");
        }
        assert_eq!(seen, GROUPS.iter().map(|(_, names)| names.len()).sum::<usize>());
    }
}
