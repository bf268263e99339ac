//! ARNs: how the wire names things. The account is fixed, the region is whatever the credentials of
//! the maker said; both are written back as stored and not looked at when something is found.

use std::fmt;

use super::error::{Refusal, WorkflowError};

/// The one account.
pub const ACCOUNT: &str = "000000000000";
/// The region where no credentials named one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// An ARN of the States service, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arn {
    /// Part of the text only.
    pub region: String,
    /// What it names.
    pub resource: Resource,
}

/// What an ARN names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// `stateMachine:NAME`.
    Machine {
        /// Its name.
        name: String,
    },
    /// `stateMachine:NAME:QUALIFIER`: a version (digits) or an alias.
    Qualified {
        /// The machine's name.
        name: String,
        /// The version's number or the alias's name.
        qualifier: String,
    },
    /// `stateMachine:NAME/LABEL`: the machine as a distributed Map state sees it.
    Labelled {
        /// The machine's name.
        name: String,
        /// The label of the Map state.
        label: String,
    },
    /// `activity:NAME`.
    Activity {
        /// Its name.
        name: String,
    },
    /// `execution:MACHINE:NAME`, or `execution:MACHINE/LABEL:NAME` for children of a map run.
    Execution {
        /// The machine's name.
        machine: String,
        /// The label of the Map state that started it.
        label: Option<String>,
        /// Its name.
        name: String,
    },
    /// `express:MACHINE:NAME:ID`.
    Express {
        /// The machine's name.
        machine: String,
        /// The name its starter gave.
        name: String,
        /// What tells it from others of the same name.
        id: String,
    },
    /// `mapRun:MACHINE/LABEL:UUID`.
    MapRun {
        /// The machine's name.
        machine: String,
        /// The label of the Map state.
        label: String,
        /// Its id.
        uuid: String,
    },
}

impl Arn {
    /// The ARN of something in a region.
    pub fn new(region: &str, resource: Resource) -> Self {
        Self { region: region.to_owned(), resource }
    }

    /// Takes an ARN apart.
    ///
    /// # Errors
    /// [`Refusal::InvalidArn`].
    pub fn parse(text: &str) -> Result<Self, WorkflowError> {
        parts(text).ok_or_else(|| {
            // The text comes back in the error: not more of it than an ARN may have.
            let shown: String = text.chars().take(256).collect();
            let why = if text.starts_with("arn:") { "Invalid ARN" } else { "Invalid ARN prefix" };
            Refusal::InvalidArn.with(format!("Invalid Arn: '{why}: {shown}'"))
        })
    }

    /// The refusal of an ARN of another kind than is asked for.
    pub fn wrong_kind(&self) -> WorkflowError {
        let kind = match &self.resource {
            Resource::Machine { .. } | Resource::Qualified { .. } | Resource::Labelled { .. } => {
                "stateMachine"
            }
            Resource::Activity { .. } => "activity",
            Resource::Execution { .. } => "execution",
            Resource::Express { .. } => "express",
            Resource::MapRun { .. } => "mapRun",
        };
        let message = format!("Invalid Arn: 'Resource type not valid in this context: {kind}'");
        Refusal::InvalidArn.with(message)
    }
}

