//! Reading the processors of a consumer, or of a replay.

use crate::processors::{Outside, kind};
use crate::redact;
use serde_json::{Map, Value};
use sluice_model::body::Body;
use sluice_model::consumer::ProcessorSpec;
use sluice_model::problem::Code;

/// Processors of one consumer.
const PROCESSORS_MAX: usize = 16;

/// Reads processors out of a member of a body; faults are recorded. The code names the worst.
pub fn read_processors(
    body: &mut Body,
    name: &str,
    items: Vec<Value>,
    before: &[ProcessorSpec],
    outside: &Outside<'_>,
) -> (Vec<ProcessorSpec>, Option<Code>) {
    let mut special = None;
    let mut processors = Vec::with_capacity(items.len());
    if items.len() > PROCESSORS_MAX {
        body.invalid(name, format!("has at most {PROCESSORS_MAX} entries"));
        return (processors, special);
    }
    let list = body.pointer(name);
    for (index, item) in items.into_iter().enumerate() {
        let Value::Object(members) = item else {
            let mut part = Body::of(Map::new(), &list);
            part.mistyped(&index.to_string(), "an object", &item);
            body.absorb(part);
            continue;
        };
        let place = format!("{list}/{index}");
        let mut part = Body::of(members, &place);
        let processor_type = part.required_text("processor_type");
        let config = part.object("config").unwrap_or_default();
        // What was shown masked and comes back as it was shown is what it was.
        let config = redact::restore(config, before.iter().map(|spec| &spec.config));
        match kind(&processor_type) {
            Ok(kind) => {
                let mut inner = Body::of(config.clone(), &format!("{place}/config"));
                special = special.or(kind
                    .check(&mut inner, outside)
                    .filter(|c| *c != Code::Invalid));
                part.absorb(inner);
            }
            Err(_) if processor_type.is_empty() => {}
            Err(message) => {
                part.invalid("processor_type", message);
                special = special.or(Some(Code::UnknownProcessor));
            }
        }
        body.absorb(part);
        processors.push(ProcessorSpec {
            processor_type,
            config,
        });
    }
    (processors, special)
}
