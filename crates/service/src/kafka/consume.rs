//! Taking many records in one call. rust-rdkafka's `poll` makes an event, two looks at the clock and a
//! counted reference for every record; here a record is a pointer.
//!
//! The partitions of a client are led into a queue of their own, so that what is not a record (changes of
//! the assignment, errors, statistics) stays in the client's queue and is served by its `poll`.

#![expect(
    unsafe_code,
    reason = "rust-rdkafka wraps neither rd_kafka_consume_batch_queue nor the length and forwarding of queues"
)]

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_get_watermark_offsets, rd_kafka_header_get_all,
    rd_kafka_headers_t, rd_kafka_message_destroy, rd_kafka_message_headers, rd_kafka_message_t,
    rd_kafka_message_timestamp, rd_kafka_queue_cb_event_enable, rd_kafka_queue_destroy,
    rd_kafka_queue_forward, rd_kafka_queue_get_consumer, rd_kafka_queue_get_partition,
    rd_kafka_queue_length, rd_kafka_queue_new, rd_kafka_queue_t, rd_kafka_resp_err_t, rd_kafka_t,
    rd_kafka_timestamp_type_t, rd_kafka_topic_name,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{NonNull, null, null_mut};

/// What is called; it runs on librdkafka's threads and must neither block nor call librdkafka.
type Callback = Box<dyn Fn() + Send + Sync>;

const NO_ERROR: rd_kafka_resp_err_t = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// The records of one client with a group, and a look at what else waits in its queue.
pub struct Records<'c> {
    client: *mut rd_kafka_t,
    fetched: *mut rd_kafka_queue_t,
    events: *mut rd_kafka_queue_t,
    // Boxed twice: librdkafka is given a thin pointer that stays where it is.
    _callback: Box<Callback>,
    // The client outlives the queues and every record that was taken.
    _client: PhantomData<&'c ()>,
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records")
    }
}

unsafe extern "C" fn wake(_client: *mut rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: opaque is the callback of a live Records: its drop switches the events off first, under the
    // same lock that librdkafka holds while it calls here.
    let callback = unsafe { &*opaque.cast::<Callback>() };
    callback();
}

impl<'c> Records<'c> {
    /// Calls `callback` whenever records, or whatever else the client's `poll` serves, begin to wait.
    pub fn new<C: ClientContext>(
        client: &'c Client<C>,
        callback: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let callback: Box<Callback> = Box::new(Box::new(callback));
        let opaque = std::ptr::from_ref::<Callback>(&callback)
            .cast_mut()
            .cast::<c_void>();
        let client = client.native_ptr();
        // SAFETY: the client is alive; both references are given back in drop.
        let (fetched, events) = unsafe {
            (
                rd_kafka_queue_new(client),
                rd_kafka_queue_get_consumer(client),
            )
        };
        for queue in [fetched, events] {
            if !queue.is_null() {
                // SAFETY: the queue is valid, and opaque outlives the registration (see drop).
                unsafe { rd_kafka_queue_cb_event_enable(queue, Some(wake), opaque) };
            }
        }
        Self {
            client,
            fetched,
            events,
            _callback: callback,
            _client: PhantomData,
        }
    }

    /// Leads what is fetched of a partition here. librdkafka forgets that when the partition is given
    /// away; to say it again does no harm, and what waited in between comes along.
    pub fn lead(&self, topic: &str, partition: i32) {
        let Ok(topic) = CString::new(topic) else {
            return;
        };
        // SAFETY: the client is alive and copies the name.
        let queue = unsafe { rd_kafka_queue_get_partition(self.client, topic.as_ptr(), partition) };
        if queue.is_null() {
            return;
        }
        // SAFETY: both queues are valid; librdkafka keeps references of its own to them.
        unsafe {
            rd_kafka_queue_forward(queue, self.fetched);
            rd_kafka_queue_destroy(queue);
        }
    }

    /// Whether the client's `poll` has something to serve.
    pub fn has_events(&self) -> bool {
        // SAFETY: the queue is valid.
        !self.events.is_null() && unsafe { rd_kafka_queue_length(self.events) } > 0
    }

