//! The OpenAPI document of every route.

use crate::routes::{consumers, control, groups, recovery, revisions, stream, topics};
use sluice_service::http::openapi::Common;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

#[derive(OpenApi)]
#[openapi(
    info(title = "Sluice consumer API", description = "Managed consumers, processors and the live tail."),
    paths(
        consumers::create, consumers::list, consumers::get, consumers::put, consumers::delete,
        consumers::processors, consumers::audit,
        recovery::list, recovery::send_again, recovery::replay, recovery::replays,
        recovery::one_replay, recovery::cancel_replay,
        revisions::revisions, revisions::rollback, revisions::instances,
        control::verbs, control::status, control::lag, control::move_offsets,
        groups::list, groups::offsets,
        topics::active, topics::records, stream::stream, stream::stream_socket
    ),
    modifiers(&Common)
)]
struct Api;

/// The document.
pub fn document() -> Document {
    Api::openapi()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_has_every_path_and_no_dangling_reference() {
        let document = serde_json::to_value(super::document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for path in [
            "/consumers/",
            "/consumers/{id}/",
            "/consumers/{id}/status/",
            "/stream",
            "/processors/",
        ] {
            assert!(paths.contains_key(path), "{path}");
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{name}"
            );
        }
    }
}
