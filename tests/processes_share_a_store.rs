//! Several processes on one SQLite file, as an application and its notification extension: who comes second is told, nothing
//! is sealed twice at one position, and the store opens afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test is to fail loudly"
)]

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sceau::error::Stale;
use sceau::store::{Mark, SealedStore};
use sceau::{Changes, Device, Policy, Record, RecordKey};
use sceau_testkit::Talk;
use sceau_testkit::talk::{NOW, content, done, state};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// How many messages each process seals.
const EACH: u32 = 25;
const KEY: [u8; 32] = [9; 32];

/// An application's database: the device's records, the mark, and what is to be sent.
struct Database(Connection);

#[derive(Debug)]
enum Failure {
    Stale,
    Database,
}

impl From<Stale> for Failure {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(_: rusqlite::Error) -> Self {
        Self::Database
    }
}

impl Database {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(std::time::Duration::from_mins(1)).unwrap();
        let tables = "create table if not exists records (key blob primary key, bytes blob) without rowid;
            create table if not exists outbox (number integer primary key, author integer, envelope blob);
            create table if not exists mark (only integer primary key, mark blob);";
        connection.execute_batch(tables).unwrap();
        Self(connection)
    }

    fn records(&self) -> Vec<(RecordKey, Vec<u8>)> {
        let mut rows = self.0.prepare("select key, bytes from records").unwrap();
        let rows = rows.query_map([], |row| Ok((RecordKey::from_bytes(row.get(0)?), row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn mark(&self) -> Mark {
        Mark::from_bytes(&self.0.query_row("select mark from mark", [], |row| row.get(0)).unwrap())
    }

    /// One transaction: whoever has it compares the head with what is there, then writes.
    fn transaction(
        &mut self,
        author: u32,
        envelope: &[u8],
        write: impl FnOnce(&rusqlite::Transaction<'_>, Option<&[u8]>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let query = "select bytes from records where key = ?1";
        let head: Option<Vec<u8>> =
            transaction.query_row(query, [RecordKey::HEAD.as_bytes()], |row| row.get(0)).optional()?;
        write(&transaction, head.as_deref())?;
        if !envelope.is_empty() {
            transaction.execute("insert into outbox (author, envelope) values (?1, ?2)", params![author, envelope])?;
        }
        Ok(transaction.commit()?)
    }
}

fn put(transaction: &rusqlite::Transaction<'_>, key: &[u8], bytes: Option<&[u8]>) -> Result<(), Failure> {
    match bytes {
        Some(bytes) => transaction.execute("insert or replace into records values (?1, ?2)", params![key, bytes])?,
        None => transaction.execute("delete from records where key = ?1", [key])?,
    };
    Ok(())
}

fn plain(transaction: &rusqlite::Transaction<'_>, head: Option<&[u8]>, changes: &Changes) -> Result<(), Failure> {
    for record in changes.after(head)? {
        match record {
            Record::Put(key, bytes) => put(transaction, key.as_bytes(), Some(bytes))?,
            Record::Delete(key) => put(transaction, key.as_bytes(), None)?,
        }
    }
    Ok(())
}

/// A process that seals its share, each message in a transaction, and starts again from the file whenever it is late.
fn seal_share(path: &Path, sealed_store: bool, author: u32) {
    let mut database = Database::open(path);
    let mut rng = rand::rng();
    let (mut sealed, mut late) = (0, 0);
    let load = |database: &Database| -> (Option<SealedStore>, Device) {
        if sealed_store {
            // Rows and mark of one moment.
            loop {
                let rows: Vec<_> =
                    database.records().into_iter().map(|(key, bytes)| (*key.as_bytes(), bytes)).collect();
                if let Ok((store, records)) = SealedStore::open(&KEY, rows, &database.mark()) {
                    let records = records.iter().map(|(key, image)| (*key, image.expose()));
                    return (Some(store), Device::restore(records, Policy::default()).unwrap());
                }
            }
        }
        (None, Device::restore(database.records(), Policy::default()).unwrap())
    };
    let (mut store, mut device) = load(&database);
    let peer = device.peers().next().unwrap();
    while sealed < EACH {
        let text = [author.to_be_bytes(), sealed.to_be_bytes()].concat();
        let pending = device.seal(peer, &text, NOW, &mut rng).unwrap();
        let result = match &mut store {
            Some(store) => store.commit(pending, &mut rand::rng(), |rows, message| {
                database.transaction(author, &message.envelope, |transaction, head| {
                    for (key, row) in rows.after(head)? {
                        put(transaction, key, row)?;
                    }
                    transaction.execute("insert or replace into mark values (1, ?1)", [rows.mark().to_bytes()])?;
                    Ok(())
                })
            }),
            None => pending.commit_with(|changes, message| {
                database.transaction(author, &message.envelope, |transaction, head| plain(transaction, head, changes))
            }),
        };
        match result {
            Ok(_) => sealed += 1,
            Err(Failure::Stale) => {
                late += 1;
                (store, device) = load(&database);
            }
            Err(Failure::Database) => panic!("the database failed"),
        }
        // The other one's turn, now and then.
        if sealed % 5 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    println!("{author} was late {late} times");
}

fn path_of(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.sqlite", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn child(path: &Path, sealed: bool, author: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "one_of_the_processes", "--nocapture"]);
    command.env("SCEAU_STORE", path).env("SCEAU_SEALED", sealed.to_string()).env("SCEAU_AUTHOR", author.to_string());
    command.spawn().unwrap()
}

/// Does nothing unless it was started by one of the tests below.
#[test]
fn one_of_the_processes() {
    let Some(path) = std::env::var_os("SCEAU_STORE") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    seal_share(Path::new(&path), variable("SCEAU_SEALED") == "true", variable("SCEAU_AUTHOR").parse().unwrap());
}

fn share(sealed: bool) {
    let mut talk = Talk::confirmed(if sealed { 1 } else { 2 });
    let path = path_of(if sealed { "sealed" } else { "plain" });
    let mut database = Database::open(&path);
    if sealed {
        let created = SealedStore::create(&KEY, &talk.alice, &mut talk.rng, |rows| {
            database.transaction(0, &[], |transaction, head| {
                for (key, row) in rows.after(head)? {
                    put(transaction, key, row)?;
                }
                transaction.execute("insert or replace into mark values (1, ?1)", [rows.mark().to_bytes()])?;
                Ok(())
            })
        });
        created.unwrap();
    } else {
        let records = talk.alice.records();
        database.transaction(0, &[], |transaction, head| plain(transaction, head, &records)).unwrap();
    }
    let children = [1, 2, 3].map(|author| child(&path, sealed, author));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    // Everything that was sent is opened, once.
    let mut rows = database.0.prepare("select envelope from outbox order by number").unwrap();
    let envelopes: Vec<Vec<u8>> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(rows);
    let mut read = BTreeSet::new();
    for envelope in &envelopes {
        assert!(read.insert(content(done(talk.bob.open(envelope, NOW).unwrap()))));
    }
    assert_eq!(read.len(), 3 * usize::try_from(EACH).unwrap());
    // And the store opens.
    let device = if sealed {
        let rows = database.records().into_iter().map(|(key, bytes)| (*key.as_bytes(), bytes));
        let (_, records) = SealedStore::open(&KEY, rows, &database.mark()).unwrap();
        Device::restore(records.iter().map(|(key, image)| (*key, image.expose())), Policy::default()).unwrap()
    } else {
        Device::restore(database.records(), Policy::default()).unwrap()
    };
    talk.alice = state(&device).restore();
    let reply = talk.from_bob(b"all of it");
    assert_eq!(talk.alice_reads(&reply).unwrap(), b"all of it");
    drop(database);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn plain_records() {
    share(false);
}

#[test]
fn sealed_records() {
    share(true);
}

/// One that only looks, from the same file, disturbs nobody.
#[test]
fn notification_extension_looks_and_changes_nothing() {
    let mut talk = Talk::confirmed(3);
    let path = path_of("preview");
    let mut database = Database::open(&path);
    let records = talk.bob.records();
    database.transaction(0, &[], |transaction, head| plain(transaction, head, &records)).unwrap();
    let envelope = talk.from_alice(b"look");
    let extension = Device::restore(database.records(), Policy::default()).unwrap();
    assert_eq!(content(extension.preview(&envelope, NOW).unwrap()), b"look");
    let mut bob = Device::restore(database.records(), Policy::default()).unwrap();
    let opened = bob
        .open(&envelope, NOW)
        .unwrap()
        .commit_with(|changes, _| database.transaction(0, &[], |transaction, head| plain(transaction, head, changes)));
    assert_eq!(content(opened.unwrap()), b"look");
    assert_eq!(extension.preview(&envelope, NOW).map(content).unwrap(), b"look", "it looks at what it has loaded");
    drop(database);
    std::fs::remove_file(path).unwrap();
}
