use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// How far each shard of a stream has been handled, kept in a file.
///
/// A checkpoint that is lost costs time and nothing else: records come again, and handlers expect that. So the file is
/// replaced in one step but not flushed, and one that cannot be read counts as none.
pub(super) struct Checkpoint {
    path: PathBuf,
    place: Mutex<Place>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    /// The stream's ARN: places in another stream mean nothing.
    stream: String,
    shards: BTreeMap<String, Position>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Position {
    /// This sequence number was the last to be handled.
    After(String),
    /// The shard is closed, and all of it handled.
    Finished,
}

impl Checkpoint {
    /// The checkpoint in this file, if it is one of this stream; otherwise the beginning.
    pub(super) fn read(path: PathBuf, stream: &str) -> Self {
        let place = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Place>(&text)
                .inspect_err(
                    |error| tracing::warn!(%error, "the stream's checkpoint is unreadable; reading all"),
                )
                .ok(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "the stream's checkpoint is unreadable; reading all");
                None
            }
        };
        let place = place
            .filter(|place| place.stream == stream)
            .unwrap_or_else(|| Place { stream: stream.to_owned(), shards: BTreeMap::new() });
        Self { path, place: Mutex::new(place) }
    }

    /// The last sequence number that was handled in the shard.
    pub(super) fn after(&self, shard: &str) -> Option<String> {
        match self.place().shards.get(shard) {
            Some(Position::After(sequence_number)) => Some(sequence_number.clone()),
            Some(Position::Finished) | None => None,
        }
    }

    /// Whether the shard is closed and handled to its end.
    pub(super) fn is_finished(&self, shard: &str) -> bool {
        self.place().shards.get(shard) == Some(&Position::Finished)
    }

    /// Everything in the shard up to this sequence number is handled.
    pub(super) fn advance(&self, shard: &str, sequence_number: &str) {
        let mut place = self.place();
        let position = Position::After(sequence_number.to_owned());
        if place.shards.get(shard) != Some(&position) {
            place.shards.insert(shard.to_owned(), position);
            self.write(&place);
        }
    }

    /// Everything in the shard is handled, and nothing will follow.
    pub(super) fn finish(&self, shard: &str) {
        let mut place = self.place();
        place.shards.insert(shard.to_owned(), Position::Finished);
        self.write(&place);
    }

    /// The shard is to be read from its oldest record.
    pub(super) fn forget(&self, shard: &str) {
        let mut place = self.place();
        place.shards.remove(shard);
        self.write(&place);
    }

    /// Drops the shards that the stream no longer has.
    pub(super) fn keep(&self, listed: &HashSet<&str>) {
        let mut place = self.place();
        let before = place.shards.len();
        place.shards.retain(|shard, _| listed.contains(shard.as_str()));
        if place.shards.len() != before {
            self.write(&place);
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, place: &Place) {
        let folder = self.path.parent().unwrap_or(&self.path);
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(place)?)?;
            file.persist(&self.path)?;
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(%error, "cannot keep the stream's checkpoint; records will come again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Checkpoint;

    /// The file as it was written, every kind of position in it. A new form gets a new file.
    const STREAM: &str = include_str!("../../../tests/golden/stream-1.json");

    #[test]
    fn a_checkpoint_is_read_and_written_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stream.json");
        std::fs::write(&path, STREAM).unwrap();
        let read = Checkpoint::read(path.clone(), "arn:aws:dynamodb:local:0:table/events/stream/1");
        assert_eq!(read.after("shardId-1").as_deref(), Some("000000000000000000042"));
        assert!(read.is_finished("shardId-0") && !read.is_finished("shardId-1"));
        read.forget("shardId-2");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), STREAM.trim_end());
    }
}
