//! Creating, changing, controlling and deleting consumers.

use super::noted;
use super::spec::{self, Draft, check_topics, locate};
use super::targets;
use crate::access::Caller;
use crate::context::Context;
use crate::manager::Turn;
use crate::routes::consumers::outside;
use crate::store::audit::NewChange;
use crate::store::consumers::{IdempotencyKey, Row};
use sluice_model::consumer::{Consumer, Desired, Processor, ProcessorSpec};
use sluice_model::problem::{Code, Problem};
use sluice_model::time::Timestamp;
use sluice_service::http::problem::Failure;
use sluice_service::now;

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The processors of a row: those that stay the same keep their identity and what they hold.
fn merge(specs: Vec<ProcessorSpec>, mut before: Vec<Processor>, at: Timestamp) -> Vec<Processor> {
    let place = |spec: ProcessorSpec| {
        let same =
            |p: &Processor| p.processor_type == spec.processor_type && p.config == spec.config;
        match before.iter().position(same) {
            Some(found) => before.remove(found),
            None => Processor {
                id: new_id(),
                processor_type: spec.processor_type,
                config: spec.config,
                created_at: at,
                updated_at: at,
            },
        }
    };
    specs.into_iter().map(place).collect()
}

/// Checks a draft against the clusters and the catalogue, and makes the row that would be stored.
///
/// # Errors
/// What is not configured, not active, or cannot start.
pub async fn prepare(context: &Context, caller: &Caller, draft: Draft) -> Result<Row, Failure> {
    caller.need_reach(&draft.topics, &draft.processors)?;
    let (cluster, address) = locate(context, &draft).await?;
    check_topics(context, &cluster, &draft.topics).await?;
    targets::check(context, None, &cluster, &draft.topics, &draft.processors).await?;
    if draft.auto_start && draft.processors.is_empty() {
        let message = "is true, but there are no processors to start with";
        return Err(Problem::invalid("/auto_start", message).into());
    }
    let owner = draft.owner.unwrap_or_else(|| caller.actor.account.clone());
    caller.may_own(&owner)?;
    let at = now();
    let row = Row {
        seq: 0,
        id: new_id(),
        cluster,
        broker_ip: address.host,
        broker_port: address.port,
        topics: draft.topics,
        consumer_group: draft.consumer_group,
        client_id: draft.client_id,
        auto_start: draft.auto_start,
        owner,
        desired: if draft.auto_start {
            Desired::Running
        } else {
            Desired::Stopped
        },
        generation: 1,
        processors: merge(draft.processors, Vec::new(), at),
        policies: draft.policies,
        created_at: at,
        updated_at: at,
    };
    super::probe::check(context, &row).await?;
    Ok(row)
}

/// Stores a prepared consumer and starts it if it should.
///
/// # Errors
/// When the registry is full or does not answer, or the idempotency key came with another body.
pub async fn create(
    context: &Context,
    caller: &Caller,
    row: Row,
    key: Option<IdempotencyKey>,
) -> Result<Consumer, Failure> {
    let row = context
        .store
        .create(row, key, noted("create", &caller.actor.account))
        .await?;
    if let Some(sharing) = context.manager.sharing()
        && context.manager.elsewhere(&row.id).await?.is_none()
    {
        sharing.adopt(&row.id, row.generation);
    }
    let turn = context.manager.turn(&row.id).await;
    context.manager.apply(&turn, &row).await;
    drop(turn);
    ask_for_dead_letters(context, &row).await;
    Ok(context.manager.present(&row))
}

/// Asks for the topics of a consumer's dead letters, and looks at what became of it.
async fn ask_for_dead_letters(context: &Context, row: &Row) {
    let topics = &context.dead_letter_topics;
    if topics.file(&row.topics, &row.id, &row.owner).await
        && let Err(reason) = context.follower.refresh().await
    {
        tracing::debug!(reason, "the catalogue is not refreshed");
    }
}

/// Changes what a consumer is; a running one goes on with the new specification. Nothing takes effect
/// before all of it is found good.
///
/// # Errors
/// What [`prepare`] refuses; 412 when it changed meanwhile.
pub async fn update(
    context: &Context,
    caller: &Caller,
    id: &str,
    body: &[u8],
    expected: Option<i64>,
    dry_run: bool,
) -> Result<Consumer, Failure> {
    // What the body leaves out stays as it is now: nobody else may change it until this is done.
    let turn = context.manager.turn(id).await;
    let before = context.store.consumer(id).await?;
    matches(&before, expected)?;
    let draft = spec::read(body, Some(Draft::of(&before)), &outside(context))?;
    let change = noted("update", &caller.actor.account);
    replace(context, caller, &turn, (before, draft), change, dry_run).await
}

