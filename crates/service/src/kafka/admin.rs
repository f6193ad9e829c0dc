//! Two admin calls that rust-rdkafka does not wrap: incremental changes of topic configs, and the ids of
//! topics. Both block their thread for at most the given time.

#![expect(
    unsafe_code,
    reason = "rust-rdkafka wraps neither IncrementalAlterConfigs nor DescribeTopics"
)]

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

/// What a failed call left for its message.
const MESSAGE_BYTES: usize = 512;
/// What the wait for an answer gets beyond the call's own limit.
const GRACE: Duration = Duration::from_millis(500);

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No broker answered in time.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// A broker, or librdkafka, said no.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    fn of(code: rd::rd_kafka_resp_err_t, message: String) -> Self {
        use rd::rd_kafka_resp_err_t as Code;
        match code {
            Code::RD_KAFKA_RESP_ERR__TIMED_OUT
            | Code::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
            | Code::RD_KAFKA_RESP_ERR__TRANSPORT
            | Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
            | Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT => Self::Unanswered(message),
            _ => Self::Refused(message),
        }
    }
}

/// An owned pointer of librdkafka with the function that frees it.
pub(super) struct Owned<T>(pub(super) *mut T, pub(super) unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the constructor that belongs to this destructor.
            unsafe { (self.1)(self.0) };
        }
    }
}

/// The text of a C string that librdkafka owns.
///
/// # Safety
/// `text` is null or a valid C string for the time of the call.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and valid by the contract of this function.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

pub(super) fn c_string(text: &str) -> Result<CString, CallError> {
    CString::new(text).map_err(|_| CallError::Refused(format!("{text:?} has a zero byte")))
}

fn millis(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
}

/// Makes a call and waits for its one event.
pub(super) fn call<C: ClientContext>(
    client: &Client<C>,
    op: rd::rd_kafka_admin_op_t,
    limit: Duration,
    start: impl FnOnce(*const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Owned<rd::rd_kafka_event_t>, CallError> {
    let native = client.native_ptr();
    // SAFETY: the client is alive for the whole function.
    let options = unsafe { rd::rd_kafka_AdminOptions_new(native, op) };
    let options = Owned(options, rd::rd_kafka_AdminOptions_destroy);
    let mut message = [0 as c_char; MESSAGE_BYTES];
    // SAFETY: options and the buffer are valid; the length is the buffer's.
    unsafe {
        rd::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            millis(limit),
            message.as_mut_ptr(),
            message.len(),
        );
    }
    // SAFETY: the client is alive.
    let queue = unsafe { rd::rd_kafka_queue_new(native) };
    let queue = Owned(queue, rd::rd_kafka_queue_destroy);
    start(options.0, queue.0);
    // SAFETY: the queue is valid; the event is ours and freed by its owner.
    let event = unsafe { rd::rd_kafka_queue_poll(queue.0, millis(limit + GRACE)) };
    if event.is_null() {
        return Err(CallError::Unanswered("the time is over".to_owned()));
    }
    let event = Owned(event, rd::rd_kafka_event_destroy);
    // SAFETY: the event is valid; its string lives as long as it.
    let (code, message) = unsafe {
        let code = rd::rd_kafka_event_error(event.0);
        (code, text(rd::rd_kafka_event_error_string(event.0)))
    };
    if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        Ok(event)
    } else {
        Err(CallError::of(code, message))
    }
}

/// Sets some configs of a topic, or takes them back to the brokers' default (`None`). Configs that are not
/// named stay as they are, which AlterConfigs would reset (KIP-339).
///
/// # Errors
/// When no broker answers in time, or one says no.
pub fn alter_topic_configs<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    changes: &BTreeMap<String, Option<String>>,
    limit: Duration,
) -> Result<(), CallError> {
    let name = c_string(topic)?;
    // SAFETY: the name is a valid C string; the resource is freed by its owner.
    let resource = unsafe {
        rd::rd_kafka_ConfigResource_new(
            rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            name.as_ptr(),
        )
    };
    let resource = Owned(resource, rd::rd_kafka_ConfigResource_destroy);
    for (key, value) in changes {
        add_change(resource.0, key, value.as_deref())?;
    }
    let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
    let event = call(client, op, limit, |options, queue| {
        let mut resources = [resource.0];
        // SAFETY: all pointers are valid for the call, which copies what it needs.
        unsafe {
            rd::rd_kafka_IncrementalAlterConfigs(
                client.native_ptr(),
                resources.as_mut_ptr(),
                resources.len(),
                options,
                queue,
            );
        }
    })?;
    // SAFETY: the event is of this call's type; the array and what it points to live as long as the event.
    unsafe {
        let result = rd::rd_kafka_event_IncrementalAlterConfigs_result(event.0);
        let mut count = 0;
        let found = rd::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        for index in 0..count {
            let resource = *found.add(index);
            let code = rd::rd_kafka_ConfigResource_error(resource);
            if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let message = text(rd::rd_kafka_ConfigResource_error_string(resource));
                return Err(CallError::of(code, message));
            }
        }
    }
    Ok(())
}

fn add_change(
    resource: *mut rd::rd_kafka_ConfigResource_t,
    key: &str,
    value: Option<&str>,
) -> Result<(), CallError> {
    use rd::rd_kafka_AlterConfigOpType_t as Op;
    let name = c_string(key)?;
    let set = value.map(c_string).transpose()?;
    let (op, value) = match &set {
        Some(value) => (Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr()),
        None => (Op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, std::ptr::null()),
    };
    // SAFETY: the resource is valid, and the strings are copied by the call.
    let error = unsafe {
        rd::rd_kafka_ConfigResource_add_incremental_config(resource, name.as_ptr(), op, value)
    };
    if error.is_null() {
        return Ok(());
    }
    let error = Owned(error, rd::rd_kafka_error_destroy);
    // SAFETY: the error is valid until its owner is dropped.
    Err(CallError::Refused(unsafe {
        text(rd::rd_kafka_error_string(error.0))
    }))
}

/// Kafka's own ids of topics (KIP-516), by name: a topic that was deleted and created again has another
/// one. Topics that do not exist are left out.
///
/// # Errors
/// When no broker answers in time, or one says no.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    limit: Duration,
) -> Result<BTreeMap<String, String>, CallError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = topics
        .iter()
        .map(|name| c_string(name))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the pointers are valid C strings, which the call copies.
    let collection = unsafe {
        rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
    };
    let collection = Owned(collection, rd::rd_kafka_TopicCollection_destroy);
    let op = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = call(client, op, limit, |options, queue| {
        // SAFETY: all pointers are valid for the call, which copies what it needs.
        unsafe { rd::rd_kafka_DescribeTopics(client.native_ptr(), collection.0, options, queue) };
    })?;
    let mut ids = BTreeMap::new();
    // SAFETY: the event is of this call's type; the array and what it points to live as long as the event.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let found = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for index in 0..count {
            let topic = *found.add(index);
            let error = rd::rd_kafka_TopicDescription_error(topic);
            if rd::rd_kafka_error_code(error) != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                continue;
            }
            let id = rd::rd_kafka_TopicDescription_topic_id(topic);
            if !id.is_null() {
                let name = text(rd::rd_kafka_TopicDescription_name(topic));
                ids.insert(name, text(rd::rd_kafka_Uuid_base64str(id)));
            }
        }
    }
    Ok(ids)
}
