//! What people asked for: environments, apps, configuration, tokens, artifacts.

use std::collections::{BTreeMap, BTreeSet};

use ark_model::Sha256;
use ark_model::artifact::Artifact;
use ark_model::environment::EnvState;
use ark_store::{
    ConfigValue, DeploymentFilter, Keyring, ReadTx, SecretName, SecretValue, SessionKind, Store,
    StoreError, TokenRecord,
};

use super::samples::{
    app, app_state, at, content, deployment, env, environment, environments, instance, manifest,
    new_release, route, side, write,
};

pub(crate) async fn environments_are_created_listed_changed_and_deleted(store: &Store) {
    environments(store, &["prod", "dev"]).await;
    let again = store.write(|tx| tx.insert_environment(&environment("dev"))).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");

    let mut changed = environment("dev");
    changed.state = EnvState::Destroying;
    let expected = vec![changed.clone(), environment("prod")];
    write(store, move |tx| tx.put_environment(&changed)).await;
    let listed = store.read(ReadTx::environments).await.expect("the read succeeds");
    assert_eq!(listed, expected);

    write(store, |tx| tx.delete_environment(&env("dev"), at(1))).await;
    let gone = store.read(|tx| tx.environment(&env("dev"))).await.expect("the read succeeds");
    assert_eq!(gone, None);
    for missing in [
        store.write(|tx| tx.delete_environment(&env("dev"), at(2))).await,
        store.write(|tx| tx.put_environment(&environment("dev"))).await,
    ] {
        assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
    }
}

pub(crate) async fn deleting_an_environment_deletes_everything_in_it(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    for name in ["dev", "prod"] {
        let number = if name == "dev" { 1 } else { 2 };
        write(store, move |tx| {
            tx.put_app_state(&app_state(name, "web"))?;
            tx.insert_release(new_release(name, "web", "a"))?;
            tx.insert_deployment(&deployment(number, name, "web"))?;
            tx.insert_instance(&instance(number, name, "web"))?;
            tx.insert_config(&env(name), &app("web"), 0, &BTreeMap::new(), at(0), "ada")?;
            let line = ark_store::TrafficLine {
                route: route(name, "web", "http"),
                target: None,
                counted: side(5),
            };
            tx.apply_traffic(ark_model::BootId(super::samples::id(1)), &[line], at(0))?;
            Ok(())
        })
        .await;
    }
    write(store, |tx| tx.delete_environment(&env("dev"), at(1))).await;
    let check = |name: &'static str| {
        store.read(move |tx| {
            let (env, app) = (env(name), app("web"));
            let filter = DeploymentFilter { env: Some(env.clone()), app: None };
            Ok::<_, StoreError>([
                tx.app_states_of(&env)?.len(),
                tx.releases(&env, &app, None, 10)?.len(),
                tx.deployments(&filter, None, 10)?.len(),
                tx.instances_of(&env, &app, 10)?.len(),
                tx.config_history(&env, &app, None, 10)?.len(),
                usize::from(tx.traffic(&env, &app)?.routes.served == 5),
            ])
        })
    };
    assert_eq!(check("dev").await.expect("the read succeeds"), [0; 6]);
    assert_eq!(check("prod").await.expect("the read succeeds"), [1; 6]);

    // A new environment of that name begins anew.
    environments(store, &["dev"]).await;
    let first = write(store, |tx| tx.insert_release(new_release("dev", "web", "b"))).await;
    assert_eq!(first.into_release().number.0, 1);
}

pub(crate) async fn app_states_are_kept_by_environment(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    let mut scaled = app_state("dev", "web");
    scaled.scale = Some(3);
    let (first, second) = (app_state("dev", "web"), app_state("prod", "api"));
    let expected = vec![scaled.clone(), second.clone()];
    write(store, move |tx| {
        tx.put_app_state(&first)?;
        tx.put_app_state(&second)?;
        tx.put_app_state(&scaled)
    })
    .await;
    let (all, dev, none) = store
        .read(|tx| {
            Ok::<_, StoreError>((
                tx.app_states()?,
                tx.app_states_of(&env("dev"))?,
                tx.app_state(&env("dev"), &app("api"))?,
            ))
        })
        .await
        .expect("the read succeeds");
    assert_eq!(all, expected);
    assert_eq!(dev, expected[..1]);
    assert_eq!(none, None);
}

