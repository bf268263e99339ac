//! Where the server is and which token it takes: flags, variables, then the data directory.
//!
//! `ark up` leaves `server.json` in its data directory. A token that was found there is sent to
//! that server only, so that a mistyped `--server` never receives an administrator's token.

use std::path::{Path, PathBuf};

use ark_model::exit::ExitCode;
use ark_server::ServerFile;
use ark_server::roles::SERVER_FILE;

use crate::failure::Failure;

/// How to reach the server: taken by every command that speaks to it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Address of the server [default: the one of the data directory]
    #[arg(long, global = true, env = "ARK_SERVER", value_name = "URL", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// Token [default: the one of the data directory]
    #[arg(long, global = true, env = "ARK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Data directory of a server on this machine [default: ARK_DATA_DIR, else the one of ark up]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// A server with a token for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) server: String,
    pub(crate) token: String,
    /// The data directory it was found by.
    pub(crate) data_dir: Option<PathBuf>,
}

/// Where `ark up` leaves word for its clients.
pub(crate) fn server_file(dir: &Path) -> PathBuf {
    dir.join(SERVER_FILE)
}

impl Connection {
    /// The data directory in question.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        self.data_dir.clone().map_or_else(default_data_dir, Ok)
    }

    /// Looks everything up.
    pub(crate) fn find(&self) -> Result<Found, Failure> {
        let dir = self.data_dir();
        let Some(server) = self.server.clone().filter(|server| !server.is_empty()) else {
            let dir = dir?;
            let file = read_server_file(&dir)?;
            let token = match self.given_token() {
                Some(token) => token,
                None => read_token(&file.token_file)?,
            };
            return Ok(Found { server: file.api, token, data_dir: Some(dir) });
        };
        check_url(&server)?;
        let token = match self.given_token() {
            Some(token) => token,
            None => self.token_for(&server, dir.ok().as_deref())?,
        };
        Ok(Found { server, token, data_dir: None })
    }

    fn given_token(&self) -> Option<String> {
        self.token.as_deref().map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned)
    }

    fn token_for(&self, server: &str, dir: Option<&Path>) -> Result<String, Failure> {
        let file = dir.and_then(|dir| read_server_file(dir).ok());
        let asked_for = self.data_dir.is_some();
        match file {
            Some(file) if asked_for || same_server(server, &file.api) => {
                read_token(&file.token_file)
            }
            _ => Err(Failure::new(
                ExitCode::Refused,
                "no-token",
                format!("no token is known for {server}"),
            )
            .remedy("give one", "--token TOKEN, or ARK_TOKEN")),
        }
    }
}

/// `ARK_DATA_DIR`; else `/var/lib/ark` for root and the user's own data folder for others.
pub(crate) fn default_data_dir() -> Result<PathBuf, Failure> {
    match std::env::var_os("ARK_DATA_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => standard_data_dir(),
    }
}

fn standard_data_dir() -> Result<PathBuf, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/ark"));
    }
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("ark"))
        .ok_or_else(|| {
            Failure::usage("no data directory: HOME is not set")
                .remedy("name one", "--data-dir DIR, or ARK_DATA_DIR")
        })
}

/// Reads what `ark up` wrote.
pub(crate) fn read_server_file(dir: &Path) -> Result<ServerFile, Failure> {
    let path = server_file(dir);
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            ExitCode::Failed,
            "no-server",
            format!("no server runs here: {} does not exist", path.display()),
        )
        .remedy("start one", up_command(dir))
        .remedy("or use another", "--server URL --token TOKEN"),
        _ => Failure::file(&path, "read", &error),
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            "no-server",
            format!("{} is damaged: {error}", path.display()),
        )
        .remedy("write it again", up_command(dir))
    })
}

/// The command that starts the server of this directory.
pub(crate) fn up_command(dir: &Path) -> String {
    match standard_data_dir() {
        Ok(standard) if standard == dir => "ark up".to_owned(),
        _ => format!("ark up --data-dir {}", dir.display()),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let failure = Failure::file(path, "read", &error);
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Failure {
                exit: ExitCode::Refused.into(),
                ..failure.detail("the token of this server belongs to the user who started it")
            },
            _ => failure,
        }
        .remedy("give a token", "--token TOKEN, or ARK_TOKEN")
    })?;
    Ok(text.trim().to_owned())
}

fn check_url(server: &str) -> Result<(), Failure> {
    match reqwest::Url::parse(server) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => Err(Failure::usage(format!(
            "`{server}` is not the address of a server; it looks like http://127.0.0.1:7070"
        ))),
    }
}

/// Whether the address is this machine's own.
pub(crate) fn is_loopback(server: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(server) else { return false };
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn same_server(one: &str, other: &str) -> bool {
    let port =
        |text: &str| reqwest::Url::parse(text).ok().and_then(|url| url.port_or_known_default());
    let equal = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    equal(one, other)
        || (is_loopback(one)
            && is_loopback(other)
            && port(one).is_some()
            && port(one) == port(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_server(api: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "secret\n").unwrap();
        let file = ServerFile {
            api: api.to_owned(),
            workflow_manager: None,
            http: None,
            https: None,
            token_file,
            pid: 1,
            gateway_pid: None,
        };
        std::fs::write(dir.path().join(SERVER_FILE), serde_json::to_vec(&file).unwrap()).unwrap();
        dir
    }

    #[test]
    fn flags_stand_over_the_data_directory() {
        let dir = with_server("http://127.0.0.1:7070");
        let connection = |server: Option<&str>, token: Option<&str>| Connection {
            server: server.map(str::to_owned),
            token: token.map(str::to_owned),
            data_dir: Some(dir.path().to_owned()),
        };
        let found = connection(None, None).find().unwrap();
        assert_eq!(
            (found.server.as_str(), found.token.as_str()),
            ("http://127.0.0.1:7070", "secret")
        );
        assert_eq!(connection(None, Some("t")).find().unwrap().token, "t");
        let found = connection(Some("http://10.0.0.1:7070"), Some("t")).find().unwrap();
        assert_eq!((found.server.as_str(), found.token.as_str()), ("http://10.0.0.1:7070", "t"));
        assert_eq!(connection(Some("7070"), Some("t")).find().unwrap_err().exit.0, 2);
    }

    #[test]
    fn a_missing_server_says_how_to_start_one() {
        let dir = tempfile::tempdir().unwrap();
        let connection =
            Connection { data_dir: Some(dir.path().to_owned()), ..Connection::default() };
        let failure = connection.find().unwrap_err();
        assert_eq!(failure.exit.0, 1);
        assert!(failure.remedies[0].command.starts_with("ark up --data-dir"), "{failure:?}");
    }

    #[test]
    fn a_found_token_goes_to_its_own_server_only() {
        for (one, other, same) in [
            ("http://127.0.0.1:7070", "http://127.0.0.1:7070/", true),
            ("http://localhost:7070", "http://127.0.0.1:7070", true),
            ("http://[::1]:7070", "http://127.0.0.1:7070", true),
            ("http://127.0.0.1:7071", "http://127.0.0.1:7070", false),
            ("http://10.0.0.1:7070", "http://127.0.0.1:7070", false),
            ("http://localhost.evil.test:7070", "http://127.0.0.1:7070", false),
        ] {
            assert_eq!(same_server(one, other), same, "{one} {other}");
        }
    }
}
