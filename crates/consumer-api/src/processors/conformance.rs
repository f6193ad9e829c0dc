//! What every processor must do, run against all of [`KINDS`], and the bench that the tests share.

mod case;
mod databases;
pub(crate) mod servers;

use super::{KINDS, Outside, Processor, Site, kind};
use crate::batch::Entry;
use crate::catalogue::Catalogue;
use crate::clusters::{Cluster, Clusters, GOVERNED, Patterns};
use crate::confine::Roots;
use crate::destinations::Destinations;
use crate::outgoing::Outgoing;
use crate::secrets::Secrets;
use crate::store::Store;
use crate::watermark::Positions;
use serde_json::{Map, Value, json};
use sluice_model::body::Body;
use sluice_service::kafka::KafkaSettings;
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::ops::Range;

/// A place to build processors in.
pub(super) struct Bench {
    dir: tempfile::TempDir,
    pub(super) roots: Roots,
    pub(super) consumer_id: String,
    store: Store,
    pub(super) secrets: Secrets,
    pub(super) clusters: Clusters,
    pub(super) catalogue: Catalogue,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(super) fn new() -> Self {
        sluice_service::tls::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::open(&[dir.path().join("files")]).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let secrets = dir.path().join("secrets");
        let governed = Cluster::new(GOVERNED, kafka("127.0.0.1:1"), None);
        let store = Store::open(&dir.path().join("c.db")).unwrap();
        runtime.block_on(store.insert_test_processor("c1", "p1"));
        Self {
            dir,
            roots,
            consumer_id: "c1".to_owned(),
            store,
            secrets: Secrets::open(&secrets).unwrap(),
            clusters: Clusters::of(vec![governed]),
            catalogue: Catalogue::default(),
            runtime,
        }
    }

    /// A bench with one more cluster, whose topic `copy` may be written.
    pub(super) fn with_cluster(name: &str, bootstrap: &str) -> Self {
        let only = regex_lite::Regex::new("^copy$").unwrap();
        let patterns = Patterns {
            read: only.clone(),
            write: only,
        };
        let governed = Cluster::new(GOVERNED, kafka("127.0.0.1:1"), None);
        let other = Cluster::new(name, kafka(bootstrap), Some(patterns));
        Self {
            clusters: Clusters::of(vec![governed, other]),
            ..Self::new()
        }
    }

    pub(super) fn site(&self, topic_id: i64) -> Site {
        let destinations = Destinations::new(&["127.0.0.1:*".to_owned()]).unwrap();
        Site {
            consumer_id: self.consumer_id.clone(),
            processor_id: "p1".to_owned(),
            cluster: GOVERNED.to_owned(),
            roots: self.roots.clone(),
            destinations: destinations.clone(),
            epoch: 0,
            sinks: self.store.sinks(self.runtime.handle().clone()),
            topic_ids: HashMap::from([("t".to_owned(), topic_id)]),
            http: Outgoing::new(destinations),
            secrets: self.secrets.clone(),
            clusters: self.clusters.clone(),
            catalogue: self.catalogue.clone(),
            runtime: self.runtime.handle().clone(),
        }
    }

    /// A processor with an identity of its own: databases outlive the bench.
    pub(super) fn build_as(
        &self,
        processor_id: &str,
        epoch: i64,
        config: &Value,
    ) -> Box<dyn Processor> {
        let site = Site {
            processor_id: processor_id.to_owned(),
            epoch,
            ..self.site(7)
        };
        let config = config.as_object().unwrap();
        kind("database_sync").unwrap().build(config, site).unwrap()
    }

    pub(super) fn build(&self, name: &str, config: &Value) -> Box<dyn Processor> {
        self.build_for(name, config, 7)
    }

    pub(super) fn build_for(
        &self,
        name: &str,
        config: &Value,
        topic_id: i64,
    ) -> Box<dyn Processor> {
        let config = config.as_object().unwrap();
        kind(name)
            .unwrap()
            .build(config, self.site(topic_id))
            .unwrap()
    }

