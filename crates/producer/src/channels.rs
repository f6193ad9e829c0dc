//! What the three threads say to each other, and how much of it may wait.

use crate::batch::{Batch, Outcome, Ticket};
use crate::budget::BATCHES_MAX;
use crate::mailbox::{MailSender, Mailbox, mailbox};
use crossbeam_channel::{Receiver, Sender, bounded};
use sluice_model::producer::{Heartbeat, ProducerStatus};
use sluice_model::topic::Routes;

/// Questions that may wait for the publisher.
pub const ASKS_MAX: usize = 64;
/// Route tables that may wait for the publisher.
pub const ROUTES_MAX: usize = 4;
/// Notes that may wait for the watcher.
pub const NOTES_MAX: usize = 1024;

/// A question of the listener.
#[derive(Debug)]
pub enum Ask {
    /// How does everything stand?
    Status(Ticket),
}

/// What the publisher tells the listener.
#[derive(Debug)]
pub enum Reply {
    /// A batch is safe or refused.
    Outcome(Outcome),
    /// How everything stands.
    Status(Ticket, Box<ProducerStatus>),
}

/// What the watcher tells the publisher.
#[derive(Debug)]
pub enum News {
    /// The whole table.
    Table(Routes),
    /// The admin API answered that nothing changed.
    Unchanged,
}

/// What the publisher tells the watcher.
#[derive(Debug)]
pub enum Note {
    /// What is held and in flight.
    Heartbeat(Heartbeat),
    /// Records came for a name that nobody has asked for.
    Unknown(Stranger),
}

/// A name that nobody has asked for.
#[derive(Clone, Debug)]
pub struct Stranger {
    /// The name.
    pub name: String,
    /// What came for it, for who decides.
    pub description: String,
}

/// The publisher's ends.
#[derive(Debug)]
pub struct PublisherEnds {
    /// Batches from the listener.
    pub batches: Receiver<Batch>,
    /// Questions from the listener.
    pub asks: Receiver<Ask>,
    /// Routes from the watcher.
    pub news: Receiver<News>,
    /// Answers to the listener.
    pub replies: MailSender<Reply>,
    /// Notes to the watcher.
    pub notes: MailSender<Note>,
}

/// The listener's ends.
#[derive(Debug)]
pub struct ListenerEnds {
    /// Batches to the publisher.
    pub batches: Sender<Batch>,
    /// Questions to the publisher.
    pub asks: Sender<Ask>,
    /// Answers from the publisher.
    pub replies: Mailbox<Reply>,
}

/// The watcher's ends.
#[derive(Debug)]
pub struct WatcherEnds {
    /// Routes to the publisher.
    pub news: Sender<News>,
    /// Notes from the publisher.
    pub notes: Mailbox<Note>,
}

/// All channels, bounded.
pub fn channels() -> (ListenerEnds, PublisherEnds, WatcherEnds) {
    let (batch_sender, batches) = bounded(BATCHES_MAX);
    let (ask_sender, asks) = bounded(ASKS_MAX);
    let (news_sender, news) = bounded(ROUTES_MAX);
    let (replies, reply_box) = mailbox(BATCHES_MAX + ASKS_MAX);
    let (notes, note_box) = mailbox(NOTES_MAX);
    (
        ListenerEnds {
            batches: batch_sender,
            asks: ask_sender,
            replies: reply_box,
        },
        PublisherEnds {
            batches,
            asks,
            news,
            replies,
            notes,
        },
        WatcherEnds {
            news: news_sender,
            notes: note_box,
        },
    )
}
