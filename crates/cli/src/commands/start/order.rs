//! Apps in the order in which they are started: each after all it depends on. A circle is named.

use std::collections::BTreeSet;

use ark_model::AppName;

use crate::failure::Failure;

/// The most apps one `start` brings up.
const APPS_MAX: usize = 500;

/// Orders `roots` and everything they need. `find` says what an app is and what it depends on; it
/// is asked once for each.
pub(crate) async fn order<T>(
    roots: &[AppName],
    mut find: impl AsyncFnMut(&AppName) -> Result<(T, Vec<AppName>), Failure>,
) -> Result<Vec<(AppName, T)>, Failure> {
    let mut ordered = Vec::new();
    let mut seen = BTreeSet::new();
    for root in roots {
        if !seen.insert(root.clone()) {
            continue;
        }
        let (source, needs) = find(root).await?;
        // What is being looked at, from the root down, each with what it still waits for.
        let mut path = vec![Step { app: root.clone(), source, needs: needs.into_iter() }];
        while let Some(step) = path.last_mut() {
            let Some(next) = step.needs.next() else {
                if let Some(step) = path.pop() {
                    ordered.push((step.app, step.source));
                }
                continue;
            };
            if let Some(at) = path.iter().position(|step| step.app == next) {
                let circle: Vec<String> =
                    path[at..].iter().map(|step| step.app.to_string()).collect();
                return Err(Failure::usage(format!(
                    "apps depend on each other in a circle: {} → {next}",
                    circle.join(" → ")
                )));
            }
            if seen.insert(next.clone()) {
                if seen.len() > APPS_MAX {
                    return Err(Failure::usage(format!("more than {APPS_MAX} apps to start")));
                }
                let (source, needs) = find(&next).await?;
                path.push(Step { app: next, source, needs: needs.into_iter() });
            }
        }
    }
    Ok(ordered)
}

struct Step<T> {
    app: AppName,
    source: T,
    needs: std::vec::IntoIter<AppName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn names(roots: &[&str], table: &[(&str, &[&str])]) -> Result<Vec<String>, String> {
        let parse = |names: &[&str]| -> Vec<AppName> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let find = async |app: &AppName| match table.iter().find(|(name, _)| *name == app.as_str())
        {
            Some((_, needs)) => Ok(((), parse(needs))),
            None => Err(Failure::usage(format!("{app} is unknown"))),
        };
        match order(&parse(roots), find).await {
            Ok(ordered) => Ok(ordered.into_iter().map(|(app, ())| app.to_string()).collect()),
            Err(failure) => Err(failure.headline),
        }
    }

    #[tokio::test]
    async fn dependencies_come_first_and_once() {
        let table: &[(&str, &[&str])] = &[
            ("web", &["api", "cache"]),
            ("api", &["db", "cache"]),
            ("cache", &[]),
            ("db", &[]),
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["b"]),
            ("self", &["self"]),
            ("lost", &["nowhere"]),
        ];
        for (roots, expect) in [
            (&["web"][..], Ok("db cache api web")),
            (&["cache", "web", "web"][..], Ok("cache db api web")),
            (&[][..], Ok("")),
            (&["a"][..], Err("apps depend on each other in a circle: b → c → b")),
            (&["self"][..], Err("apps depend on each other in a circle: self → self")),
            (&["lost"][..], Err("nowhere is unknown")),
        ] {
            let got = names(roots, table).await.map(|names| names.join(" "));
            assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{roots:?}");
        }
    }
}