    pub(super) fn put_secret(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join("secrets").join(name), text).unwrap();
    }

    pub(super) fn faults(&self, name: &str, config: &Map<String, Value>) -> Option<u16> {
        self.faults_with(name, config, "127.0.0.1:1")
    }

    pub(super) fn faults_with(
        &self,
        name: &str,
        config: &Map<String, Value>,
        destination: &str,
    ) -> Option<u16> {
        let destinations = Destinations::new(&[destination.to_owned()]).unwrap();
        let outside = Outside {
            roots: &self.roots,
            destinations: &destinations,
            secrets: &self.secrets,
            clusters: &self.clusters,
        };
        let mut body = Body::of(config.clone(), "");
        let _code = kind(name).unwrap().check(&mut body, &outside);
        body.finish().err().map(|problem| problem.status)
    }
}

/// A plain cluster.
pub(super) fn kafka(bootstrap: &str) -> KafkaSettings {
    KafkaSettings {
        bootstrap: bootstrap.to_owned(),
        security_protocol: "plaintext".to_owned(),
        sasl_mechanism: String::new(),
        sasl_username: String::new(),
        sasl_password_file: std::path::PathBuf::new(),
        ssl_ca_file: std::path::PathBuf::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

/// Records of one partition.
pub(crate) fn entries(offsets: Range<i64>) -> Vec<Entry<'static>> {
    offsets
        .map(|offset| Entry {
            topic: "t",
            partition: 0,
            offset,
            timestamp: Some(1_700_000_000_000 + offset),
            key: Some(b"k"),
            value: Some(b"{\"n\":1}"),
            headers: vec![("h", Some(b"v".as_slice()))],
        })
        .collect()
}

fn configs(url: &str) -> Vec<(&'static str, Value)> {
    let config = |name: &str| match name {
        "file_sink" => json!({"file_path": "out.jsonl"}),
        "streaming_forwarder" => json!({"endpoint_url": url}),
        _ => json!({}),
    };
    KINDS
        .iter()
        .map(|kind| (kind.name, config(kind.name)))
        .collect()
}

/// A webhook that answers 200 to everything and tells the requests' texts.
fn webhook() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("webhook".into())
        .spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut text = Vec::new();
                let mut part = [0; 4096];
                while !String::from_utf8_lossy(&text).ends_with(']') {
                    match stream.read(&mut part) {
                        Ok(n) if n > 0 => text.extend_from_slice(&part[..n]),
                        _ => break,
                    }
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).unwrap();
                if sender.send(String::from_utf8(text).unwrap()).is_err() {
                    break;
                }
            }
        })
        .unwrap();
    (url, receiver)
}

#[test]
fn every_processor_takes_batches_and_says_what_it_holds_after_a_failure() {
    let (url, _requests) = webhook();
    for (name, config) in configs(&url) {
        // Each has its own: they would share one identity.
        let bench = Bench::new();
        let mut sink = bench.build(name, &config);
        assert_eq!(sink.open().unwrap(), Positions::default(), "{name}");
        sink.write(&entries(0..5)).unwrap();
        sink.flush().unwrap();
        assert_eq!(sink.open().unwrap().get("t", 0), Some(5), "{name}");
        sink.write(&entries(5..6)).unwrap();
        sink.flush().unwrap();
        assert_eq!(sink.open().unwrap().get("t", 0), Some(6), "{name}");
    }
}

#[test]
fn a_topic_that_was_made_again_starts_anew_and_offsets_can_be_moved() {
    let bench = Bench::new();
    for (name, config) in configs("http://127.0.0.1:1/") {
        if name == "streaming_forwarder" {
            continue; // Its own tests have an endpoint that answers.
        }
        let mut sink = bench.build(name, &config);
        sink.open().unwrap();
        sink.write(&entries(0..5)).unwrap();
        drop(sink);
        assert_eq!(
            bench
                .build_for(name, &config, 8)
                .open()
                .unwrap()
                .get("t", 0),
            None,
            "{name}"
        );
        bench
            .build(name, &config)
            .rewind(&[("t".to_owned(), 0, 2)])
            .unwrap();
        assert_eq!(
            bench.build(name, &config).open().unwrap().get("t", 0),
            Some(2),
            "{name}"
        );
    }
}

#[test]
fn every_processor_refuses_what_its_schema_does_not_know() {
    let bench = Bench::new();
    for kind in KINDS {
        let config = Map::from_iter([("no_such_member".to_owned(), json!(1))]);
        assert_eq!(bench.faults(kind.name, &config), Some(422), "{}", kind.name);
        assert_eq!((kind.schema)()["type"], "object");
    }
    let wrong = Map::from_iter([("file_path".to_owned(), json!(5))]);
    assert_eq!(bench.faults("file_sink", &wrong), Some(400));
}