    /// The end of a partition as its last answer said, without asking.
    pub fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive; both numbers are only written to.
        let known = unsafe {
            rd_kafka_get_watermark_offsets(
                self.client,
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
            )
        };
        (known == NO_ERROR && high >= 0).then_some(high)
    }

    /// Takes at most `max` records that are there, without waiting. Errors that stand in a record's place
    /// go to `failed`; librdkafka counts them as records, so that its own positions are wrong after one until
    /// the next seek.
    pub fn take(
        &mut self,
        max: usize,
        into: &mut Vec<Taken<'c>>,
        mut failed: impl FnMut(RDKafkaErrorCode),
    ) {
        into.reserve(max);
        let before = into.len();
        let room = into.spare_capacity_mut();
        let size = room.len().min(max);
        // A Taken is a pointer to a message and nothing else (see there).
        let room = room.as_mut_ptr().cast::<*mut rd_kafka_message_t>();
        // SAFETY: there is room for so many pointers; a time of 0 does not wait.
        let taken = unsafe { rd_kafka_consume_batch_queue(self.fetched, 0, room, size) };
        let taken = usize::try_from(taken).unwrap_or_default().min(size);
        // SAFETY: librdkafka has written so many pointers to messages that are ours now, none of them null.
        unsafe { into.set_len(before + taken) };
        if into
            .iter()
            .skip(before)
            .any(|message| message.error().is_some())
        {
            let mut place = 0;
            into.retain(|message| {
                place += 1;
                let error = message.error().filter(|_| place > before);
                error.map(&mut failed).is_none()
            });
        }
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        for queue in [self.fetched, self.events] {
            if !queue.is_null() {
                // SAFETY: the queue is valid until the next call; no call to `wake` runs once this returns.
                unsafe { rd_kafka_queue_cb_event_enable(queue, None, null_mut()) };
                // SAFETY: gives back the reference of `new`. Records that nobody took are freed.
                unsafe { rd_kafka_queue_destroy(queue) };
            }
        }
    }
}

/// A record in the client's memory; given back when it is dropped.
#[repr(transparent)]
pub struct Taken<'c> {
    message: NonNull<rd_kafka_message_t>,
    _client: PhantomData<&'c ()>,
}

impl std::fmt::Debug for Taken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.topic(), self.partition(), self.offset())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // SAFETY: the message is ours, and this is its last use.
        unsafe { rd_kafka_message_destroy(self.message.as_ptr()) };
    }
}

impl Taken<'_> {
    fn message(&self) -> &rd_kafka_message_t {
        // SAFETY: the message lives as long as self, and nobody changes it.
        unsafe { self.message.as_ref() }
    }

    fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.message().err;
        (error != NO_ERROR).then(|| error.into())
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        let topic = self.message().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference to its topic, whose name is a C text.
        unsafe { text(rd_kafka_topic_name(topic)) }
    }

    /// Whether another record is of the same topic, without a look at names.
    pub fn is_of_topic_of(&self, other: &Self) -> bool {
        self.message().rkt == other.message().rkt
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.message().partition
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.message().offset
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: librdkafka says where the key is; it lives as long as the message.
        unsafe { bytes(message.key, message.key_len) }
    }

    /// Its value; none is a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: as above.
        unsafe { bytes(message.payload, message.len) }
    }

    /// Bytes of key and value.
    pub fn len(&self) -> usize {
        self.message().len + self.message().key_len
    }

    /// Whether it has neither key nor value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Milliseconds since the epoch, if Kafka says.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let at = unsafe { rd_kafka_message_timestamp(self.message.as_ptr(), &raw mut kind) };
        let known = kind != rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (known && at != -1).then_some(at)
    }

    /// Its headers, in order.
    pub fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        let mut headers: *mut rd_kafka_headers_t = null_mut();
        // SAFETY: the message is alive; it keeps the headers that it gives out.
        let found = unsafe { rd_kafka_message_headers(self.message.as_ptr(), &raw mut headers) };
        if found != NO_ERROR {
            return Vec::new();
        }
        let mut all = Vec::new();
        loop {
            let (mut name, mut value, mut size) = (null(), null(), 0);
            // SAFETY: the headers live as long as the message; an index behind the last is an error.
            let got = unsafe {
                rd_kafka_header_get_all(
                    headers,
                    all.len(),
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                )
            };
            if got != NO_ERROR {
                return all;
            }
            // SAFETY: name is a C text and value has so many bytes; both live as long as the message.
            all.push(unsafe { (text(name), bytes(value, size)) });
        }
    }
}

/// # Safety
/// The pointer must be a C text that lives as long as `'a`.
unsafe fn text<'a>(name: *const c_char) -> &'a str {
    // SAFETY: see above.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().unwrap_or_default()
}

/// # Safety
/// The pointer must be null, or lead to so many bytes that live as long as `'a`.
unsafe fn bytes<'a>(at: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: see above; an empty slice is not read.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast::<u8>(), length) })
}

#[cfg(test)]
mod tests;