/// Makes a consumer what it was at a revision.
///
/// # Errors
/// 404 when that revision is not kept; what [`prepare`] refuses now; 412 when it changed meanwhile.
pub async fn rollback(
    context: &Context,
    caller: &Caller,
    id: &str,
    revision: i64,
    expected: Option<i64>,
    dry_run: bool,
) -> Result<Consumer, Failure> {
    let turn = context.manager.turn(id).await;
    let before = context.store.consumer(id).await?;
    matches(&before, expected)?;
    let body = context.store.revision(id, revision).await?;
    let blank = Draft {
        client_id: None,
        ..Draft::of(&before)
    };
    let draft = spec::read(body.as_bytes(), Some(blank), &outside(context))?;
    let change = noted("rollback", &caller.actor.account);
    replace(context, caller, &turn, (before, draft), change, dry_run).await
}

/// Puts a draft in the place of what a consumer is. The caller has the turn.
async fn replace(
    context: &Context,
    caller: &Caller,
    turn: &Turn,
    (before, draft): (Row, Draft),
    change: NewChange,
    dry_run: bool,
) -> Result<Consumer, Failure> {
    let id = before.id.clone();
    caller.need_reach(&draft.topics, &draft.processors)?;
    let same_place = draft.cluster.as_deref() == Some(before.cluster.as_str())
        && draft
            .address
            .as_ref()
            .is_some_and(|a| a.host == before.broker_ip && a.port == before.broker_port);
    let (cluster, address) = if same_place {
        (
            before.cluster.clone(),
            draft.address.clone().unwrap_or_default(),
        )
    } else {
        locate(context, &draft).await?
    };
    if cluster != before.cluster || draft.topics != before.topics {
        check_topics(context, &cluster, &draft.topics).await?;
    }
    let (topics, processors) = (&draft.topics, &draft.processors);
    targets::check(context, Some(&id), &cluster, topics, processors).await?;
    let owner = draft.owner.clone().unwrap_or_else(|| before.owner.clone());
    if owner != before.owner {
        caller.may_own(&owner)?;
    }
    let (at, seen) = (change.at, before.generation);
    let wanted = Row {
        processors: merge(draft.processors.clone(), Vec::new(), at),
        ..before.clone()
    };
    super::probe::check(context, &wanted).await?;
    let edit = move |row: &mut Row| {
        matches(row, Some(seen))?;
        if row.desired != Desired::Stopped && draft.processors.is_empty() {
            return Err(
                Problem::new(Code::Conflict, "stop it before you take its last processor").into(),
            );
        }
        row.cluster = cluster;
        row.broker_ip = address.host;
        row.broker_port = address.port;
        row.topics = draft.topics;
        row.consumer_group = draft.consumer_group;
        row.client_id = draft.client_id;
        row.auto_start = draft.auto_start;
        row.owner = owner;
        row.policies = draft.policies;
        row.processors = merge(draft.processors, std::mem::take(&mut row.processors), at);
        Ok(())
    };
    if dry_run {
        let mut row = before;
        edit(&mut row)?;
        return Ok(context.manager.present(&row));
    }
    let row = context.store.change(&id, change, edit).await?;
    context.manager.apply(turn, &row).await;
    ask_for_dead_letters(context, &row).await;
    Ok(context.manager.shown(&row).await?)
}

/// Refuses a change of a consumer that is not the one the caller has seen.
///
/// # Errors
/// 412 with the current generation.
pub fn matches(row: &Row, expected: Option<i64>) -> Result<(), Failure> {
    match expected {
        Some(expected) if expected != row.generation => {
            let detail = format!(
                "it is at generation {} now, not {expected}; read it again",
                row.generation
            );
            Err(Problem::new(Code::StaleVersion, detail).into())
        }
        _ => Ok(()),
    }
}

/// What a user can tell a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read and write.
    Start,
    /// Leave the group.
    Stop,
    /// Stay in the group, read nothing.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Stop and start.
    Restart,
}

