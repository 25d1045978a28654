//! Answers requests: for the page, and for what changed since a version of it.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tiny_http::{Header, Request, Response, StatusCode};
use vssl::{
    page::{Document, RunView, html},
    run::folder,
};

use super::pictures::{Latest, LatestPictures};

/// The page of one run.
pub(super) struct Site {
    run: PathBuf,
    pictures: LatestPictures,
}

type Answer = Response<Box<dyn Read + Send>>;

impl Site {
    pub(super) fn new(run: &Path, pictures: LatestPictures) -> Self {
        Self { run: run.to_owned(), pictures }
    }

    /// Answers one request. A browser that went away is not an error.
    pub(super) fn answer(&mut self, request: Request) {
        let answer = self.respond(&request);
        let _ = request.respond(answer);
    }

    fn respond(&self, request: &Request) -> Answer {
        if !is_local(request) {
            return text(403, "text/plain", "only this machine may read the page".to_owned());
        }
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        let seen = query.strip_prefix("seen=").unwrap_or_default();
        match path {
            "/" => self.page(),
            "/run.json" => self.run(seen),
            "/pictures.json" => self.pictures(seen),
            _ => text(404, "text/plain", "there is only /".to_owned()),
        }
    }

    /// The page without data of the run, which it requests as soon as it is open.
    fn page(&self) -> Answer {
        let document = Document {
            live: true,
            version: env!("CARGO_PKG_VERSION"),
            runs: vec![RunView::waiting(&self.run)],
            pictures: vec![None],
            missing: vec![None],
        };
        text(200, "text/html; charset=utf-8", html(&document))
    }

    fn run(&self, seen: &str) -> Answer {
        let version = format!("{:016x}", folder::revision(&self.run));
        if version == seen {
            return nothing();
        }
        match RunView::read(&self.run) {
            Ok(run) => object(200, &json!({ "version": version, "run": run })),
            Err(error) => object(500, &json!({ "error": error.to_string() })),
        }
    }

    fn pictures(&self, seen: &str) -> Answer {
        let Latest { version, json: pictures, missing } = self.pictures.latest();
        if version == seen {
            return nothing();
        }
        let (version, missing) = (Value::from(version), json!(missing));
        let body =
            format!("{{\"version\":{version},\"missing\":{missing},\"pictures\":{pictures}}}");
        text(200, "application/json", body)
    }
}

/// Whether the browser addressed this machine by a local name. This refuses pages of other sites whose
/// name was made to point at this address.
fn is_local(request: &Request) -> bool {
    let host = request.headers().iter().find(|header| header.field.equiv("Host"));
    let host = host.map_or("", |header| header.value.as_str());
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ["127.0.0.1", "localhost"].contains(&name)
}

fn nothing() -> Answer {
    Response::empty(StatusCode(204)).boxed()
}

fn object(status: u16, value: &Value) -> Answer {
    text(status, "application/json", value.to_string())
}

fn text(status: u16, kind: &str, body: String) -> Answer {
    let header = |name: &str, value: &str| {
        Header::from_bytes(name, value).expect("names and values of these headers are ASCII")
    };
    Response::from_string(body)
        .with_status_code(StatusCode(status))
        .with_header(header("Content-Type", kind))
        .with_header(header("Cache-Control", "no-store"))
        .boxed()
}
