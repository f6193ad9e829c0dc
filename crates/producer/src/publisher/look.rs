//! Looks at Kafka's metadata: whether every partition of a topic has its leader, and whether any broker
//! answers. librdkafka offers them only as calls that wait for the brokers, and the publisher must not
//! stand still for one slow answer; so a helper thread asks, and a look is a question on one channel and
//! an answer on another.

use super::Publisher;
use super::block::TopicId;
use super::kafka::Client;
use crossbeam_channel::{Receiver, Sender, bounded};
use rdkafka::producer::Producer as _;
use sluice_model::producer::FlowState;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Questions that may wait.
const QUESTIONS_MAX: usize = 1024;
/// When more wait, one look at all topics of the cluster answers them.
const ONE_BY_ONE_MAX: usize = 8;
/// Time that one look may take.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// Delays between looks while a topic has no leaders.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Time between two probes while no broker answers.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// Whether a topic has its leaders; the number tells answers of an earlier life apart.
    Leaders(TopicId, u64, Arc<str>),
    /// Whether any broker answers.
    Brokers,
}

/// What was found; an error is that no broker answered in time.
#[derive(Debug)]
pub(super) enum Answer {
    Leaders(TopicId, u64, Result<bool, String>),
    Brokers(Result<(), String>),
}

/// The helper thread's ends. It ends when these are dropped.
#[derive(Debug)]
pub(super) struct Looker {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Looker {
    /// Starts the thread; `bell` rings for each answer.
    pub(super) fn start(client: Arc<Client>, bell: Sender<()>) -> std::io::Result<Self> {
        let (questions, asked) = bounded(QUESTIONS_MAX);
        // Room for the answers to all that wait and all that are being looked at: sending never blocks.
        let (found, answers) = bounded(2 * QUESTIONS_MAX);
        std::thread::Builder::new()
            .name("kafka-looks".into())
            .spawn(move || {
                while let Ok(first) = asked.recv() {
                    let more = asked.try_iter().take(QUESTIONS_MAX - 1);
                    let questions: Vec<Question> = std::iter::once(first).chain(more).collect();
                    look_at(&client, questions, |answer| {
                        // Nobody listens: the publisher has gone on to another client.
                        let _gone = found.try_send(answer);
                        let _already_ringing = bell.try_send(());
                    });
                }
            })?;
        Ok(Self { questions, answers })
    }

    /// Asks; `false` when too much waits already.
    pub(super) fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn look_at(client: &Client, questions: Vec<Question>, mut tell: impl FnMut(Answer)) {
    let together = questions.len() > ONE_BY_ONE_MAX;
    let all = together.then(|| metadata(client, None));
    for question in questions {
        tell(match question {
            Question::Brokers => Answer::Brokers(match &all {
                Some(all) => all.as_ref().map(|_| ()).map_err(Clone::clone),
                None => metadata(client, None).map(|_| ()),
            }),
            Question::Leaders(id, number, name) => {
                let found = match &all {
                    Some(all) => all
                        .as_ref()
                        .map(|all| has_leaders(all, &name))
                        .map_err(Clone::clone),
                    None => metadata(client, Some(&name)).map(|one| has_leaders(&one, &name)),
                };
                Answer::Leaders(id, number, found)
            }
        });
    }
}

fn metadata(client: &Client, topic: Option<&str>) -> Result<rdkafka::metadata::Metadata, String> {
    let metadata = client.client().fetch_metadata(topic, LOOK_WAIT);
    metadata.map_err(|error| error.to_string())
}

fn has_leaders(metadata: &rdkafka::metadata::Metadata, topic: &str) -> bool {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    found.is_some_and(|found| {
        let partitions = found.partitions();
        found.error().is_none()
            && !partitions.is_empty()
            && partitions.iter().all(|partition| partition.leader() >= 0)
    })
}

impl Publisher {
    /// Has somebody look whether Kafka's metadata shows all leaders of a topic.
    pub(super) fn look(&mut self, id: TopicId, now: Instant) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        if now < topic.retry_at || topic.looking.is_some() {
            return;
        }
        if self.kafka_down {
            topic.retry_at = self.probe_at.max(now + LOOK_FIRST);
            return;
        }
        self.next_look += 1;
        let question = Question::Leaders(id, self.next_look, Arc::clone(&topic.name));
        if self.kafka.looks.ask(question) {
            topic.looking = Some(self.next_look);
        } else {
            topic.retry_at = now + LOOK_FIRST;
        }
    }