impl Verb {
    /// Reads the word of a path.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Start,
            Self::Stop,
            Self::Pause,
            Self::Resume,
            Self::Restart,
        ];
        all.into_iter().find(|verb| verb.as_str() == word)
    }

    /// The word of a path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }

    const fn desired(self) -> Desired {
        match self {
            Self::Start | Self::Resume | Self::Restart => Desired::Running,
            Self::Stop => Desired::Stopped,
            Self::Pause => Desired::Paused,
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Start => "Consumer started",
            Self::Stop => "Consumer stopped",
            Self::Pause => "Consumer paused",
            Self::Resume => "Consumer resumed",
            Self::Restart => "Consumer restarted",
        }
    }
}

/// Whether a consumer takes a verb, apart from its topics.
fn takes(row: &Row, verb: Verb) -> Result<(), Failure> {
    let conflict = |detail: &str| Err(Problem::new(Code::Conflict, detail).into());
    match verb {
        Verb::Stop => Ok(()),
        Verb::Pause if row.desired == Desired::Stopped => {
            conflict("it is stopped; only a started consumer can be paused")
        }
        Verb::Resume if row.desired == Desired::Stopped => {
            conflict("it is stopped; start it instead")
        }
        _ if row.processors.is_empty() => {
            conflict("it has no processors; give it some with PUT, then start it")
        }
        _ => Ok(()),
    }
}

/// Tells a consumer something, and answers when it is so: a stop has ended, a start is under way.
///
/// # Errors
/// 409 when it cannot do that now, with the way out; 412 when it changed meanwhile.
pub async fn control(
    context: &Context,
    caller: &Caller,
    id: &str,
    verb: Verb,
    expected: Option<i64>,
) -> Result<(String, Consumer), Failure> {
    if verb == Verb::Restart
        && let Some(place) = context.manager.elsewhere(id).await?
    {
        let detail = format!(
            "instance {} at {} runs it: restart it there",
            place.instance, place.url
        );
        return Err(Problem::new(Code::Unavailable, detail).into());
    }
    if matches!(verb, Verb::Stop | Verb::Restart) {
        // A retry or a drain in progress must not make the caller wait for its turn.
        matches(&context.store.consumer(id).await?, expected)?;
        context.manager.interrupt(id);
    }
    let turn = context.manager.turn(id).await;
    let before = context.store.consumer(id).await?;
    takes(&before, verb)?;
    if verb.desired() == Desired::Running && before.desired == Desired::Stopped {
        let startable = check_topics(context, &before.cluster, &before.topics).await;
        // One active topic of several is enough to start with.
        let some = before
            .topics
            .iter()
            .any(|topic| context.catalogue.now().is_active(topic));
        if let Err(refusal) = startable
            && !some
        {
            return Err(refusal);
        }
    }
    let edit = move |row: &mut Row| {
        matches(row, expected)?;
        row.desired = verb.desired();
        Ok(())
    };
    let change = noted(verb.as_str(), &caller.actor.account);
    let row = context.store.change(id, change, edit).await?;
    if verb == Verb::Restart {
        context.manager.halt(&turn, id).await;
    }
    context.manager.apply(&turn, &row).await;
    if verb.desired() == Desired::Running {
        context.manager.kick(id);
    }
    Ok((verb.done().to_owned(), context.manager.shown(&row).await?))
}

/// Stops and removes a consumer. What its sinks wrote stays.
///
/// # Errors
/// 404, or 412 when it changed meanwhile.
pub async fn delete(
    context: &Context,
    caller: &Caller,
    id: &str,
    expected: Option<i64>,
) -> Result<(), Failure> {
    matches(&context.store.consumer(id).await?, expected)?;
    context.manager.interrupt(id);
    let turn = context.manager.turn(id).await;
    let row = context.store.consumer(id).await?;
    matches(&row, expected)?;
    // First the worker: what it writes last would else be in its sink and committed nowhere.
    context.manager.halt(&turn, id).await;
    context
        .store
        .delete(id, noted("delete", &caller.actor.account))
        .await?;
    context.manager.forget(&turn, id).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_processor_that_stays_the_same_keeps_what_it_holds() {
        let spec = |path: &str| ProcessorSpec {
            processor_type: "file_sink".into(),
            config: json!({"file_path": path}).as_object().unwrap().clone(),
        };
        let at = Timestamp::from_millis(1);
        let before = merge(vec![spec("a"), spec("b")], Vec::new(), at);
        let after = merge(
            vec![spec("b"), spec("c")],
            before.clone(),
            Timestamp::from_millis(2),
        );
        assert_eq!(after[0], before[1]);
        assert!(before.iter().all(|old| old.id != after[1].id));
    }
}
