//! Waking a thread when librdkafka has events for it: what rust-rdkafka does not offer, so that nobody
//! has to poll on a timer.

#![expect(
    unsafe_code,
    reason = "rust-rdkafka does not wrap rd_kafka_queue_cb_event_enable"
)]

use rdkafka::bindings::{
    rd_kafka_queue_cb_event_enable, rd_kafka_queue_destroy, rd_kafka_queue_get_main,
    rd_kafka_queue_t, rd_kafka_t,
};
use rdkafka::client::{Client, ClientContext};
use std::ffi::c_void;

/// What is called; it runs on librdkafka's threads and must neither block nor call librdkafka.
type Callback = Box<dyn Fn() + Send + Sync>;

/// Calls a function whenever the main event queue of a client stops being empty. Must be dropped before
/// the client.
pub struct WakeOnEvents {
    queue: *mut rd_kafka_queue_t,
    // Boxed twice: librdkafka is given a thin pointer that stays where it is.
    _callback: Box<Callback>,
}

impl std::fmt::Debug for WakeOnEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WakeOnEvents")
    }
}

// SAFETY: librdkafka's queue functions may be called from any thread, and the callback is Send + Sync.
unsafe impl Send for WakeOnEvents {}

unsafe extern "C" fn wake(_client: *mut rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: opaque is the callback of a live WakeOnEvents: its drop switches the events off first,
    // under the same lock that librdkafka holds while it calls here.
    let callback = unsafe { &*opaque.cast::<Callback>() };
    callback();
}

impl WakeOnEvents {
    /// Starts calling `callback` for the events of `client`.
    pub fn new<C: ClientContext>(
        client: &Client<C>,
        callback: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let callback: Box<Callback> = Box::new(Box::new(callback));
        let opaque = std::ptr::from_ref::<Callback>(&callback)
            .cast_mut()
            .cast::<c_void>();
        // SAFETY: the client is alive; the reference to its queue is given back in drop.
        let queue = unsafe { rd_kafka_queue_get_main(client.native_ptr()) };
        // SAFETY: queue is valid, and opaque outlives the registration (see drop).
        unsafe { rd_kafka_queue_cb_event_enable(queue, Some(wake), opaque) };
        Self {
            queue,
            _callback: callback,
        }
    }
}

impl Drop for WakeOnEvents {
    fn drop(&mut self) {
        // SAFETY: queue is valid until the next line; no call to `wake` runs once this returns.
        unsafe { rd_kafka_queue_cb_event_enable(self.queue, None, std::ptr::null_mut()) };
        // SAFETY: gives back the reference of `new`.
        unsafe { rd_kafka_queue_destroy(self.queue) };
    }
}