    /// Whether a topic was never sent to and its first look is under way: its records wait for that
    /// moment, so that even the first goes straight to Kafka.
    pub(super) fn looks_first(&self, id: TopicId) -> bool {
        self.topics.get(id).is_some_and(|topic| {
            let under_way = topic.looking.is_some() || (self.kafka_down && self.probing);
            let first = topic.tries == 0 && topic.backlog.is_none() && topic.gathering.is_empty();
            topic.state == FlowState::Draining && under_way && first
        })
    }

    /// Takes what the looks found.
    pub(super) fn take_answers(&mut self) {
        let now = Instant::now();
        let mut news = false;
        while let Some(answer) = self.kafka.looks.answer() {
            news = true;
            match answer {
                Answer::Leaders(id, number, found) => self.looked(id, number, found, now),
                Answer::Brokers(found) => {
                    self.probing = false;
                    self.probe_at = now + PROBE_EVERY;
                    match found {
                        Ok(()) => self.kafka_is_up(),
                        Err(error) => self.kafka_is_down(&format!("no broker answers: {error}")),
                    }
                }
            }
        }
        if news {
            self.settle_doubts(now);
        }
    }

    fn looked(&mut self, id: TopicId, number: u64, found: Result<bool, String>, now: Instant) {
        let Some(topic) = self.topics.get_mut(id) else {
            return;
        };
        if topic.looking != Some(number) {
            return;
        }
        topic.looking = None;
        match found {
            Ok(true) => {
                topic.has_leaders = true;
                topic.fresh(now);
            }
            Ok(false) => topic.back_off(now, LOOK_FIRST, LOOK_MAX),
            Err(error) => {
                topic.back_off(now, LOOK_FIRST, LOOK_MAX);
                self.kafka_is_down(&format!("no broker answers: {error}"));
            }
        }
        if self.work(id) {
            self.list(id);
        }
    }

    /// Keeps an eye on the brokers and on the producer's health.
    pub(super) fn watch_kafka(&mut self, now: Instant) {
        if self.kafka.went_down() {
            self.kafka_is_down("no broker can be reached");
        }
        if let Some(reason) = self.kafka.fatal() {
            self.restart_kafka(&reason);
        }
        if (self.kafka_down || self.suspected) && !self.probing && now >= self.probe_at {
            self.suspected = false;
            self.probing = self.kafka.looks.ask(Question::Brokers);
            self.probe_at = now + PROBE_EVERY;
        }
    }

    /// When the next probe is due, if one is.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        ((self.kafka_down || self.suspected) && !self.probing).then_some(self.probe_at)
    }

    /// One topic gets no acknowledgements. That may be its own trouble: a probe tells.
    pub(super) fn suspect_kafka(&mut self) {
        if !self.kafka_down {
            self.suspected = true;
        }
    }

    fn kafka_is_down(&mut self, reason: &str) {
        if !self.kafka_down {
            self.probe_at = Instant::now() + PROBE_EVERY;
        }
        self.kafka_down = true;
        self.health.degraded("kafka", reason);
    }

    /// A broker answered: topics that waited for that are looked at now.
    pub(super) fn kafka_is_up(&mut self) {
        let was_down = std::mem::take(&mut self.kafka_down);
        self.health.ok("kafka");
        if was_down {
            let now = Instant::now();
            for id in self.active.clone() {
                if let Some(topic) = self.topics.get_mut(id)
                    && topic.state == FlowState::Draining
                    && !topic.has_leaders
                {
                    topic.retry_at = now;
                    self.look(id, now);
                }
            }
        }
    }
}
