//! What the encoder says, worked out beside the server once for each checkpoint.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use vssl::{
    page::{Look, Sample},
    train::checkpoint::Store,
};

use crate::{
    arguments::{Common, Shown},
    commands::report,
};

/// How often a new checkpoint is looked for.
const EVERY: Duration = Duration::from_secs(2);

/// The latest answer, and the checkpoint that it is of.
#[derive(Default)]
struct Latest {
    checkpoint: String,
    json: Arc<str>,
    missing: Option<String>,
}

/// Shared with the thread that works.
#[derive(Clone)]
pub(super) struct Looks(Arc<Mutex<Latest>>);

impl Looks {
    /// Begins to look for checkpoints of `run`.
    pub(super) fn start(run: &Path, shown: &Shown, common: &Common) -> Self {
        let nothing = |reason: &str| Latest {
            json: "null".into(),
            missing: Some(reason.to_owned()),
            ..Latest::default()
        };
        let reason = match shown.curves {
            true => "left out on request (--curves)",
            false => "they come with the first checkpoint",
        };
        let looks = Self(Arc::new(Mutex::new(nothing(reason))));
        if !shown.curves {
            let (run, shown, common) = (run.to_owned(), shown.clone(), common.clone());
            let shared = looks.clone();
            // The thread ends with the process: it holds nothing that has to be put away.
            thread::spawn(move || shared.follow(&run, &shown, &common));
        }
        looks
    }

    /// The checkpoint, the answer as JSON (`null` for none), and why there is none.
    pub(super) fn latest(&self) -> (String, Arc<str>, Option<String>) {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (latest.checkpoint.clone(), Arc::clone(&latest.json), latest.missing.clone())
    }

    fn follow(&self, run: &Path, shown: &Shown, common: &Common) {
        let mut done = None;
        loop {
            // A pointer that cannot be read now is read again later.
            let now = Store::of(run).pointer(&shown.checkpoint).ok().flatten();
            if let Some(name) = now.filter(|name| done.as_ref() != Some(name)) {
                let (json, missing) = match look(run, shown, common) {
                    Ok(look) => (serde_json::to_string(&look).unwrap_or_default(), None),
                    Err(reason) => ("null".to_owned(), Some(reason)),
                };
                let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *latest = Latest { checkpoint: name.clone(), json: json.into(), missing };
                done = Some(name);
            }
            thread::sleep(EVERY);
        }
    }
}

fn look(run: &Path, shown: &Shown, common: &Common) -> Result<Look, String> {
    let opened = report::open(run, shown, common);
    let (encoder, splits) =
        opened.map_err(|failure| failure.message())?.map_err(|error| error.to_string())?;
    let sample = Sample::of(&encoder, &splits, shown.points as usize);
    sample.and_then(|sample| sample.look(&encoder, &splits)).map_err(|error| error.to_string())
}