pub(crate) async fn each_change_of_an_app_has_a_number_of_its_own(store: &Store) {
    environments(store, &["dev", "prod"]).await;
    let changes = async |env_name: &'static str| {
        let found = store.read(move |tx| tx.app_changes(&env(env_name), None, "", 10)).await;
        let found = found.expect("the read succeeds").into_iter();
        found.map(|(app, change)| (app.to_string(), change)).collect::<Vec<_>>()
    };
    // What is recorded before anything is wanted of the app has no number.
    write(store, |tx| tx.insert_release(new_release("dev", "web", "a")).map(drop)).await;
    assert_eq!(changes("dev").await, []);
    write(store, |tx| {
        tx.put_app_state(&app_state("dev", "web"))?;
        tx.put_app_state(&app_state("dev", "api"))?;
        tx.put_app_state(&app_state("prod", "web"))
    })
    .await;
    let names: Vec<String> = changes("dev").await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["api", "web"]);
    let beyond = store.read(|tx| tx.app_changes(&env("dev"), Some(&app("api")), "", 1)).await;
    assert_eq!(beyond.expect("the read succeeds")[0].0, app("web"));

    let (api, elsewhere) = (changes("dev").await[0].clone(), changes("prod").await);
    let mut seen = vec![changes("dev").await[1].1];
    type Change = fn(&mut ark_store::WriteTx) -> Result<(), StoreError>;
    let all: [Change; 9] = [
        |tx| tx.put_app_state(&app_state("dev", "web")),
        |tx| tx.insert_release(new_release("dev", "web", "b")).map(drop),
        |tx| tx.insert_deployment(&deployment(1, "dev", "web")),
        |tx| tx.put_deployment(&deployment(1, "dev", "web"), ark_model::DeploymentState::Queued),
        |tx| tx.insert_instance(&instance(1, "dev", "web")),
        |tx| {
            let state = ark_model::InstanceState::Stopped;
            let stopped_at = Some(at(5));
            tx.put_instance(&ark_model::instance::InstanceRecord {
                state,
                stopped_at,
                ..instance(1, "dev", "web")
            })
        },
        |tx| tx.prune_instances(at(6), 10).map(drop),
        |tx| {
            let (none, before) = (BTreeSet::new(), ark_model::ReleaseNumber(2));
            tx.delete_releases_before(&env("dev"), &app("web"), before, &none).map(drop)
        },
        // The app is forgotten with its environment, and made again.
        |tx| {
            tx.insert_instance(&instance(2, "dev", "web"))?;
            tx.delete_environment(&env("dev"), at(1))?;
            tx.insert_environment(&environment("dev"))?;
            tx.put_app_state(&app_state("dev", "web"))
        },
    ];
    for (nr, change) in all.into_iter().enumerate() {
        let last = nr == all.len() - 1;
        if !last {
            assert_eq!(changes("dev").await[0], api, "change {nr} is not one of `api`");
        }
        write(store, change).await;
        let found = changes("dev").await;
        let (name, number) = found.last().expect("the app").clone();
        assert_eq!(name, "web");
        assert!(seen.iter().all(|earlier| *earlier < number), "change {nr}: {number} of {seen:?}");
        seen.push(number);
    }
    assert_eq!(changes("dev").await.len(), 1, "what was forgotten has no number");
    assert_eq!(changes("prod").await, elsewhere);

    // What was undone is no change.
    let before = changes("dev").await;
    let undone = store.write(|tx| {
        tx.put_app_state(&app_state("dev", "web"))?;
        Err::<(), _>(StoreError::Closed)
    });
    assert!(undone.await.is_err());
    assert_eq!(changes("dev").await, before);
}

pub(crate) async fn nothing_is_recorded_without_its_environment(store: &Store) {
    for result in [
        store.write(|tx| tx.put_app_state(&app_state("dev", "web"))).await,
        store.write(|tx| tx.insert_release(new_release("dev", "web", "a")).map(drop)).await,
        store.write(|tx| tx.insert_deployment(&deployment(1, "dev", "web"))).await,
        store.write(|tx| tx.insert_instance(&instance(1, "dev", "web"))).await,
        store
            .write(|tx| {
                let none = BTreeMap::new();
                tx.insert_config(&env("dev"), &app("web"), 0, &none, at(0), "ada").map(drop)
            })
            .await,
    ] {
        assert!(matches!(result, Err(StoreError::NotFound { .. })), "{result:?}");
    }
}

