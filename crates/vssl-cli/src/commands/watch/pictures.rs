//! The pictures of the page, computed by a thread beside the server once for each checkpoint.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use vssl::{
    page::RunPictures,
    run::checkpoint::{BEST, LATEST, Store},
};

use crate::{
    arguments::{Common, Shown},
    commands::report,
    notes::note,
};

/// Time between two checks for a new checkpoint.
const EVERY: Duration = Duration::from_secs(2);

/// The pictures of the latest checkpoint, or the reason why there are none.
#[derive(Clone)]
pub(super) struct Latest {
    /// Name of the checkpoint, or the reason; a browser that has seen it gets no answer.
    pub(super) version: String,
    /// The pictures as JSON; `null` when there are none.
    pub(super) json: Arc<str>,
    /// Why there are no pictures.
    pub(super) missing: Option<String>,
}

impl Latest {
    fn nothing(reason: &str) -> Self {
        let missing = Some(reason.to_owned());
        Self { version: reason.to_owned(), json: "null".into(), missing }
    }
}

/// The latest pictures, shared with the thread that computes them.
#[derive(Clone)]
pub(super) struct LatestPictures(Arc<Mutex<Latest>>);

impl LatestPictures {
    /// Starts the thread that computes pictures for each new checkpoint of `run`.
    pub(super) fn start(run: &Path, shown: &Shown, common: &Common) -> Self {
        let reason = match shown.curves {
            true => "left out on request (--curves)",
            false => "they come with the first checkpoint",
        };
        let pictures = Self(Arc::new(Mutex::new(Latest::nothing(reason))));
        if !shown.curves {
            let (run, shown, common) = (run.to_owned(), shown.clone(), common.clone());
            let shared = pictures.clone();
            // The thread ends with the process: nothing that it holds needs to be closed.
            thread::spawn(move || shared.follow(&run, &shown, &common));
        }
        pictures
    }

    /// A copy of the latest pictures.
    pub(super) fn latest(&self) -> Latest {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn follow(&self, run: &Path, shown: &Shown, common: &Common) {
        let mut done = None;
        let mut told = false;
        loop {
            let now = match shown.copy.checkpoint.as_str() {
                // A pointer that cannot be read now is read again in the next round.
                LATEST => newest(&Store::of(run)),
                BEST => Store::of(run).pointer(BEST).ok().flatten(),
                step => Some(step.to_owned()),
            };
            if let Some(name) = now.filter(|name| done.as_ref() != Some(name)) {
                let answer = match pictures(run, shown, &mut told, common) {
                    Ok(pictures) => {
                        let json =
                            serde_json::to_string(&pictures).expect("pictures are plain data");
                        done = Some(name.clone());
                        Latest { version: name, json: json.into(), missing: None }
                    }
                    // The next round tries again: the checkpoint may just be written or replaced.
                    Err(reason) => Latest::nothing(&reason),
                };
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
            }
            thread::sleep(EVERY);
        }
    }
}

/// The name of the newest checkpoint; where there is no `latest`, the last one is taken.
fn newest(store: &Store) -> Option<String> {
    store.pointer(LATEST).ok().flatten().or_else(|| store.list().ok()?.pop())
}

/// The pictures of the run. The first time, which `told` remembers, it is told if its images are others than those of its
/// checkpoint: to know it, every image is looked at.
fn pictures(
    run: &Path,
    shown: &Shown,
    told: &mut bool,
    common: &Common,
) -> Result<RunPictures, String> {
    let opened = report::open(run, shown, common);
    let ((encoder, feature), splits) =
        opened.map_err(|failure| failure.message())?.map_err(|error| error.to_string())?;
    if !std::mem::replace(told, true) {
        let changed = report::changed(&encoder, shown, &splits);
        feature.iter().chain(&changed).for_each(|text| note(text));
    }
    let sample = report::sampled(&encoder, &splits, shown.points as usize, shown);
    sample.and_then(|sample| sample.pictures(&encoder, &splits)).map_err(|error| error.to_string())
}
