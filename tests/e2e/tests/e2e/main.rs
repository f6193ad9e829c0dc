//! End-to-end tests on real Kafka with the real binaries. The stacks are started once, the tests of a
//! stack run side by side with topics of their own, and everything is stopped at the end.
#![expect(clippy::too_many_lines, reason = "a story reads better whole")]
#![expect(
    clippy::print_stderr,
    reason = "what cannot be tested here is said loudly"
)]

mod adversity;
mod alone;
mod bad_input;
mod change;
mod cluster;
mod console;
mod consumers;
mod crash;
mod crash_governance;
mod durability;
mod fair;
mod flow;
mod forward;
mod fuzz;
mod hostile;
mod identity;
mod inputs;
mod instances;
mod klaw;
mod lifecycle;
mod machines;
mod outage;
mod reference;
mod senders;
mod sinks;
mod socket;
mod story;
mod stream;
mod telemetry;
mod trust;

use libtest_mimic::{Arguments, Failed, Trial};
use sluice_e2e::Outcome;
use sluice_e2e::stack::Stack;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// A stack that is started by the first test that needs it.
struct Shared {
    name: &'static str,
    brokers: usize,
    settings: &'static [&'static str],
    stack: Mutex<Option<Arc<Stack>>>,
}

impl Shared {
    fn get(&self) -> Outcome<Arc<Stack>> {
        let mut slot = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stack) = slot.as_ref() {
            return Ok(Arc::clone(stack));
        }
        let stack = Arc::new(Stack::of_brokers(self.name, self.brokers, self.settings)?);
        *slot = Some(Arc::clone(&stack));
        Ok(stack)
    }

    fn down(&self) {
        self.stack
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// For tests that leave the services alone.
static CALM: Shared = Shared {
    name: "calm",
    brokers: 1,
    settings: &[
        "admin-api.lifecycle.grace=0s",
        "admin-api.producers.fresh=3s",
        "producer.inputs.host.enabled=true",
        "producer.inputs.generator.enabled=true",
        "producer.inputs.generator.rate=50",
    ],
    stack: Mutex::new(None),
};

/// For tests that kill and stop services; they run one at a time.
static ROUGH: Shared = Shared {
    name: "rough",
    brokers: 1,
    settings: &[
        "producer.auto_request=true",
        "admin-api.lifecycle.grace=0s",
        "admin-api.producers.fresh=3s",
        "consumer-api.consumers.retry_max=1s",
        // Small batches have many commits to die at.
        "consumer-api.consumers.batch_records=500",
    ],
    stack: Mutex::new(None),
};

/// For the inputs: every one that listens is on.
static INPUTS: Shared = Shared {
    name: "inputs",
    brokers: 1,
    settings: &[
        "producer.inputs.syslog_tcp.enabled=true",
        "producer.inputs.syslog_udp.enabled=true",
        "producer.inputs.otlp.enabled=true",
        "producer.inputs.otlp.topic_attribute=sluice.topic",
    ],
    stack: Mutex::new(None),
};

/// For tests that kill brokers; they run one at a time.
static CLUSTER: Shared = Shared {
    name: "cluster",
    brokers: 3,
    settings: &[],
    stack: Mutex::new(None),
};

/// For what writes anything into everything, the policy too.
static FUZZ: Shared = Shared {
    name: "fuzz",
    brokers: 1,
    settings: &["admin-api.lifecycle.grace=0s"],
    stack: Mutex::new(None),
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

type Test = fn(&Stack) -> Outcome;

fn calm(name: &str, test: Test) -> Trial {
    Trial::test(name, move || {
        CALM.get()
            .and_then(|stack| test(&stack))
            .map_err(Failed::from)
    })
}

fn inputs(name: &str, test: Test) -> Trial {
    // One word to run all of them by.
    Trial::test(format!("inputs: {name}"), move || {
        INPUTS
            .get()
            .and_then(|stack| test(&stack))
            .map_err(Failed::from)
    })
}

fn rough(name: &str, test: Test) -> Trial {
    Trial::test(name, move || {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        ROUGH
            .get()
            .and_then(|stack| test(&stack))
            .map_err(Failed::from)
    })
}

fn fuzz(name: &str, test: Test) -> Trial {
    Trial::test(format!("fuzz: {name}"), move || {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        FUZZ.get()
            .and_then(|stack| test(&stack))
            .map_err(Failed::from)
    })
}

fn cluster(name: &str, test: Test) -> Trial {
    Trial::test(name, move || {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        CLUSTER
            .get()
            .and_then(|stack| test(&stack))
            .map_err(Failed::from)
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(story::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(
        reference::TESTS
            .iter()
            .map(|(name, test)| calm(name, *test)),
    );
    trials.extend(
        bad_input::TESTS
            .iter()
            .map(|(name, test)| calm(name, *test)),
    );
    trials.extend(klaw::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(
        klaw::ROUGH_TESTS
            .iter()
            .map(|(name, test)| rough(name, *test)),
    );
    trials.extend(change::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(
        crash_governance::TESTS
            .iter()
            .map(|(name, test)| rough(name, *test)),
    );
    trials.extend(trust::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(alone::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(console::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(
        consumers::TESTS
            .iter()
            .map(|(name, test)| calm(name, *test)),
    );
    trials.extend(
        instances::TESTS
            .iter()
            .map(|(name, test)| calm(name, *test)),
    );
    trials.extend(
        lifecycle::TESTS
            .iter()
            .map(|(name, test)| calm(name, *test)),
    );
    trials.extend(forward::CALM.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(forward::ROUGH.iter().map(|(name, test)| rough(name, *test)));
    trials.extend(identity::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(machines::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(socket::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(stream::TESTS.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(crash::TESTS.iter().map(|(name, test)| rough(name, *test)));
    trials.extend(
        consumers::ROUGH_TESTS
            .iter()
            .map(|(name, test)| rough(name, *test)),
    );
    trials.extend(sinks::TESTS.iter().map(|(name, test)| rough(name, *test)));
    trials.extend(flow::TESTS.iter().map(|(name, test)| rough(name, *test)));
    trials.extend(fair::TESTS.iter().map(|(name, test)| rough(name, *test)));
    trials.extend(adversity::CALM.iter().map(|(name, test)| calm(name, *test)));
    trials.extend(
        adversity::TESTS
            .iter()
            .map(|(name, test)| rough(name, *test)),
    );
    trials.extend(
        cluster::TESTS
            .iter()
            .map(|(name, test)| cluster(name, *test)),
    );
    trials.extend(outage::TESTS.iter().map(|(name, test)| rough(name, *test)));
    trials.extend(
        durability::TESTS
            .iter()
            .map(|(name, test)| rough(name, *test)),
    );
    trials.extend(inputs::TESTS.iter().map(|(name, test)| inputs(name, *test)));
    trials.extend(
        hostile::TESTS
            .iter()
            .map(|(name, test)| inputs(name, *test)),
    );
    trials.extend(
        senders::TESTS
            .iter()
            .map(|(name, test)| inputs(name, *test)),
    );
    trials.extend(
        telemetry::TESTS
            .iter()
            .map(|(name, test)| inputs(name, *test)),
    );
    trials.extend(fuzz::TESTS.iter().map(|(name, test)| fuzz(name, *test)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    CALM.down();
    ROUGH.down();
    INPUTS.down();
    CLUSTER.down();
    FUZZ.down();
    conclusion.exit_code()
}