pub(crate) async fn configuration_versions_build_on_one_another(store: &Store) {
    environments(store, &["dev"]).await;
    let keyring = Keyring::ephemeral().expect("a key");
    let sealing = keyring.clone();
    let (env_name, app_name) = (env("dev"), app("web"));
    write(store, move |tx| {
        let base = tx.config(&env_name, &app_name)?;
        assert_eq!((base.version, base.values.len()), (0, 0));
        let place = SecretName { env: &env_name, app: &app_name, name: "PASSWORD", version: 1 };
        let sealed = sealing.seal(place, &SecretValue::new("hunter2".into())).expect("sealed");
        let values = BTreeMap::from([
            ("MODE".to_owned(), ConfigValue::Plain { value: "fast".into() }),
            ("PASSWORD".to_owned(), ConfigValue::Secret { version: 1, sealed }),
        ]);
        let summary = tx.insert_config(&env_name, &app_name, 0, &values, at(1), "ada")?;
        assert_eq!(Vec::from_iter(summary.set), ["MODE", "PASSWORD"]);
        Ok(())
    })
    .await;
    let summary = write(store, |tx| {
        let (env_name, app_name) = (env("dev"), app("web"));
        let mut base = tx.config(&env_name, &app_name)?;
        base.values.remove("MODE");
        base.values.insert("PORT".to_owned(), ConfigValue::Plain { value: "1".into() });
        tx.insert_config(&env_name, &app_name, base.version, &base.values, at(2), "bob")
    })
    .await;
    assert_eq!((summary.version, summary.by.as_str()), (2, "bob"));
    assert_eq!(Vec::from_iter(summary.set), ["PORT"]);
    assert_eq!(Vec::from_iter(summary.unset), ["MODE"]);

    let stale = store
        .write(|tx| tx.insert_config(&env("dev"), &app("web"), 1, &BTreeMap::new(), at(3), "eve"))
        .await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })), "{stale:?}");

    let (current, first, history) = store
        .read(|tx| {
            let (env, app) = (env("dev"), app("web"));
            Ok::<_, StoreError>((
                tx.config(&env, &app)?,
                tx.config_version(&env, &app, 1)?,
                tx.config_history(&env, &app, None, 10)?,
            ))
        })
        .await
        .expect("the read succeeds");
    assert_eq!(Vec::from_iter(current.values.keys()), ["PASSWORD", "PORT"]);
    assert_eq!(first.expect("version 1").values.len(), 2);
    assert_eq!(history.iter().map(|s| s.version).collect::<Vec<_>>(), [2, 1]);
    // A secret of an earlier version opens with the version in which it was set.
    let ConfigValue::Secret { version, sealed } = &current.values["PASSWORD"] else {
        panic!("the password is plain");
    };
    let (env_name, app_name) = (env("dev"), app("web"));
    let place = SecretName { env: &env_name, app: &app_name, name: "PASSWORD", version: *version };
    assert_eq!(keyring.open_sealed(place, sealed).expect("opened").expose(), "hunter2");
    assert!(!format!("{current:?}").contains("hunter2"));
}

