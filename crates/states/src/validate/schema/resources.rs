//! What a Task asks for: its resource, and the fields of the services that Ark serves itself.

use super::Check;
use crate::resource::Resource;
use crate::validate::MachineKind;
use crate::value::{Object, Value};

/// A service's request.
struct Request {
    service: &'static str,
    /// Without the way it is waited for.
    action: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const REQUESTS: [Request; 3] = [
    Request {
        service: "states",
        action: "startExecution",
        required: &["StateMachineArn"],
        optional: &["Input", "Name", "TraceHeader"],
    },
    Request {
        service: "lambda",
        action: "invoke",
        required: &["FunctionName"],
        optional: &[
            "ClientContext",
            "DurableExecutionName",
            "InvocationType",
            // Not in AWS's list of fields, but recorded to be taken.
            "LogType",
            "Payload",
            "Qualifier",
            "TenantId",
        ],
    },
    Request {
        service: "http",
        action: "invoke",
        required: &["ApiEndpoint", "Method"],
        optional: &[
            "Authentication",
            "Headers",
            "InvocationConfig",
            "QueryParameters",
            "RequestBody",
            "Transform",
        ],
    },
];

impl Check {
    /// A Task's `Resource`, and its parameters where they are written out.
    pub(super) fn resource(&mut self, resource: &str, state: &Object, jsonata: bool, place: &str) {
        if resource.is_empty() {
            self.say("Value is not a valid resource ARN", format!("{place}/Resource"));
            return;
        }
        self.request(resource, state, jsonata, place);
        if self.kind == MachineKind::Standard {
            return;
        }
        let place = format!("{place}/Resource");
        for pattern in [".waitForTaskToken", ".sync:2", ".sync"] {
            if resource.ends_with(pattern) {
                self.say(
                    format!(
                        "Express state machine does not support '{pattern}' service integration "
                    ),
                    place,
                );
                return;
            }
        }
        if resource.contains(":states:") && resource.contains(":activity:") {
            self.say("Express state machine does not support Activity ARN", place);
        }
    }

    fn request(&mut self, resource: &str, state: &Object, jsonata: bool, place: &str) {
        let Resource::Service { service, action, .. } = Resource::parse(resource) else { return };
        let action = action.split_once('.').map_or(&*action, |(action, _)| action);
        let known = REQUESTS.iter().find(|one| one.service == &*service && one.action == action);
        let Some(request) = known else { return };
        let field = if jsonata { "Arguments" } else { "Parameters" };
        // Without the field the input is the request; an expression may give anything.
        let Some(given) = state.get(field).and_then(Value::as_object) else { return };
        let place = format!("{place}/{field}");
        for key in given.keys() {
            let name = if jsonata { key } else { key.strip_suffix(".$").unwrap_or(key) };
            if !request.required.contains(&name) && !request.optional.contains(&name) {
                self.say(
                    format!("The field \"{name}\" is not supported by Step Functions"),
                    place.clone(),
                );
            }
        }
        self.required_fields(given, request.required, jsonata, &place);
    }

    /// Fields of a request that must be there, as values or, in JSONPath mode, as paths.
    pub(super) fn required_fields(
        &mut self,
        given: &Object,
        required: &[&str],
        jsonata: bool,
        place: &str,
    ) {
        for name in required {
            let there = given.contains_key(*name)
                || (!jsonata && given.contains_key(format!("{name}.$").as_str()));
            if !there {
                self.say(format!("The field '{name}' is required but was missing"), place);
            }
        }
    }
}
