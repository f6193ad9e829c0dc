use super::activity::AuditLine;
use super::{Held, activity};
use crate::bits::{Badge, When};
use crate::page::{Shell, Viewer, render};
use activity::{HeldLine, held_lines};
use askama::Template;
use sluice_model::access::Role;
use sluice_model::audit::AuditRow;
use sluice_model::lifecycle::State;
use sluice_model::producer::ProducerSeen;
use sluice_model::request::{Kind, Request};
use sluice_model::topic::Topic;
use sluice_model::usage::Fence;

/// What the page of one topic shows.
#[derive(Clone, Copy, Debug)]
pub struct TopicPage<'a> {
    /// The topic.
    pub topic: &'a Topic,
    /// Its audit rows, newest first.
    pub audit: &'a [AuditRow],
    /// The last heartbeats of all producers.
    pub producers: &'a [ProducerSeen],
    /// Its open request, if any.
    pub request: Option<&'a Request>,
    /// How its fence stands, if it has one.
    pub fence: Option<&'a Fence>,
}

#[derive(Debug, Template)]
#[template(path = "admin/topic.html")]
struct Page<'a> {
    shell: Shell<'a>,
    topic: &'a Topic,
    badge: Badge,
    summary: &'static str,
    steps: Vec<Step>,
    created: When,
    next_try: When,
    purge: When,
    purge_exact: When,
    held: Option<String>,
    producers: Vec<(&'a str, HeldLine<'a>)>,
    audit: Vec<AuditLine>,
    request: Option<&'a Request>,
    fence: Option<&'a Fence>,
    actions: Actions,
}

/// One station of the lifecycle.
#[derive(Debug)]
struct Step {
    word: &'static str,
    class: &'static str,
    at: When,
}

/// What the viewer can do now; the service decides again when the form arrives.
#[derive(Clone, Copy, Debug, Default)]
struct Actions {
    decide: bool,
    own: bool,
    cancel: bool,
    deactivate: bool,
    reactivate: bool,
    delete: bool,
    change: bool,
    protect: bool,
    unprotect: bool,
    /// Something could be done by somebody with this role.
    needs: Option<&'static str>,
}

impl Actions {
    const fn any(&self) -> bool {
        self.decide
            || self.own
            || self.cancel
            || self.deactivate
            || self.reactivate
            || self.delete
            || self.change
            || self.protect
            || self.unprotect
    }
}

/// The page at `/ui/topics/{id}`.
pub fn topic(viewer: &Viewer, data: &TopicPage<'_>) -> String {
    let topic = data.topic;
    let name = topic.topic_name.as_str();
    let producers = data.producers.iter().flat_map(|seen| {
        held_lines(seen)
            .filter(|line| line.topic == name)
            .map(|line| (seen.heartbeat.instance.as_str(), line))
    });
    render(&Page {
        shell: Shell::new(viewer, "/ui/topics", name),
        topic,
        badge: topic.status.into(),
        summary: summary(topic),
        steps: steps(topic),
        created: When::exact(topic.created_at),
        next_try: When::ago(topic.next_attempt_at, viewer.now),
        purge: When::ago(topic.purge_after, viewer.now),
        purge_exact: When::exact(topic.purge_after),
        held: Held::of(name, data.producers).words(),
        producers: producers.collect(),
        audit: data
            .audit
            .iter()
            .map(|row| AuditLine::new(row, viewer.now))
            .collect(),
        request: data.request,
        fence: data.fence,
        actions: actions(viewer, topic, data.request),
    })
}

/// What the state means for records, in one sentence.
fn summary(topic: &Topic) -> &'static str {
    match topic.status {
        State::Pending => "Waits for a decision. Producers hold its records, in order and on disk.",
        State::Approved => {
            "Approved; it is being created in Kafka. Producers still hold its records."
        }
        State::Active => "Kafka serves it: producers send, consumers read.",
        State::Inactive if topic.purge_started_at.is_some() => {
            "Fenced; its deletion from Kafka has begun. There is no way back."
        }
        State::Inactive if topic.purge_after.is_some() => {
            "Fenced; its deletion is approved and scheduled. Reactivating calls it off."
        }
        State::Inactive => "Fenced: producers hold, consumers drain. Kafka keeps its data.",
        State::Deleted => "Removed from Kafka with its data. The name can be asked for again.",
        State::Rejected => {
            "Refused. Producers refuse its records; the name can be asked for again."
        }
        State::Withdrawn => "Withdrawn before it existed. The name can be asked for again.",
        State::Expired => "Nobody decided in time. The name can be asked for again.",
    }
}

