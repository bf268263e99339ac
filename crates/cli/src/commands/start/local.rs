//! `ark start -l`: an app in the foreground on this machine, with the environment's configuration
//! and the addresses of its dependencies. No instance, no deployment: a process of this shell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ark_model::api::{ResolvedVariable, VariablesQuery};
use ark_model::definition::Definition;
use ark_model::exit::ExitCode;
use ark_model::{AppName, EnvName};
use jiff::Zoned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::commands::deploy::judge;
use crate::context::{Context, here};
use crate::failure::{Ended, Exit, Failure};
use crate::launch;
use crate::output::Output;

/// Longer lines are cut in two.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// How long output is read after the process has ended: what it started may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What is run.
struct Plan {
    definition: Definition,
    folder: PathBuf,
}

pub(super) async fn run(context: &Context, env: &EnvName, app: &AppName) -> Ended {
    let plan = plan(context, app).await?;
    let Some((program, arguments)) =
        plan.definition.run.command.as_ref().and_then(|command| command.split_first())
    else {
        return Err(Failure::usage(format!(
            "{app} has no run.command, so there is nothing to run here"
        ))
        .remedy("name it in the launch file", "run: {command: [\"./web\"]}"));
    };
    let query = VariablesQuery { dependencies: Some(plan.definition.dependencies.join(",")) };
    let resolved = context.client.resolved(env, app, &query).await?;
    let shell: BTreeMap<String, String> = std::env::vars().collect();
    let ports = ports(&plan.definition)?;
    let variables = variables(&plan.definition, resolved.variables, &shell, &ports, env, app)?;
    for (name, port) in &ports {
        context.out.say(format!("{app}: {name} on http://127.0.0.1:{port}"));
    }
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&plan.folder)
        .envs(variables)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    run_to_end(context.out, command, program, app).await
}

/// The local launch file, else the newest release the server knows.
async fn plan(context: &Context, app: &AppName) -> Result<Plan, Failure> {
    let here = here()?;
    if let Some(found) = launch::find_of(app, &here.join(launch::FOLDER))? {
        let definition = judge(&found, context.out)?;
        return Ok(Plan { definition, folder: found.project() });
    }
    let release = match context.client.newest_release(app).await {
        Ok(release) => release,
        Err(failure) if failure.exit == ExitCode::NotFound.into() => {
            return Err(Failure::new(
                ExitCode::NotFound,
                "app-not-found",
                format!(
                    "{app} is unknown: {}/{app}.yml does not exist here, and the server knows no release of it",
                    launch::FOLDER
                ),
            ));
        }
        Err(failure) => return Err(failure),
    };
    let detail = context.client.release(&release.env, app, release.number).await?;
    let definition = serde_json::from_value(detail.definition).map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            "unexpected-answer",
            format!("the definition of {app}: {error}"),
        )
    })?;
    Ok(Plan { definition, folder: here })
}

/// A free port for each `expose` entry.
fn ports(definition: &Definition) -> Result<Vec<(String, u16)>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(ExitCode::Failed, "no-port", format!("no port can be had: {error}"))
    };
    // All are held until all are known, so that no two are the same.
    let mut held = Vec::new();
    for expose in &definition.expose {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        held.push((expose.name.clone(), listener));
    }
    let port = |(name, listener): (String, TcpListener)| {
        listener.local_addr().map(|address| (name, address.port())).map_err(failed)
    };
    held.into_iter().map(port).collect()
}

/// What is set over this shell's own environment. Of the names that the launch file asks for, one
/// that this shell has set keeps its value: `LOG_LEVEL=debug ark start -l` means that.
fn variables(
    definition: &Definition,
    resolved: Vec<ResolvedVariable>,
    shell: &BTreeMap<String, String>,
    ports: &[(String, u16)],
    env: &EnvName,
    app: &AppName,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut all: BTreeMap<String, String> = definition.env_defaults.clone();
    all.extend(resolved.into_iter().map(|variable| (variable.name, variable.value)));
    let declared: BTreeSet<&str> =
        definition.env.iter().chain(definition.env_defaults.keys()).map(String::as_str).collect();
    all.retain(|name, _| !(declared.contains(name.as_str()) && shell.contains_key(name)));
    let missing: Vec<&str> = definition
        .env
        .iter()
        .filter(|name| !all.contains_key(*name) && !shell.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(Failure::new(
            ExitCode::Refused,
            "missing-config",
            format!("refused: {env} does not define {} that {app} needs", values(missing.len())),
        )
        .detail(missing.join(", "))
        .remedy("set them", format!("ark config set -e {env} {app} {}=…", missing[0]))
        .remedy("or here", format!("{}=… ark start -l {app} -e {env}", missing[0])));
    }
    for (name, value) in [("_APP_NAME", app.as_str()), ("_DEPLOY_ENV", env.as_str())] {
        all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    for name in ["_POD_ID", "_POD_SHORTNAME"] {
        all.insert(name.to_owned(), "local".to_owned());
    }
    all.insert("_IS_LOCAL".to_owned(), "true".to_owned());
    for (index, (name, port)) in ports.iter().enumerate() {
        if index == 0 {
            all.insert("PORT".to_owned(), port.to_string());
        }
        let upper = name.to_uppercase().replace('-', "_");
        all.insert(format!("PORT_{upper}"), port.to_string());
    }
    Ok(all)
}

fn values(number: usize) -> String {
    crate::output::numbers::counted(number as u64, "value")
}

/// Runs it until it ends. ^C reaches it by the terminal; SIGTERM is passed on.
async fn run_to_end(out: Output, mut command: Command, program: &str, app: &AppName) -> Ended {
    let failed = |error: std::io::Error| {
        Failure::new(
            ExitCode::Failed,
            "not-started",
            format!("{program} cannot be started: {error}"),
        )
    };
    let signals = |kind| {
        signal(kind).map_err(|error| Failure::new(ExitCode::Failed, "signals", error.to_string()))
    };
    let (mut interrupt, mut terminate) =
        (signals(SignalKind::interrupt())?, signals(SignalKind::terminate())?);
    let mut child = command.spawn().map_err(failed)?;
    let stdout =
        child.stdout.take().map(|stream| tokio::spawn(copy(out, app.clone(), stream, false)));
    let stderr =
        child.stderr.take().map(|stream| tokio::spawn(copy(out, app.clone(), stream, true)));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(failed)?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
                if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                    // It may have ended in this moment, which the wait above will see.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        }
    };
    for reader in [stdout, stderr].into_iter().flatten() {
        // What is left after this time was not written by the process itself.
        let _ = timeout(LAST_WORDS, reader).await;
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(Exit(u8::try_from(code).unwrap_or(1)))
}

async fn copy(out: Output, app: AppName, stream: impl AsyncRead + Unpin, errors: bool) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_BYTES_MAX);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = format_line(&Zoned::now(), &app, text.trim_end_matches(['\n', '\r']));
        if errors {
            out.warn(text);
        } else {
            out.line(text);
        }
    }
}