pub(crate) async fn tokens_are_found_by_digest_until_revoked(store: &Store) {
    let token = |id: &str, name: &str| TokenRecord {
        id: id.into(),
        name: name.into(),
        digest: Sha256::of(id.as_bytes()),
        role: "admin".into(),
        created_at: at(0),
        created_by: "ark".into(),
        last_used_at: None,
        revoked_at: None,
        aws: None,
    };
    let (first, same_name, other) = (token("1", "ci"), token("2", "ci"), token("3", "me"));
    write(store, move |tx| tx.insert_token(&first).and_then(|()| tx.insert_token(&other))).await;
    let taken = store.write(move |tx| tx.insert_token(&same_name)).await;
    assert!(matches!(taken, Err(StoreError::Exists { .. })), "{taken:?}");

    write(store, |tx| tx.touch_token("1", at(10)).and_then(|()| tx.touch_token("1", at(20)))).await;
    write(store, |tx| tx.touch_token("3", at(10)).and_then(|()| tx.touch_token("3", at(80)))).await;
    write(store, |tx| tx.revoke_token("1", at(30)).and_then(|()| tx.revoke_token("1", at(40))))
        .await;
    let same_name = token("2", "ci");
    write(store, move |tx| tx.insert_token(&same_name)).await;
    let (revoked, listed) = store
        .read(|tx| Ok::<_, StoreError>((tx.token_by_digest(&Sha256::of(b"1"))?, tx.tokens()?)))
        .await
        .expect("the read succeeds");
    let revoked = revoked.expect("the token");
    assert_eq!((revoked.last_used_at, revoked.revoked_at), (Some(at(10)), Some(at(30))));
    let listed: Vec<_> = listed.iter().map(|t| (t.id.as_str(), t.last_used_at)).collect();
    assert_eq!(listed, [("1", Some(at(10))), ("2", None), ("3", Some(at(80)))]);
    assert_eq!(write(store, |tx| tx.prune_tokens(at(31))).await, 1);
    let unknown = store.write(|tx| tx.revoke_token("1", at(50))).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
}

pub(crate) async fn sessions_end_with_their_time_and_with_their_token(store: &Store) {
    let token = TokenRecord {
        id: "1".into(),
        name: "ana".into(),
        digest: Sha256::of(b"token"),
        role: "admin".into(),
        created_at: at(0),
        created_by: "ark".into(),
        last_used_at: None,
        revoked_at: None,
        aws: None,
    };
    let (session, link) = (Sha256::of(b"session"), Sha256::of(b"link"));
    write(store, move |tx| {
        tx.insert_token(&token)?;
        tx.insert_session(SessionKind::Session, &session, "1", at(0), at(100))?;
        tx.insert_session(SessionKind::Link, &link, "1", at(0), at(10))
    })
    .await;
    let holder = async |kind, digest, now| {
        let read = store.read(move |tx| tx.session_token(kind, &digest, at(now)));
        read.await.expect("the read succeeds").map(|token| token.name)
    };
    assert_eq!(holder(SessionKind::Session, session, 99).await.as_deref(), Some("ana"));
    assert_eq!(holder(SessionKind::Session, session, 100).await, None, "its time is over");
    assert_eq!(holder(SessionKind::Link, session, 1).await, None, "a session is no link");
    assert_eq!(holder(SessionKind::Session, link, 1).await, None, "a link is no session");
    assert!(write(store, move |tx| tx.end_session(SessionKind::Link, &link)).await);
    assert!(!write(store, move |tx| tx.end_session(SessionKind::Link, &link)).await);
    assert_eq!(holder(SessionKind::Link, link, 1).await, None, "it was used");
    write(store, |tx| tx.revoke_token("1", at(20))).await;
    assert_eq!(holder(SessionKind::Session, session, 30).await, None, "its token was revoked");
    assert_eq!(write(store, |tx| tx.prune_tokens(at(31))).await, 1);
    assert!(!write(store, move |tx| tx.end_session(SessionKind::Session, &session)).await);
}

pub(crate) async fn manifests_are_kept_while_a_release_names_them(store: &Store) {
    environments(store, &["dev"]).await;
    let (used, unused, recent) =
        (manifest("a", b"used"), manifest("b", b"unused"), manifest("c", b"recent"));
    let digest = used.digest();
    let expected = used.clone();
    write(store, move |tx| {
        tx.put_artifact(&unused, at(1))?;
        tx.put_artifact(&recent, at(9))?;
        let digest = tx.put_artifact(&used, at(1))?;
        let mut release = new_release("dev", "web", "a");
        release.content = content(Artifact::Directory { digest }, "a");
        tx.insert_release(release)
    })
    .await;
    assert_eq!(write(store, |tx| tx.prune_artifacts(at(5), 100)).await, 1);
    let (found, blobs) = store
        .read(move |tx| Ok::<_, StoreError>((tx.artifact(&digest)?, tx.named_blobs()?)))
        .await
        .expect("the read succeeds");
    assert_eq!(found.map(|record| record.manifest), Some(expected));
    assert_eq!(blobs, BTreeMap::from([(Sha256::of(b"used"), 4), (Sha256::of(b"recent"), 6)]));
}
