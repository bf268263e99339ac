//! Whether a definition may be run, in the words of `ValidateStateMachineDefinition`. The judgement
//! is `ark_states`'s; here it gets the form that creates, updates and validations answer with.

use ark_model::workflow::MachineType;
use ark_states::validate::{Finding, MachineKind, refusal, validate, warnings};

use super::Workflows;
use super::error::{Refusal, WorkflowError};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It cannot be run.
    Error,
    /// It can, but hardly as meant.
    Warning,
}

impl Severity {
    /// The word of the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// AWS's code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where: `/States/A/Next`.
    pub location: Option<String>,
}

impl Workflows {
    /// All findings of a definition: the errors, then the warnings.
    pub fn judge_definition(&self, definition: &str, machine_type: MachineType) -> Vec<Diagnostic> {
        judge(definition, machine_type)
    }
}

fn judge(definition: &str, machine_type: MachineType) -> Vec<Diagnostic> {
    let told = |severity| {
        move |found: Finding| Diagnostic {
            severity,
            code: found.code,
            message: found.message,
            location: found.location,
        }
    };
    let errors = validate(definition, kind_of(machine_type)).into_iter();
    let warnings = warnings(definition).into_iter();
    errors.map(told(Severity::Error)).chain(warnings.map(told(Severity::Warning))).collect()
}

fn kind_of(machine_type: MachineType) -> MachineKind {
    match machine_type {
        MachineType::Standard => MachineKind::Standard,
        MachineType::Express => MachineKind::Express,
    }
}

/// Refuses a definition that cannot be run, with all its errors.
///
/// # Errors
/// `InvalidDefinition`.
pub(super) fn check(definition: &str, machine_type: MachineType) -> Result<(), WorkflowError> {
    match refusal(&validate(definition, kind_of(machine_type))) {
        None => Ok(()),
        Some(message) => Err(Refusal::InvalidDefinition.with(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_after_the_errors_and_refuse_nothing() {
        let pass = r#"{"Type":"Pass","Parameters":{"a":"$.b"},"End":true}"#;
        let sound = format!(r#"{{"StartAt":"A","States":{{"A":{pass}}}}}"#);
        let wrong = format!(r#"{{"StartAt":"B","States":{{"A":{pass}}}}}"#);
        let told = |text: &str| {
            let found = judge(text, MachineType::Standard);
            found.into_iter().map(|found| (found.severity, found.code)).collect::<Vec<_>>()
        };
        assert_eq!(told(&sound), [(Severity::Warning, "NO_DOLLAR")]);
        assert!(check(&sound, MachineType::Standard).is_ok());
        let found = told(&wrong);
        assert_eq!(found.first(), Some(&(Severity::Error, "MISSING_TRANSITION_TARGET")));
        assert_eq!(found.last(), Some(&(Severity::Warning, "NO_DOLLAR")));
        assert!(check(&wrong, MachineType::Standard).is_err());
    }
}
