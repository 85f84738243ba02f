use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use projector::replay::{Checkpoint, Phase, Replay};
use serde::{Deserialize, Serialize};
use storage::Segment;

use super::report;
use crate::place::Place;

/// How far a run has come is kept as often as this. What was done since is done again, and does no harm.
const KEPT_EVERY: Duration = Duration::from_secs(1);

/// How the names of the files begin.
const PREFIX: &str = "unfinished-";

/// The file in the data folder that says how far an unfinished run has come, so that the next one goes on from there.
///
/// It is replaced in one step but not flushed to the disk, and one that cannot be read counts as none: what it saves is
/// time. Two runs at once replace each other's, and either's is right.
#[derive(Clone)]
pub(super) struct Unfinished {
    path: PathBuf,
    endpoint: Option<String>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    written: Option<Instant>,
    /// What is not in the file yet.
    latest: Option<Checkpoint>,
    complained: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The DynamoDB that was worked on; `None` for the embedded one. Its tables may have the names of others.
    endpoint: Option<String>,
    checkpoint: Checkpoint,
}

impl Unfinished {
    /// That of a run called this, over everything or over one part of the log.
    pub(super) fn of(place: &Place, name: &str, segment: Option<Segment>) -> Self {
        let part = segment.map(|segment| format!("-{}-of-{}", segment.index + 1, segment.total));
        let file = format!("{PREFIX}{name}{}.json", part.unwrap_or_default());
        Self { path: place.folder.join(file), endpoint: place.elsewhere.clone(), state: Arc::default() }
    }

    /// Nothing that was begun on this data is to be gone on with.
    pub(super) fn forget_all(folder: &Path) -> Result<(), std::io::Error> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The run, going on from where an unfinished one stood, and keeping how far it comes. Says on standard error if it
    /// goes on, and why it does not where there is something to go on from.
    pub(super) fn taken_up(&self, replay: Replay, phase: Phase, restart: bool, now: DateTime<Utc>) -> Replay {
        let replay = match self.read().filter(|_| !restart) {
            None => replay,
            Some(checkpoint) => {
                let users = report::count(checkpoint.users(), "user");
                match replay.clone().resuming(phase, checkpoint, now) {
                    Ok(resumed) => {
                        eprintln!("resumed: {users} done before");
                        resumed
                    }
                    Err(unfit) => {
                        self.not_taken_up(&unfit.to_string());
                        replay
                    }
                }
            }
        };
        let unfinished = self.clone();
        replay.keeping(move |checkpoint| unfinished.keep(checkpoint))
    }

    fn read(&self) -> Option<Checkpoint> {
        let kept = match std::fs::read(&self.path) {
            Ok(text) => serde_json::from_slice::<Kept>(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(kept) if kept.endpoint == self.endpoint => Some(kept.checkpoint),
            Ok(_) => {
                self.not_taken_up("it is that of another endpoint");
                None
            }
            Err(error) => {
                self.not_taken_up(&error);
                None
            }
        }
    }

    fn not_taken_up(&self, why: &str) {
        eprintln!("not resumed from {}: {why}", self.path.display());
    }

    fn keep(&self, checkpoint: &Checkpoint) {
        if checkpoint.users() == 0 {
            // There is nothing yet to go on from.
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.latest = Some(checkpoint.clone());
        if state.written.is_none_or(|written| written.elapsed() >= KEPT_EVERY) {
            self.write(&mut state);
        }
    }

    /// The run has ended: done, and there is nothing to go on with; or early, and the next one goes on.
    pub(super) fn ended(&self, done: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !done {
            self.write(&mut state);
            return;
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!("annals: cannot remove {}: {error}", self.path.display());
            }
            _ => {}
        }
    }

    fn write(&self, state: &mut State) {
        let Some(checkpoint) = state.latest.take() else { return };
        let folder = self.path.parent().unwrap_or(&self.path);
        let kept = Kept { endpoint: self.endpoint.clone(), checkpoint };
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(&kept)?)?;
            file.persist(&self.path)?;
            Ok(())
        });
        state.written = Some(Instant::now());
        if let Err(error) = written
            && !std::mem::replace(&mut state.complained, true)
        {
            eprintln!("annals: cannot keep how far this has come, in {}: {error}", self.path.display());
        }
    }
}
