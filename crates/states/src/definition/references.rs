//! Which variables the states of a machine read: `variableReferences` of its description. Called by the
//! wire API; what a state sets is not asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    Catcher, Choice, ChoiceCondition, Definition, Items, Map, NumberField, PathField, State,
    StateKind, Template, TextField, TimeField, Wait,
};
use crate::jsonata;

/// Names of variables, without the `$`.
type Names = BTreeSet<Arc<str>>;

impl Definition {
    /// By the name of each state the variables that its fields read, names without the `$`. States that
    /// read none are left out.
    pub fn variable_references(&self) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
        let mut set = Names::new();
        self.states().for_each(|state| assigned(state, &mut set));
        let mut found = BTreeMap::new();
        for state in self.states() {
            let mut names = Names::new();
            let mut see = |name: &str| {
                // A function of the language is one unless the machine sets a variable of its name.
                if name != "states" && (!jsonata::is_function(name) || set.contains(name)) {
                    names.insert(name.into());
                }
            };
            of_state(state, &mut see);
            if !names.is_empty() {
                found.insert(state.name.clone(), names);
            }
        }
        found
    }
}

/// What a state, its rules and its catchers set.
fn assigned(state: &State, set: &mut Names) {
    let rules = match &state.kind {
        StateKind::Choice(choice) => choice.rules.as_slice(),
        _ => &[],
    };
    let assigns = [&state.assign].into_iter();
    let assigns = assigns.chain(rules.iter().map(|rule| &rule.assign));
    for assign in assigns.chain(state.catch.iter().map(|catcher| &catcher.assign)).flatten() {
        match assign {
            Template::Object(members) => set.extend(members.iter().map(|(name, _)| name.clone())),
            Template::Literal(value) => {
                set.extend(value.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
            }
            _ => {}
        }
    }
}

fn of_state(state: &State, see: &mut dyn FnMut(&str)) {
    for path in [&state.input_path, &state.output_path] {
        if let PathField::Path(path) = path {
            path.variables(see);
        }
    }
    for template in [&state.parameters, &state.result_selector, &state.output, &state.assign]
        .into_iter()
        .flatten()
    {
        of_template(template, see);
    }
    for Catcher { output, assign, .. } in &state.catch {
        for template in [output, assign].into_iter().flatten() {
            of_template(template, see);
        }
    }
    match &state.kind {
        StateKind::Pass(_) | StateKind::Succeed | StateKind::Parallel(_) => {}
        StateKind::Task(task) => {
            for number in [&task.timeout, &task.heartbeat].into_iter().flatten() {
                of_number(number, see);
            }
            if let Some(credentials) = &task.credentials {
                of_template(credentials, see);
            }
        }
        StateKind::Choice(choice) => of_choice(choice, see),
        StateKind::Wait(Wait::Seconds(number)) => of_number(number, see),
        StateKind::Wait(Wait::Timestamp(time)) => match time {
            TimeField::Literal(_) => {}
            TimeField::Path(path) => path.variables(see),
            TimeField::Expression(expression) => expression.variables(see),
        },
        StateKind::Fail(fail) => {
            for text in [&fail.error, &fail.cause].into_iter().flatten() {
                match text {
                    TextField::Literal(_) => {}
                    TextField::Path(path) => path.variables(see),
                    TextField::Call(call) => call.variables(see),
                    TextField::Expression(expression) => expression.variables(see),
                }
            }
        }
        StateKind::Map(map) => of_map(map, see),
    }
}

fn of_choice(choice: &Choice, see: &mut dyn FnMut(&str)) {
    for rule in &choice.rules {
        match &rule.condition {
            ChoiceCondition::Rule(condition) => condition.variables(see),
            ChoiceCondition::Expression(expression) => expression.variables(see),
            ChoiceCondition::Literal(_) => {}
        }
        for template in [&rule.assign, &rule.output].into_iter().flatten() {
            of_template(template, see);
        }
    }
}

fn of_map(map: &Map, see: &mut dyn FnMut(&str)) {
    match &map.items {
        Items::Input => {}
        Items::Path(path) => path.variables(see),
        Items::Template(template) => of_template(template, see),
    }
    let mut numbers =
        vec![&map.max_concurrency, &map.tolerated_failure_count, &map.tolerated_failure_percentage];
    let mut templates = vec![&map.selector];
    if let Some(reader) = &map.reader {
        numbers.push(&reader.max_items);
        templates.extend([&reader.parameters, &reader.config]);
    }
    if let Some(batcher) = &map.batcher {
        numbers.extend([&batcher.max_items, &batcher.max_bytes]);
        templates.push(&batcher.input);
    }
    if let Some(writer) = &map.writer {
        templates.push(&writer.parameters);
    }
    numbers.into_iter().flatten().for_each(|number| of_number(number, see));
    templates.into_iter().flatten().for_each(|template| of_template(template, see));
}

fn of_number(number: &NumberField, see: &mut dyn FnMut(&str)) {
    match number {
        NumberField::Literal(_) => {}
        NumberField::Path(path) => path.variables(see),
        NumberField::Expression(expression) => expression.variables(see),
    }
}

fn of_template(template: &Template, see: &mut dyn FnMut(&str)) {
    match template {
        Template::Literal(_) => {}
        Template::Object(members) => members.iter().for_each(|(_, part)| of_template(part, see)),
        Template::Array(parts) => parts.iter().for_each(|part| of_template(part, see)),
        Template::Path { path, .. } => path.variables(see),
        Template::Call { call } => call.variables(see),
        Template::Expression { expression, .. } => expression.variables(see),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The references of a machine with the state `S` and one before it that sets `a`, `b` and `sum`.
    #[track_caller]
    fn check(state: &str, expect: &[&str]) {
        let text = format!(
            r#"{{"StartAt":"A","States":{{"A":{{"Type":"Pass","Assign":{{"a":1,"b":2,"sum":3}},"Next":"S"}},
               "S":{state},"Z":{{"Type":"Succeed"}}}}}}"#
        );
        let definition = Definition::parse(&text).unwrap();
        let mut found = definition.variable_references();
        let names = found.remove("S").unwrap_or_default();
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), expect, "{state}");
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn references_of_paths_calls_and_rules() {
        check(
            r#"{"Type":"Pass","Parameters":{"x.$":"$.a","y.$":"$$.Execution.Id"},"End":true}"#,
            &[],
        );
        check(
            r#"{"Type":"Pass","InputPath":"$a","Parameters":{"x":[{"y.$":"$b.c[0]"}]},"Assign":{"n.$":"$a"},"End":true}"#,
            &["a", "b"],
        );
        check(
            r#"{"Type":"Pass","Parameters":{"x.$":"States.Format('{}', States.MathAdd($a, $sum))"},"End":true}"#,
            &["a", "sum"],
        );
        check(r#"{"Type":"Pass","Parameters":{"x.$":"$.l[?(@.n == $.m)]"},"End":true}"#, &[]);
        check(
            r#"{"Type":"Choice","Choices":[{"And":[{"Variable":"$a","IsPresent":true},
               {"Not":{"Variable":"$.x","NumericEqualsPath":"$b"}}],"Next":"Z"}]}"#,
            &["a", "b"],
        );
        check(r#"{"Type":"Wait","SecondsPath":"$a","End":true}"#, &["a"]);
        check(r#"{"Type":"Fail","CausePath":"States.Format('{}', $b)"}"#, &["b"]);
        check(
            r#"{"Type":"Map","MaxConcurrencyPath":"$a","ItemsPath":"$b","End":true,"ItemProcessor":
               {"StartAt":"I","States":{"I":{"Type":"Succeed"}}}}"#,
            &["a", "b"],
        );
    }

    #[test]
    fn references_of_expressions() {
        let jsonata = |output: &str| {
            format!(
                r#"{{"Type":"Pass","QueryLanguage":"JSONata","Output":"{{% {output} %}}","End":true}}"#
            )
        };
        for (output, expect) in [
            ("$states.input.x", &[][..]),
            ("$a + $count([$b])", &["a", "b"]),
            ("$sum([1])", &["sum"]),
            ("($x := $a; $x + 1)", &["a"]),
            ("($a := 1; $a)", &[]),
            ("[($a := 1; $a), $a]", &["a"]),
            ("$map($b, function($a) { $a + $n })", &["b", "n"]),
            ("$b[x = $a].y{ k: $n }", &["a", "b", "n"]),
            ("$states.input.l@$a.m#$b[$a.n = $b]", &[]),
            ("$states.input.l^(>$a)", &["a"]),
            ("$ ~> |x|{ 'y': $a }, $b|", &["a", "b"]),
            ("$a ? $b : $$", &["a", "b"]),
        ] {
            check(&jsonata(output), expect);
        }
    }
}
