//! SQLite for services: one writer thread that groups waiting commands in one transaction, a pool of
//! query-only readers, and a lock file so that one process owns the database.
//!
//! The writer runs each command in a savepoint of one `IMMEDIATE` transaction and answers after
//! `COMMIT`: with `synchronous=FULL` a hundred waiting commands cost one sync instead of a hundred.

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Commands that may wait for the writer; more are refused as busy.
const WRITE_QUEUE_MAX: usize = 1024;
/// Commands in one transaction.
const GROUP_MAX: usize = 128;
/// Reading connections.
const READERS: u32 = 4;
/// Prepared statements that each connection keeps.
const STATEMENTS_KEPT: usize = 64;
/// How long a statement waits for a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the database did not do its work. The command itself was not at fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many commands wait already.
    #[error("too many writes are waiting")]
    Busy,
    /// The database is closed, or a command of ours panicked.
    #[error("the database writer stopped")]
    Stopped,
    /// The transaction that carried the command did not commit.
    #[error("not committed: {0}")]
    NotCommitted(String),
    /// SQLite said no.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No reading connection came free.
    #[error("database pool: {0}")]
    Pool(#[from] r2d2::Error),
    /// A database elsewhere does not answer; it may later.
    #[error("{0}")]
    Unavailable(String),
    /// A database elsewhere said no.
    #[error("{0}")]
    Refused(String),
    /// Another owner has taken over what this one wants to write.
    #[error("{0}")]
    Fenced(String),
    /// The file system said no.
    #[error("database file: {0}")]
    Io(#[from] std::io::Error),
    /// Another process owns the database.
    #[error("{path} is in use by {holder}")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// A migration failed.
    #[error("migration: {0}")]
    Migration(#[from] refinery::Error),
}

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&Connection) -> (bool, Answer) + Send>;
/// Runs on the writer after every commit.
pub type AfterCommit = Box<dyn Fn(&Connection) + Send>;

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    jobs: SyncSender<Job>,
    readers: r2d2::Pool<SqliteConnectionManager>,
    _lock: Arc<File>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Opens (or creates) the database of this process alone and brings its schema up to date.
    ///
    /// # Errors
    /// When another process owns it, the file cannot be used, or a migration fails.
    pub fn open(
        path: &Path,
        migrations: &refinery::Runner,
        after_commit: AfterCommit,
    ) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        drop(private_file(path)?);
        let mut writer = Connection::open(path)?;
        configure(&writer)?;
        migrations.run(&mut writer)?;
        after_commit(&writer);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let manager = SqliteConnectionManager::file(path)
            .with_flags(flags)
            .with_init(|reader| {
                configure(reader)?;
                reader.pragma_update(None, "query_only", true)
            });
        let readers = r2d2::Pool::builder()
            .max_size(READERS)
            .connection_timeout(BUSY_TIMEOUT)
            .build(manager)?;
        let (jobs, queue) = sync_channel(WRITE_QUEUE_MAX);
        std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || write_loop(&mut writer, &queue, &after_commit))?;
        Ok(Self {
            jobs,
            readers,
            _lock: Arc::new(lock),
        })
    }

    /// Runs a command on the writer, in a savepoint of its own; an error rolls the savepoint back.
    ///
    /// # Errors
    /// The command's own error, or a [`StoreError`] when it could not run or commit.
    pub async fn write<T, E>(
        &self,
        command: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |connection| {
            let outcome = command(connection);
            let keep = outcome.is_ok();
            let answer: Answer = Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => outcome,
                    Err(error) => Err(E::from(error)),
                };
                // Nobody waits any more when the client went away; the commit stands all the same.
                let _nobody_waits = sender.send(outcome);
            });
            (keep, answer)
        });
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(E::from(StoreError::Busy)),
            Err(TrySendError::Disconnected(_)) => return Err(E::from(StoreError::Stopped)),
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(E::from(StoreError::Stopped)))
    }

    /// Runs a query on a reading connection, off the async threads.
    ///
    /// # Errors
    /// The query's own error, or a [`StoreError`] when it could not run.
    pub async fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let readers = self.readers.clone();
        let work = move || {
            let connection = readers
                .get()
                .map_err(|error| E::from(StoreError::from(error)))?;
            query(&connection)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| Err(E::from(StoreError::Stopped)))
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn private_file(path: &Path) -> std::io::Result<File> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs_err::create_dir_all(parent)?;
    }
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Takes the lock file beside the database, or names who holds it.
fn lock(database: &Path) -> Result<File, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "process {}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = fs_err::read_to_string(&path)?;
            Err(StoreError::Locked { path, holder })
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn write_loop(connection: &mut Connection, queue: &Receiver<Job>, after_commit: &AfterCommit) {
    while let Ok(first) = queue.recv() {
        let mut answers = Vec::new();
        let outcome = write_group(connection, first, queue, &mut answers);
        match outcome {
            Ok(()) => {
                after_commit(connection);
                for answer in answers {
                    answer(Ok(()));
                }
            }
            Err(error) => {
                tracing::error!(error = %error, "a group of writes was not committed");
                let text = error.to_string();
                for answer in answers {
                    answer(Err(StoreError::NotCommitted(text.clone())));
                }
            }
        }
    }
}

