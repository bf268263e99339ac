//! Secrets: readable with the right key in the right place, by nobody else, and never shown.

use std::os::unix::fs::PermissionsExt;

use ark_model::{AppName, EnvName};
use ark_store::{Keyring, SECRET_BYTES_MAX, Sealed, SecretError, SecretName, SecretValue};

fn names() -> (EnvName, AppName) {
    ("prod".parse().expect("a name"), "web".parse().expect("a name"))
}

#[test]
fn a_secret_opens_only_where_it_was_sealed() {
    let keyring = Keyring::ephemeral().expect("a key");
    let (env, app) = names();
    let (other_env, other_app) =
        ("dev".parse::<EnvName>().expect("a name"), "api".parse::<AppName>().expect("a name"));
    let place = SecretName { env: &env, app: &app, name: "PASSWORD", version: 3 };
    for text in ["", "hunter2", "grüße 🔑", &"x".repeat(SECRET_BYTES_MAX)] {
        let sealed = keyring.seal(place, &SecretValue::new(text.into())).expect("sealed");
        assert_eq!(keyring.open_sealed(place, &sealed).expect("opened").expose(), text);
        for elsewhere in [
            SecretName { env: &other_env, ..place },
            SecretName { app: &other_app, ..place },
            SecretName { name: "PASSWORD2", ..place },
            SecretName { version: 4, ..place },
        ] {
            let refused = keyring.open_sealed(elsewhere, &sealed);
            assert!(matches!(refused, Err(SecretError::Unreadable { .. })), "{elsewhere:?}");
        }
        let stranger = Keyring::ephemeral().expect("a key");
        assert!(stranger.open_sealed(place, &sealed).is_err());
    }
    let value = SecretValue::new("x".repeat(SECRET_BYTES_MAX + 1));
    assert!(matches!(keyring.seal(place, &value), Err(SecretError::TooLarge { .. })));
}

#[test]
fn a_changed_ciphertext_does_not_open() {
    let keyring = Keyring::ephemeral().expect("a key");
    let (env, app) = names();
    let place = SecretName { env: &env, app: &app, name: "PASSWORD", version: 3 };
    let sealed = keyring.seal(place, &SecretValue::new("hunter2".into())).expect("sealed");
    let again = keyring.seal(place, &SecretValue::new("hunter2".into())).expect("sealed");
    assert_ne!(sealed, again, "each has a nonce of its own");
    let text = String::from(sealed);
    for at in 0..text.len() / 2 {
        let mut bytes = hex::decode(&text).expect("hex");
        bytes[at] ^= 1;
        let changed = Sealed::try_from(hex::encode(&bytes)).expect("hex");
        assert!(keyring.open_sealed(place, &changed).is_err(), "byte {at}");
        let short = Sealed::try_from(hex::encode(&bytes[..at])).expect("hex");
        assert!(keyring.open_sealed(place, &short).is_err(), "cut at {at}");
    }
}

#[test]
fn nothing_shows_a_value() {
    let keyring = Keyring::ephemeral().expect("a key");
    let (env, app) = names();
    let place = SecretName { env: &env, app: &app, name: "PASSWORD", version: 3 };
    let value = SecretValue::new("hunter2".into());
    let sealed = keyring.seal(place, &value).expect("sealed");
    let json = serde_json::to_string(&sealed).expect("json");
    let error = keyring.open_sealed(SecretName { version: 4, ..place }, &sealed);
    let shown = format!("{value:?} {sealed:?} {keyring:?} {json} {error:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(&hex::encode("hunter2")), "{shown}");
}

#[test]
fn the_key_file_is_made_once_and_kept_from_others() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (env, app) = names();
    let place = SecretName { env: &env, app: &app, name: "PASSWORD", version: 1 };
    let data_dir = dir.path().join("data");
    let keyring = Keyring::open(&data_dir).expect("a new key");
    let sealed = keyring.seal(place, &SecretValue::new("hunter2".into())).expect("sealed");
    let reopened = Keyring::open(&data_dir).expect("the same key");
    assert_eq!(reopened.open_sealed(place, &sealed).expect("opened").expose(), "hunter2");

    let file = data_dir.join("master.key");
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).expect("the mode is set");
    };
    let found = std::fs::metadata(&file).expect("the file");
    assert_eq!((found.len(), found.permissions().mode() & 0o777), (32, 0o600));
    assert_eq!(std::fs::read_dir(&data_dir).expect("the folder").count(), 1, "nothing is left");
    for (bits, good) in [(0o640, false), (0o604, false), (0o620, false), (0o400, true)] {
        mode(bits);
        let opened = Keyring::open(&data_dir);
        let refused = matches!(opened, Err(SecretError::Readable { .. }));
        assert_eq!((opened.is_ok(), refused), (good, !good), "{bits:o}");
    }
    mode(0o600);
    for content in [Vec::new(), vec![1; 31], vec![1; 33]] {
        std::fs::write(&file, &content).expect("another key");
        let refused = Keyring::open(&data_dir);
        assert!(matches!(refused, Err(SecretError::NoKey { .. })), "{refused:?}");
        assert_eq!(std::fs::read(&file).expect("the file"), content, "it is never replaced");
    }
}
