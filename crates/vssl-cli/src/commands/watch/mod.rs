//! `vssl watch`: serves the page of a run while it trains, to this machine only.

mod pictures;
mod server;

use std::{io, net::Ipv4Addr, time::Duration};

use anyhow::{Context, anyhow};
use serde_json::json;
use tiny_http::Server;
use vssl::run::stop::Stop;

use crate::{
    arguments::{Common, Watch},
    failure::Failure,
    output::say,
    signals,
};
use pictures::LatestPictures;
use server::Site;

/// Time between two checks whether a stop was requested.
const TICK: Duration = Duration::from_millis(200);

pub(super) fn run(arguments: &Watch, common: &Common) -> Result<(), Failure> {
    let Watch { run, port, shown } = arguments;
    shown.copy.device.resolve().map_err(Failure::usage)?;
    if run.is_file() {
        return Err(anyhow!("{}: a file; expected the folder of a run", run.display()).into());
    }
    let server =
        Server::http((Ipv4Addr::LOCALHOST, *port)).map_err(|error| refused(error, *port))?;
    let address = server.server_addr().to_ip().context("the server has no address")?;
    let stop = Stop::default();
    signals::listen(&stop);
    if common.json {
        let url = format!("http://{address}/");
        say(&json!({ "event": "listening", "run": run.to_string_lossy(), "address": url })
            .to_string())?;
    } else {
        let yet = if run.exists() { "" } else { ", which does not exist yet" };
        say(&format!("http://{address}/ shows {}{yet}; Ctrl-C ends it", run.display()))?;
    }
    let pictures = LatestPictures::start(run, shown, common);
    let mut site = Site::new(run, pictures);
    while !stop.requested() {
        match server.recv_timeout(TICK) {
            Ok(Some(request)) => site.answer(request),
            Ok(None) => {}
            Err(error) => return Err(anyhow::Error::new(error).context("serving the page").into()),
        }
    }
    Ok(())
}

fn refused(error: Box<dyn std::error::Error + Send + Sync>, port: u16) -> Failure {
    let in_use = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    match in_use {
        true => anyhow!(
            "port {port} is in use, perhaps by another vssl watch; choose another with --port, or \
             --port 0 for any that is free"
        ),
        false => anyhow!("listening on port {port}: {error}; choose another with --port"),
    }
    .into()
}
