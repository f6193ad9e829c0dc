//! Handing many records over in one call, through a handle of their topic that is kept: what
//! rust-rdkafka does not offer. Its `send` allocates the topic's name and looks it up for every record.

#![expect(
    unsafe_code,
    reason = "rust-rdkafka wraps neither topic handles nor rd_kafka_produce_batch"
)]

use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, rd_kafka_last_error, rd_kafka_message_t, rd_kafka_produce_batch,
    rd_kafka_resp_err_t, rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CString, c_void};
use std::ptr::null_mut;

/// The partition of a record whose partition the partitioner finds.
const UNASSIGNED: i32 = -1;

/// A topic of one client. Must be dropped before the client.
pub struct TopicHandle {
    topic: *mut rd_kafka_topic_t,
}

impl std::fmt::Debug for TopicHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TopicHandle")
    }
}

// SAFETY: librdkafka's topic objects may be used and destroyed from any thread.
unsafe impl Send for TopicHandle {}

/// A record: its partition is found by its key, its time is that of the call.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Comes back in the delivery report.
    pub opaque: usize,
}

/// Room for the records of a call; kept, so that calls allocate nothing.
#[derive(Default)]
pub struct Batch {
    // The pointers in it are only good within a call.
    messages: Vec<rd_kafka_message_t>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

// SAFETY: between calls it has no messages, only room for them.
unsafe impl Send for Batch {}

impl TopicHandle {
    /// The handle of a topic by its name; the topic need not exist.
    ///
    /// # Errors
    /// When librdkafka does not take the name.
    pub fn new<C: ClientContext>(client: &Client<C>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the client is alive, and librdkafka copies the name.
        let topic = unsafe { rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), null_mut()) };
        if topic.is_null() {
            // SAFETY: reads what the call before left for this thread.
            return Err(unsafe { rd_kafka_last_error() }.into());
        }
        Ok(Self { topic })
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: gives back the reference of `new`.
        unsafe { rd_kafka_topic_destroy(self.topic) };
    }
}

impl Batch {
    /// Hands records over in their order; librdkafka copies them. `failed` is told the places and
    /// reasons of those that it does not take. After a full queue none of the rest is taken.
    pub fn produce<'a>(
        &mut self,
        topic: &TopicHandle,
        items: impl Iterator<Item = Item<'a>>,
        mut failed: impl FnMut(usize, RDKafkaErrorCode),
    ) {
        self.messages.clear();
        self.messages.extend(items.map(message));
        let count = self.messages.len();
        // SAFETY: the handle is valid; the slices behind the pointers live as long as `'a`, that is
        // longer than this call, and librdkafka copies them (F_COPY).
        let taken = unsafe {
            rd_kafka_produce_batch(
                topic.topic,
                UNASSIGNED,
                RD_KAFKA_MSG_F_COPY,
                self.messages.as_mut_ptr(),
                count as i32,
            )
        };
        if taken != count as i32 {
            for (place, message) in self.messages.iter().enumerate() {
                if message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    failed(place, message.err.into());
                }
            }
        }
        self.messages.clear();
    }
}

fn message(item: Item<'_>) -> rd_kafka_message_t {
    let (payload, len) = parts(item.value);
    let (key, key_len) = parts(item.key);
    rd_kafka_message_t {
        err: rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: null_mut(),
        partition: UNASSIGNED,
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: item.opaque as *mut c_void,
    }
}

/// Nothing is a null pointer; an empty text is not.
fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((null_mut(), 0), |bytes| {
        (bytes.as_ptr().cast_mut().cast(), bytes.len())
    })
}