/// `Thu 18:02:51.854 web/local> text`.
fn format_line(at: &Zoned, app: &AppName, text: &str) -> String {
    format!("{} {app}/local> {}", at.strftime("%a %H:%M:%S.%3f"), pretty(text))
}

/// A JSON log line as `{ source.title=web.started  port:8080 }`; anything else as it is.
fn pretty(text: &str) -> String {
    let Ok(serde_json::Value::Object(map)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    let word = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut parts = Vec::new();
    let name: Vec<String> =
        ["source", "title"].iter().filter_map(|k| map.get(*k)).map(word).collect();
    if !name.is_empty() {
        parts.push(format!("source.title={}", name.join(".")));
    }
    let rest = map.iter().filter(|(key, _)| !matches!(key.as_str(), "source" | "title"));
    let rest: Vec<String> = rest.map(|(key, value)| format!("{key}:{}", word(value))).collect();
    if !rest.is_empty() {
        parts.push(rest.join(" "));
    }
    format!("{{ {} }}", parts.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::api::VariableSource;
    use ark_model::definition::{LaunchFile, parse};

    fn definition(text: &str) -> Definition {
        match parse("web.yml", text.as_bytes()).launch {
            Some(LaunchFile::App(definition)) => *definition,
            other => panic!("{other:?}"),
        }
    }

    fn resolved(pairs: &[(&str, &str)]) -> Vec<ResolvedVariable> {
        let variable = |(name, value): &(&str, &str)| ResolvedVariable {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            source: VariableSource::Config,
            secret: false,
        };
        pairs.iter().map(variable).collect()
    }

    #[test]
    fn the_shell_stands_over_what_the_launch_file_names_and_nothing_else() {
        let definition = definition("env: [LEVEL, URL]\nenv_defaults: {MODE: fast}\n");
        let shell = [("LEVEL", "debug"), ("PATH", "/bin"), ("MODE", "slow")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into();
        let (env, app) = ("staging".parse().unwrap(), "web".parse().unwrap());
        let ports = [("default".to_owned(), 8080), ("pprof".to_owned(), 6060)];
        let given = resolved(&[("LEVEL", "info"), ("URL", "x"), ("PATH", "/opt")]);
        let all = variables(&definition, given, &shell, &ports, &env, &app).unwrap();
        assert_eq!(all.get("LEVEL"), None, "the shell's own value is inherited");
        assert_eq!(all.get("MODE"), None);
        assert_eq!(all["URL"], "x");
        assert_eq!(all["PATH"], "/opt", "a name the launch file does not declare");
        assert_eq!((all["PORT"].as_str(), all["PORT_PPROF"].as_str()), ("8080", "6060"));
        assert_eq!((all["_APP_NAME"].as_str(), all["_DEPLOY_ENV"].as_str()), ("web", "staging"));
        let failure =
            variables(&definition, Vec::new(), &BTreeMap::new(), &ports, &env, &app).unwrap_err();
        assert_eq!(failure.exit.0, 7);
        assert_eq!(failure.details, ["LEVEL, URL"]);
    }

    #[test]
    fn lines_look_as_they_always_did() {
        let at: Zoned = "2026-05-07T18:02:51.854[UTC]".parse().unwrap();
        let app = "flarebot".parse().unwrap();
        for (text, expect) in [
            ("hello", "Thu 18:02:51.854 flarebot/local> hello"),
            (
                r#"{"source":"flarebot","title":"lag","level":"info","ms":3}"#,
                "Thu 18:02:51.854 flarebot/local> { source.title=flarebot.lag  level:info ms:3 }",
            ),
            ("{not json", "Thu 18:02:51.854 flarebot/local> {not json"),
        ] {
            assert_eq!(format_line(&at, &app, text), expect);
        }
    }
}