fn parts(text: &str) -> Option<Arn> {
    if text.len() > 2_048 {
        return None;
    }
    let rest = text.strip_prefix("arn:")?;
    let mut fields = rest.splitn(5, ':');
    let _partition = fields.next().filter(|p| p.starts_with("aws"))?;
    fields.next().filter(|s| *s == "states")?;
    let region = fields.next()?.to_owned();
    let _account = fields.next()?;
    let (kind, rest) = fields.next()?.split_once(':')?;
    let labelled = |text: &str| match text.split_once('/') {
        Some((name, label)) => (name.to_owned(), Some(label.to_owned())),
        None => (text.to_owned(), None),
    };
    let resource = match kind {
        "stateMachine" => match (rest.split_once(':'), rest.split_once('/')) {
            (Some((name, qualifier)), None) => {
                Resource::Qualified { name: name.into(), qualifier: qualifier.into() }
            }
            (None, Some((name, label))) => {
                Resource::Labelled { name: name.into(), label: label.into() }
            }
            (None, None) => Resource::Machine { name: rest.into() },
            (Some(_), Some(_)) => return None,
        },
        "activity" => Resource::Activity { name: rest.into() },
        "execution" => {
            let (machine, name) = rest.split_once(':')?;
            let (machine, label) = labelled(machine);
            Resource::Execution { machine, label, name: name.into() }
        }
        "express" => {
            let (machine, rest) = rest.split_once(':')?;
            let (name, id) = rest.split_once(':')?;
            Resource::Express { machine: machine.into(), name: name.into(), id: id.into() }
        }
        "mapRun" => {
            let (machine, uuid) = rest.split_once(':')?;
            let (machine, label) = labelled(machine);
            Resource::MapRun { machine, label: label?, uuid: uuid.into() }
        }
        _ => return None,
    };
    let named = match &resource {
        Resource::Machine { name } | Resource::Activity { name } => [name.as_str(), "x"],
        Resource::Qualified { name, qualifier } => [name.as_str(), qualifier.as_str()],
        Resource::Labelled { name, label } => [name.as_str(), label.as_str()],
        Resource::Execution { machine, name, .. } => [machine.as_str(), name.as_str()],
        Resource::Express { machine, name, .. } => [machine.as_str(), name.as_str()],
        Resource::MapRun { machine, uuid, .. } => [machine.as_str(), uuid.as_str()],
    };
    named.iter().all(|n| super::names::is_valid(n)).then_some(Arn { region, resource })
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:aws:states:{}:{ACCOUNT}:", self.region)?;
        match &self.resource {
            Resource::Machine { name } => write!(f, "stateMachine:{name}"),
            Resource::Qualified { name, qualifier } => write!(f, "stateMachine:{name}:{qualifier}"),
            Resource::Labelled { name, label } => write!(f, "stateMachine:{name}/{label}"),
            Resource::Activity { name } => write!(f, "activity:{name}"),
            Resource::Execution { machine, label: None, name } => {
                write!(f, "execution:{machine}:{name}")
            }
            Resource::Execution { machine, label: Some(label), name } => {
                write!(f, "execution:{machine}/{label}:{name}")
            }
            Resource::Express { machine, name, id } => write!(f, "express:{machine}:{name}:{id}"),
            Resource::MapRun { machine, label, uuid } => {
                write!(f, "mapRun:{machine}/{label}:{uuid}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "arn:aws:states:eu-west-1:000000000000:stateMachine:m",
            "arn:aws:states:eu-west-1:000000000000:stateMachine:m:3",
            "arn:aws:states:eu-west-1:000000000000:stateMachine:m/label",
            "arn:aws:states:eu-west-1:000000000000:activity:env--a",
            "arn:aws:states:eu-west-1:000000000000:execution:m:e-1",
            "arn:aws:states:eu-west-1:000000000000:execution:m/label:e-1",
            "arn:aws:states:eu-west-1:000000000000:express:m:e:1",
            "arn:aws:states:eu-west-1:000000000000:mapRun:m/label:3f",
        ] {
            assert_eq!(Arn::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_arn_is_refused() {
        for text in [
            "",
            "arn",
            "arn:aws:lambda:r:1:function:f",
            "arn:aws:states:r:1:stateMachine:",
            "arn:aws:states:r:1:stateMachine:a b",
            "arn:aws:states:r:1:nothing:a",
            "arn:aws:states:r:1:execution:m",
            "arn:aws:states:r:1:mapRun:m:3f",
        ] {
            let refused = Arn::parse(text).expect_err(text);
            assert_eq!(refused.refusal(), Some(Refusal::InvalidArn));
        }
    }
}
