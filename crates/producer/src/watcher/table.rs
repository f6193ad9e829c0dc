//! The last routes, kept on disk for a start without the admin API.

use crate::spool::cursor::replace;
use sluice_model::topic::Routes;
use std::path::Path;

const FILE: &str = "routes.json";

/// Keeps a table.
///
/// # Errors
/// When the disk does not take it; the old one stays then.
pub fn save(dir: &Path, routes: &Routes) -> std::io::Result<()> {
    replace(dir, FILE, &serde_json::to_vec(routes)?)
}

/// The table that was kept last, if there is one that can be read.
pub fn load(dir: &Path) -> Option<Routes> {
    let bytes = fs_err::read(dir.join(FILE)).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(routes) => Some(routes),
        Err(error) => {
            tracing::warn!(%error, "the kept routes cannot be read; the admin API will give them");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::lifecycle::State;
    use sluice_model::topic::{OnStop, Route};

    #[test]
    fn a_table_survives_a_restart_and_a_damaged_one_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_none());
        let route = Route {
            topic_id: 1,
            topic_name: "t".into(),
            status: State::Active,
            partitions: 2,
            on_stop: OnStop::Hold,
        };
        let routes = Routes {
            revision: "e-1".into(),
            topics: vec![route],
        };
        save(dir.path(), &routes).unwrap();
        assert_eq!(load(dir.path()), Some(routes));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(load(dir.path()).is_none());
    }
}
