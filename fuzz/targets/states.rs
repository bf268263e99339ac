//! Any bytes as a definition or as an expression of each language: an answer, the same one twice, never
//! a panic. The first byte says which.

#![no_main]

use ark_states::intrinsics::Call;
use ark_states::jsonata::Expression;
use ark_states::jsonpath::Path;
use ark_states::scope::{Context, Random, Scope, StatesBinding, Variables};
use ark_states::validate::{MachineKind, validate};
use ark_states::{Definition, Fuel, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let input = Value::parse(r#"{"a":[1,2.5,"x",null,{"b":{"c":"d"}}],"s":"t"}"#).expect("JSON");
    let build = || Value::Null;
    let context = Context::new(&build);
    let variables = Variables::default();
    let random = || Random::new(7);
    match which % 4 {
        0 => {
            let sound = validate(text, MachineKind::Standard).is_empty();
            assert!(!sound || Definition::parse(text).is_ok());
        }
        1 => {
            let Ok(expression) = Expression::parse(text) else { return };
            let answer = || {
                expression.eval(&StatesBinding {
                    input: &input,
                    result: None,
                    error_output: None,
                    context: &context,
                    variables: &variables,
                    random: &random(),
                    fuel: &Fuel::ample(),
                    now: Default::default(),
                })
            };
            assert_eq!(answer(), answer());
        }
        which => {
            let answer = || {
                let random = random();
                let scope = Scope {
                    input: &input,
                    context: &context,
                    variables: &variables,
                    random: &random,
                    fuel: &Fuel::ample(),
                };
                if which == 2 {
                    Path::parse(text).ok().map(|path| path.eval(&scope))
                } else {
                    Call::parse(text).ok().map(|call| call.eval(&scope))
                }
            };
            assert_eq!(answer(), answer());
        }
    }
});
