//! Which topics a sender's credential leaves open, record by record.

use crate::assemble::Lines;
use crate::batch::{Records, Refusal};
use sluice_model::access::Actor;
use sluice_model::problem::Code;
use std::rc::Rc;

/// The topics that a sender may send to: all, or those that the scopes of a credential name.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach(Option<Rc<Actor>>);

impl Reach {
    /// The reach of a credential.
    pub(super) fn of(actor: Actor) -> Self {
        Self((!actor.reaches_all()).then(|| Rc::new(actor)))
    }

    /// Takes out the records of other topics; gives their places before, in order.
    pub(super) fn take_out(&self, records: &mut Records) -> Vec<(u32, Refusal)> {
        let Some(actor) = &self.0 else {
            return Vec::new();
        };
        let refusal = |topic: &str| {
            let problem = actor.need_topic(topic).err()?;
            Some(Refusal::new(Code::Forbidden, problem.detail))
        };
        let barred: Vec<_> = records.topics.iter().map(|topic| refusal(topic)).collect();
        if barred.iter().all(Option::is_none) {
            return Vec::new();
        }
        let mut out = Vec::new();
        let mut place = 0;
        records.recs.retain(|rec| {
            let refusal = barred.get(rec.topic as usize).and_then(Option::as_ref);
            out.extend(refusal.map(|refusal| (place, refusal.clone())));
            place += 1;
            refusal.is_none()
        });
        out
    }

    /// Refuses the lines of other topics.
    pub(super) fn leave_out(&self, lines: &mut Lines) {
        let count = lines.records.recs.len() as u32;
        let out = self.take_out(&mut lines.records);
        if out.is_empty() {
            return;
        }
        let gone = |record: &u32| {
            out.binary_search_by_key(record, |(place, _)| *place)
                .is_ok()
        };
        let stay = (0..count).filter(|record| !gone(record));
        let line_of = stay.map(|record| lines.line(record)).collect();
        let refused = out
            .iter()
            .map(|(record, refusal)| (lines.line(*record), refusal.clone()));
        let refused: Vec<_> = refused.collect();
        lines.refused.extend(refused);
        lines.refused.sort_by_key(|(line, _)| *line);
        lines.line_of = Some(line_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{self, Framed, Framer};
    use sluice_model::access::Role;

    fn lines(text: &str) -> Lines {
        let mut framer = Framer::new(1000);
        framer.buffer.extend_from_slice(text.as_bytes());
        let block = match framer.next_block() {
            Some(Framed::Lines(block)) => block,
            _ => bytes::Bytes::new(),
        };
        assemble::lines(block, None, 1000)
    }

    fn reach(scopes: &[&str]) -> Reach {
        Reach::of(Actor {
            account: "ana".to_owned(),
            roles: vec![Role::Producer],
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            teams: Vec::new(),
            expires_at: None,
        })
    }

    const TEXT: &str = "{\"topic\": \"line.1\", \"value\": 1}\nnonsense\n\
        {\"topic\": \"orders\", \"value\": 2}\n{\"topic\": \"line.2\", \"value\": 3}\n";

    #[test]
    fn lines_of_other_topics_are_refused_by_their_number_and_the_others_keep_theirs() {
        let mut narrowed = lines(TEXT);
        reach(&["records:send", "topic:line.*"]).leave_out(&mut narrowed);
        let refused: Vec<_> = narrowed
            .refused
            .iter()
            .map(|(line, r)| (*line, r.code))
            .collect();
        assert_eq!(refused[1], (2, Code::Forbidden));
        assert_eq!((refused.len(), refused[0].0), (2, 1));
        assert!(narrowed.refused[1].1.detail.contains("orders"));
        let kept: Vec<_> = (0..2).map(|record| narrowed.line(record)).collect();
        assert_eq!((narrowed.records.recs.len(), kept), (2, vec![0, 3]));
    }

    #[test]
    fn a_credential_without_patterns_leaves_everything_as_it_is() {
        for scopes in [
            &[][..],
            &["records:send"],
            &["topic:*"],
            &["topic:*", "topic:a"],
        ] {
            let mut all = lines(TEXT);
            reach(scopes).leave_out(&mut all);
            let kept: Vec<_> = (0..3).map(|record| all.line(record)).collect();
            assert_eq!((all.refused.len(), kept), (1, vec![0, 2, 3]), "{scopes:?}");
        }
    }
}