fn write_group(
    connection: &mut Connection,
    first: Job,
    queue: &Receiver<Job>,
    answers: &mut Vec<Answer>,
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut next = Some(first);
    while let Some(job) = next {
        transaction.execute_batch("SAVEPOINT command")?;
        let outcome = catch_unwind(AssertUnwindSafe(|| job(&transaction)));
        let keep = matches!(outcome, Ok((true, _)));
        if !keep {
            transaction.execute_batch("ROLLBACK TO command")?;
        }
        transaction.execute_batch("RELEASE command")?;
        if let Ok((_, answer)) = outcome {
            answers.push(answer);
        }
        next = if answers.len() < GROUP_MAX {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Result<Database, StoreError> {
        let sql = "CREATE TABLE t (n INTEGER PRIMARY KEY)";
        let migration = refinery::Migration::unapplied("V1__t", sql).unwrap();
        let runner = refinery::Runner::new(&[migration]);
        Database::open(&dir.join("a.db"), &runner, Box::new(|_| {}))
    }

    async fn insert(db: &Database, n: i64) -> Result<usize, StoreError> {
        db.write(move |c| Ok(c.execute("INSERT INTO t VALUES (?1)", [n])?))
            .await
    }

    #[tokio::test]
    async fn one_failed_command_does_not_spoil_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path()).unwrap();
        insert(&db, 1).await.unwrap();
        let writes = (1..50).map(|n| {
            let db = db.clone();
            tokio::spawn(async move { insert(&db, n % 7).await.is_ok() })
        });
        let outcomes = futures_util::future::join_all(writes).await;
        let successes = outcomes
            .into_iter()
            .filter(|ok| *ok.as_ref().unwrap())
            .count();
        assert_eq!(successes, 6, "0 and 2 to 6 once each; 1 was there");
        let count: i64 = db
            .read(|c| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM t", [], |r| r.get(0))?))
            .await
            .unwrap();
        assert_eq!(count, 7);
    }

    #[tokio::test]
    async fn readers_cannot_write_and_a_panic_costs_only_its_own_command() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path()).unwrap();
        let read = db.read(|c| Ok::<_, StoreError>(c.execute("INSERT INTO t VALUES (9)", [])?));
        assert!(read.await.is_err());
        let panicked: Result<(), StoreError> = db.write(|_| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(StoreError::Stopped)));
        insert(&db, 3).await.unwrap();
    }

    #[tokio::test]
    async fn a_second_owner_is_refused_and_the_first_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path()).unwrap();
        let message = open(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
    }
}
