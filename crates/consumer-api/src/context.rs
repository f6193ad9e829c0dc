//! What the routes and use cases share.

use crate::catalogue::Catalogue;
use crate::clusters::Clusters;
use crate::dead_letter::Requests;
use crate::follow::Follower;
use crate::manager::Manager;
use crate::routes::ui::lag::RecentLags;
use crate::settings::Settings;
use crate::store::Store;
use crate::stream::Hub;
use sluice_admin_client::Client;
use sluice_admin_client::verify::Verifier;
use sluice_service::health::Health;
use sluice_service::http::cookie::Sessions;
use sluice_service::shutdown::Shutdown;
use std::sync::Arc;

/// The service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Context {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The registry.
    pub store: Store,
    /// The workers.
    pub manager: Manager,
    /// The clusters.
    pub clusters: Clusters,
    /// What the admin API says.
    pub catalogue: Catalogue,
    /// Who follows the admin API.
    pub follower: Follower,
    /// The admin API, for calls with a caller's own token.
    pub admin: Client,
    /// Who asks for dead-letter topics.
    pub dead_letter_topics: Requests,
    /// Checks bearers.
    pub verifier: Verifier,
    /// Console sessions.
    pub sessions: Sessions,
    /// Replays that run here.
    pub replays: crate::app::replays::Replays,
    /// The live tail.
    pub hub: Hub,
    /// What pages showed of lags a moment ago.
    pub lags: RecentLags,
    /// HTTP to other instances.
    pub peers: reqwest::Client,
    /// What is in trouble.
    pub health: Health,
    /// The wish to stop.
    pub shutdown: Shutdown,
}
