//! `/consumergroups/`: the groups that this service reads as.

use super::{flag, query};
use crate::access::Caller;
use crate::app::{blocking, kafka_problem, lag};
use crate::context::Context;
use actix_web::{HttpRequest, HttpResponse, web};
use rdkafka::consumer::Consumer as _;
use serde::Serialize;
use sluice_model::consumer::Status;
use sluice_model::problem::{Code, Problem};
use sluice_service::http::problem::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Registers the routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource(["/consumergroups", "/consumergroups/"]).route(web::get().to(list)))
        .service(
            web::resource([
                "/consumergroups/{group}/offsets",
                "/consumergroups/{group}/offsets/",
            ])
            .route(web::get().to(offsets)),
        );
}

/// One group.
#[derive(Default, Serialize, utoipa::ToSchema)]
pub(crate) struct Group {
    /// Its name.
    #[serde(rename = "group_id")]
    id: String,
    /// The topics that its consumers here read.
    topics: Vec<String>,
    /// The consumers here.
    consumers: Vec<Member>,
}

/// A consumer of a group.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Member {
    id: String,
    status: Status,
}

/// The groups of this service's consumers; with `all_groups` every group of the governed cluster.
#[utoipa::path(get, path = "/consumergroups/", tag = "groups", params(("all_groups" = Option<bool>, Query)),
    responses((status = 200, body = [Group]), (status = 503, body = Problem)))]
pub(crate) async fn list(
    context: web::Data<Context>,
    _caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    let [all] = query(&request, ["all_groups"])?;
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for row in context.store.all_consumers().await? {
        let group = groups.entry(row.consumer_group.clone()).or_default();
        group.consumers.push(Member {
            id: row.id.clone(),
            status: context.manager.look(&row).0.status,
        });
        for topic in row.topics {
            if !group.topics.contains(&topic) {
                group.topics.push(topic);
            }
        }
    }
    if flag("all_groups", all.as_deref())? {
        let cluster = Arc::clone(context.clusters.governed());
        let names = blocking(move || {
            let inspector = cluster.inspector().map_err(kafka_problem)?;
            let list = inspector.fetch_group_list(None, lag::ASK_TIMEOUT);
            let list = list.map_err(|error| kafka_problem(format!("the groups: {error}")))?;
            Ok(list
                .groups()
                .iter()
                .map(|group| group.name().to_owned())
                .collect::<Vec<_>>())
        });
        for name in names.await? {
            groups.entry(name).or_default();
        }
    }
    let groups = groups.into_iter().map(|(id, group)| Group { id, ..group });
    Ok(HttpResponse::Ok().json(groups.collect::<Vec<_>>()))
}

/// A committed offset of a group.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct GroupOffset {
    topic: String,
    partition: i32,
    /// The next offset that the group reads.
    current_offset: i64,
}

/// The committed offsets of a group of this service.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct GroupOffsets {
    group_id: String,
    offsets: Vec<GroupOffset>,
}

/// The committed offsets of a group.
#[utoipa::path(get, path = "/consumergroups/{group}/offsets/", tag = "groups", params(("group" = String, Path)),
    responses((status = 200, body = GroupOffsets), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn offsets(
    context: web::Data<Context>,
    _caller: Caller,
    group: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let group = group.into_inner();
    let rows = context.store.all_consumers().await?;
    let mut rows = rows.into_iter().filter(|row| row.consumer_group == group);
    let Some(first) = rows.next() else {
        let detail = format!("no consumer here reads as the group {group:?}");
        return Err(Problem::new(Code::NotFound, detail).into());
    };
    let cluster = crate::app::offsets::cluster_of(&context, &first)?;
    let mut topics = first.topics;
    topics.extend(rows.flat_map(|row| row.topics));
    topics.sort();
    topics.dedup();
    let name = group.clone();
    let found = blocking(move || {
        let list = lag::partitions(&cluster, &topics)?;
        lag::committed(&cluster, &name, list)
    });
    let offsets = found
        .await?
        .into_iter()
        .map(|((topic, partition), current_offset)| GroupOffset {
            topic,
            partition,
            current_offset,
        });
    Ok(HttpResponse::Ok().json(GroupOffsets {
        group_id: group,
        offsets: offsets.collect(),
    }))
}
