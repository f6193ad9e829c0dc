//! Taking delivery reports as they are. rust-rdkafka's `poll` makes an owned view of every record for
//! its callback and counts references for it; here a report is four numbers.

#![expect(
    unsafe_code,
    reason = "rust-rdkafka does not give out the events of a producer"
)]

use rdkafka::bindings::{
    RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_EVENT_LOG, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_event_error_string, rd_kafka_event_log,
    rd_kafka_event_message_next, rd_kafka_event_t, rd_kafka_event_type, rd_kafka_queue_destroy,
    rd_kafka_queue_get_main, rd_kafka_queue_poll, rd_kafka_queue_t, rd_kafka_resp_err_t,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CStr, c_char};
use std::ptr::null;

/// What became of one record.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// What was given with the record.
    pub opaque: usize,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Why it failed, if so.
    pub error: Option<RDKafkaErrorCode>,
}

/// What else librdkafka has to say.
#[derive(Clone, Debug)]
pub enum Word {
    /// An error of the client, and its words.
    Error(RDKafkaErrorCode, String),
    /// A line of its log: the facility and the words.
    Log(String, String),
}

/// The events of one producer. Must be dropped before the client; nobody else may poll it.
pub struct Reports {
    queue: *mut rd_kafka_queue_t,
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reports")
    }
}

// SAFETY: librdkafka's queue functions may be called from any thread.
unsafe impl Send for Reports {}

impl Reports {
    /// Those of a client whose delivery reports are events, as all of rust-rdkafka's are.
    pub fn new<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client is alive; the reference to its queue is given back in drop.
        let queue = unsafe { rd_kafka_queue_get_main(client.native_ptr()) };
        Self { queue }
    }

    /// Takes at most `events_max` events without waiting; one may carry thousands of reports.
    pub fn take(&self, events_max: usize, into: &mut Vec<Report>, mut word: impl FnMut(Word)) {
        for _ in 0..events_max {
            // SAFETY: the queue is valid; a time of 0 does not wait.
            let event = unsafe { rd_kafka_queue_poll(self.queue, 0) };
            if event.is_null() {
                return;
            }
            // SAFETY: the event is ours until it is destroyed, once, after its last use.
            unsafe {
                match rd_kafka_event_type(event) {
                    RD_KAFKA_EVENT_DR => reports(event, into),
                    RD_KAFKA_EVENT_ERROR => word(error(event)),
                    RD_KAFKA_EVENT_LOG => log(event).into_iter().for_each(&mut word),
                    _ => {}
                }
                rd_kafka_event_destroy(event);
            }
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        // SAFETY: gives back the reference of `new`.
        unsafe { rd_kafka_queue_destroy(self.queue) };
    }
}

/// # Safety
/// The event must be a live one of delivery reports.
unsafe fn reports(event: *mut rd_kafka_event_t, into: &mut Vec<Report>) {
    loop {
        // SAFETY: the event is alive (see above); what it gives out lives as long as it does.
        let Some(message) = (unsafe { rd_kafka_event_message_next(event).as_ref() }) else {
            return;
        };
        let failed = message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        into.push(Report {
            opaque: message._private as usize,
            partition: message.partition,
            offset: message.offset,
            error: failed.then(|| message.err.into()),
        });
    }
}

/// # Safety
/// The event must be a live one of an error.
unsafe fn error(event: *mut rd_kafka_event_t) -> Word {
    // SAFETY: the event is alive (see above), and its words are copied.
    let (code, words) = unsafe {
        (
            rd_kafka_event_error(event),
            text(rd_kafka_event_error_string(event)),
        )
    };
    Word::Error(code.into(), words)
}

/// # Safety
/// The event must be a live one of a log line.
unsafe fn log(event: *mut rd_kafka_event_t) -> Option<Word> {
    let (mut facility, mut words, mut level) = (null(), null(), 0);
    // SAFETY: the event is alive (see above); it fills in pointers that live as long as it does.
    let failed =
        unsafe { rd_kafka_event_log(event, &raw mut facility, &raw mut words, &raw mut level) };
    // SAFETY: both are texts of the event, and they are copied.
    (failed == 0).then(|| unsafe { Word::Log(text(facility), text(words)) })
}

/// # Safety
/// The pointer must be null or a C text.
unsafe fn text(words: *const c_char) -> String {
    if words.is_null() {
        return String::new();
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(words) }
        .to_string_lossy()
        .trim()
        .to_owned()
}
