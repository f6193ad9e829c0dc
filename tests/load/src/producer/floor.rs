//! The least that an HTTP server in front of Kafka can be: blocking threads, one a connection, one
//! producer with linger 0, and an answer after the last acknowledgement of a request.

use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use sluice_e2e::Outcome;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Records of a request and who waits for them.
struct Waiting {
    left: usize,
    done: Sender<()>,
}

struct Acks;

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = Arc<Mutex<Waiting>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.left -= usize::from(result.is_ok());
        if waiting.left == 0 {
            // The client may be gone.
            let _gone = waiting.done.send(());
        }
    }
}

/// Starts the server; it lives as long as the program.
pub(super) fn start(bootstrap: &str, topic: &str) -> Outcome<SocketAddr> {
    let producer: ThreadedProducer<Acks> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .create_with_context(Acks)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let topic = topic.to_owned();
    std::thread::Builder::new()
        .name("floor-accept".into())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let (producer, topic) = (producer.clone(), topic.clone());
                let connection = std::thread::Builder::new().name("floor-serve".into());
                // A connection without a thread is closed, and its client fails.
                let _refused = connection.spawn(move || serve(stream, &producer, &topic).ok());
            }
        })?;
    Ok(address)
}

fn serve(stream: TcpStream, producer: &ThreadedProducer<Acks>, topic: &str) -> Outcome {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        let lines: Vec<&[u8]> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        let (done, all) = channel();
        let waiting = Arc::new(Mutex::new(Waiting {
            left: lines.len(),
            done,
        }));
        for line in lines {
            let opaque = Arc::clone(&waiting);
            let record = BaseRecord::<(), [u8], _>::with_opaque_to(topic, opaque).payload(line);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        all.recv()?;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
    }
}
