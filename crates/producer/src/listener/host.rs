//! This machine's CPU, memory, disk and network figures, once each interval.

use super::inlet::Inlet;
use super::own::send;
use crate::settings::HostSettings;
use serde_json::{Value, json};
use std::rc::Rc;
use sysinfo::{Disks, Networks, System};
use tokio::time::MissedTickBehavior;

/// Sends a record each interval, until the wish to stop.
pub(super) async fn run(inlet: Rc<Inlet>, settings: HostSettings) {
    let mut probe = match Probe::new() {
        Ok(probe) => probe,
        Err(error) => {
            tracing::error!(%error, "this machine's figures cannot be read");
            return;
        }
    };
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = inlet.shutdown.wait() => return,
            _ = ticks.tick() => {}
        }
        let figures = probe.figures().to_string();
        send(&inlet, "host", &settings.topic, &probe.host, figures).await;
    }
}

struct Probe {
    host: String,
    system: System,
    disks: Disks,
    networks: Networks,
}

impl Probe {
    fn new() -> Result<Self, sysinfo::Error> {
        Ok(Self {
            host: crate::host_name(),
            system: System::new()?,
            disks: Disks::new_with_refreshed_list()?,
            networks: Networks::new_with_refreshed_list()?,
        })
    }

    fn figures(&mut self) -> Value {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        let load = System::load_average().ok();
        let cores: Vec<_> = self
            .system
            .cpus()
            .iter()
            .map(|cpu| round(cpu.usage()))
            .collect();
        json!({
            "host": self.host,
            "timestamp": sluice_service::now(),
            "cpu": {
                "usage_percent": round(self.system.global_cpu_usage()),
                "cores_percent": cores,
                "load_1m": load.as_ref().map(|load| load.one),
                "load_5m": load.as_ref().map(|load| load.five),
                "load_15m": load.as_ref().map(|load| load.fifteen),
            },
            "memory": {
                "total_bytes": self.system.total_memory(),
                "used_bytes": self.system.used_memory(),
                "available_bytes": self.system.available_memory(),
                "swap_total_bytes": self.system.total_swap(),
                "swap_used_bytes": self.system.used_swap(),
            },
            "disks": self.disks.iter().map(|disk| json!({
                "mount": disk.mount_point().display().to_string(),
                "total_bytes": disk.total_space(),
                "available_bytes": disk.available_space(),
            })).collect::<Vec<_>>(),
            "network": self.networks.iter().map(|(name, data)| json!({
                "interface": name,
                "received_bytes": data.received(),
                "sent_bytes": data.transmitted(),
                "received_bytes_total": data.total_received(),
                "sent_bytes_total": data.total_transmitted(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn round(percent: f32) -> f64 {
    (f64::from(percent) * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_of_a_real_machine() {
        let figures = Probe::new().unwrap().figures();
        assert!(figures["memory"]["total_bytes"].as_u64().unwrap() > 1_000_000);
        assert!(
            !figures["cpu"]["cores_percent"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
}
