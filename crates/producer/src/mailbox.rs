//! A bounded crossbeam channel into a thread that runs tasks: the channel is paired with a waker.

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use std::sync::Arc;
use tokio::sync::Notify;

/// The sending end, for threads.
#[derive(Clone, Debug)]
pub struct MailSender<T> {
    // An option only so that `drop` can close the channel before it rings.
    sender: Option<Sender<T>>,
    bell: Arc<Notify>,
}

/// The receiving end, for one task.
#[derive(Debug)]
pub struct Mailbox<T> {
    receiver: Receiver<T>,
    bell: Arc<Notify>,
}

/// A mailbox for at most `capacity` letters.
pub fn mailbox<T>(capacity: usize) -> (MailSender<T>, Mailbox<T>) {
    let (sender, receiver) = bounded(capacity);
    let bell = Arc::new(Notify::new());
    (
        MailSender {
            sender: Some(sender),
            bell: Arc::clone(&bell),
        },
        Mailbox { receiver, bell },
    )
}

impl<T> MailSender<T> {
    /// Sends without waiting; gives the letter back when the box is full or nobody reads it any more.
    ///
    /// # Errors
    /// With the letter.
    pub fn try_send(&self, letter: T) -> Result<(), T> {
        let Some(sender) = &self.sender else {
            return Err(letter);
        };
        match sender.try_send(letter) {
            Ok(()) => {
                self.bell.notify_one();
                Ok(())
            }
            Err(TrySendError::Full(letter) | TrySendError::Disconnected(letter)) => Err(letter),
        }
    }
}

impl<T> Drop for MailSender<T> {
    fn drop(&mut self) {
        self.sender = None;
        self.bell.notify_one();
    }
}

impl<T> Mailbox<T> {
    /// The next letter; `None` when no sender is left.
    pub async fn receive(&self) -> Option<T> {
        loop {
            match self.receiver.try_recv() {
                Ok(letter) => return Some(letter),
                Err(TryRecvError::Empty) => self.bell.notified().await,
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }
}