fn steps(topic: &Topic) -> Vec<Step> {
    let step = |word, at: Option<_>, now: bool| Step {
        word,
        class: match (now, at.is_some()) {
            (true, _) => "now",
            (false, true) => "done",
            (false, false) => "later",
        },
        at: When::exact(at),
    };
    let status = topic.status;
    let mut steps = vec![step(
        "requested",
        Some(topic.created_at),
        status == State::Pending,
    )];
    if matches!(status, State::Rejected | State::Withdrawn | State::Expired) {
        if topic.approved_at.is_some() {
            steps.push(step("approved", topic.approved_at, false));
        }
        steps.push(step(status.as_str(), topic.ended_at, true));
        return steps;
    }
    steps.push(step(
        "approved",
        topic.approved_at,
        status == State::Approved,
    ));
    steps.push(step("active", topic.activated_at, status == State::Active));
    if matches!(status, State::Inactive | State::Deleted) {
        steps.push(step(
            "inactive",
            topic.deactivated_at,
            status == State::Inactive,
        ));
        steps.push(step("deleted", topic.ended_at, status == State::Deleted));
    }
    steps
}

fn actions(viewer: &Viewer, topic: &Topic, request: Option<&Request>) -> Actions {
    let approver = viewer.may(Role::Approver);
    let reversible = topic.status == State::Inactive && topic.purge_started_at.is_none();
    let delete_asked = request.is_some_and(|request| request.kind == Kind::Delete);
    let deletable =
        reversible && !topic.never_delete && topic.purge_after.is_none() && !delete_asked;
    let decidable = !topic.status.is_ended() && topic.purge_started_at.is_none();
    Actions {
        decide: approver && request.is_some(),
        own: request.is_some_and(|request| request.requested_by == viewer.actor.account),
        cancel: approver && topic.status == State::Approved,
        deactivate: approver && topic.status == State::Active,
        reactivate: approver && reversible,
        delete: viewer.may(Role::Producer) && deletable,
        change: viewer.may(Role::Producer)
            && (reversible || topic.status == State::Active)
            && topic.change_request_id.is_none()
            && request.is_none(),
        protect: viewer.may(Role::Admin) && decidable && !topic.never_delete,
        unprotect: viewer.may(Role::Admin) && decidable && topic.never_delete,
        needs: (!approver && decidable).then_some("approver"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::{sample_topic, viewer};
    use sluice_model::lifecycle::STATES;

    #[test]
    fn buttons_are_those_that_the_state_and_the_roles_allow() {
        let approver = viewer(&[Role::Approver]);
        let asker = viewer(&[Role::Producer]);
        for state in STATES {
            let topic = Topic {
                status: state,
                ..sample_topic("orders")
            };
            let can = actions(&approver, &topic, None);
            assert_eq!(can.cancel, state == State::Approved);
            assert_eq!(can.deactivate, state == State::Active);
            assert_eq!(can.reactivate, state == State::Inactive);
            assert!(!can.delete && can.needs.is_none());
            let can = actions(&asker, &topic, None);
            assert_eq!(can.delete, state == State::Inactive);
            assert_eq!(can.change, matches!(state, State::Active | State::Inactive));
            assert!(!can.deactivate && !can.reactivate && !can.cancel);
            assert_eq!(can.needs.is_some(), !state.is_ended());
        }
    }

    #[test]
    fn only_admins_put_the_label_on_what_has_not_ended_and_take_it_away() {
        for state in STATES {
            for never_delete in [false, true] {
                let topic = Topic {
                    status: state,
                    never_delete,
                    ..sample_topic("orders")
                };
                let can = actions(&viewer(&[Role::Admin]), &topic, None);
                let open = !state.is_ended();
                assert_eq!(
                    (can.protect, can.unprotect),
                    (open && !never_delete, open && never_delete)
                );
                let can = actions(&viewer(&[Role::Approver]), &topic, None);
                assert!(!can.protect && !can.unprotect);
            }
        }
    }

    #[test]
    fn the_current_step_is_marked_once() {
        for state in STATES {
            let topic = Topic {
                status: state,
                deactivated_at: Some(sluice_model::time::Timestamp::from_millis(9)),
                ..sample_topic("orders")
            };
            let now = steps(&topic)
                .iter()
                .filter(|step| step.class == "now")
                .count();
            assert_eq!(now, 1, "{state}");
        }
    }
}
