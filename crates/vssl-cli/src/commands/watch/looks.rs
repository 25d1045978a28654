//! What the encoder says, worked out beside the server once for each checkpoint.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use vssl::{
    page::Look,
    run::checkpoint::{BEST, LATEST, Store},
};

use crate::{
    arguments::{Common, Shown},
    commands::report,
};

/// How often a new checkpoint is looked for.
const EVERY: Duration = Duration::from_secs(2);

/// The latest answer.
#[derive(Clone)]
pub(super) struct Latest {
    /// The checkpoint that it is of; without one, the reason.
    pub(super) version: String,
    /// `null` for none.
    pub(super) json: Arc<str>,
    /// Why there is none.
    pub(super) missing: Option<String>,
}

impl Latest {
    fn nothing(reason: &str) -> Self {
        let missing = Some(reason.to_owned());
        Self { version: reason.to_owned(), json: "null".into(), missing }
    }
}

/// Shared with the thread that works.
#[derive(Clone)]
pub(super) struct Looks(Arc<Mutex<Latest>>);

impl Looks {
    /// Begins to look for checkpoints of `run`.
    pub(super) fn start(run: &Path, shown: &Shown, common: &Common) -> Self {
        let reason = match shown.curves {
            true => "left out on request (--curves)",
            false => "they come with the first checkpoint",
        };
        let looks = Self(Arc::new(Mutex::new(Latest::nothing(reason))));
        if !shown.curves {
            let (run, shown, common) = (run.to_owned(), shown.clone(), common.clone());
            let shared = looks.clone();
            // The thread ends with the process: it holds nothing that has to be put away.
            thread::spawn(move || shared.follow(&run, &shown, &common));
        }
        looks
    }

    /// The latest answer.
    pub(super) fn latest(&self) -> Latest {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn follow(&self, run: &Path, shown: &Shown, common: &Common) {
        let mut done = None;
        loop {
            let now = match shown.copy.checkpoint.as_str() {
                // A pointer that cannot be read now is read again later.
                name @ (LATEST | BEST) => Store::of(run).pointer(name).ok().flatten(),
                step => Some(step.to_owned()),
            };
            if let Some(name) = now.filter(|name| done.as_ref() != Some(name)) {
                let answer = match look(run, shown, common) {
                    Ok(look) => {
                        let json = serde_json::to_string(&look).expect("a look is plain data");
                        done = Some(name.clone());
                        Latest { version: name, json: json.into(), missing: None }
                    }
                    // Tried again: the checkpoint may have given way to the next, or be on its way.
                    Err(reason) => Latest::nothing(&reason),
                };
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
            }
            thread::sleep(EVERY);
        }
    }
}

fn look(run: &Path, shown: &Shown, common: &Common) -> Result<Look, String> {
    let opened = report::open(run, shown, common);
    let (encoder, splits) =
        opened.map_err(|failure| failure.message())?.map_err(|error| error.to_string())?;
    let sample = report::sampled(&encoder, &splits, shown.points as usize, shown);
    sample.and_then(|sample| sample.look(&encoder, &splits)).map_err(|error| error.to_string())
}
