//! What is told of the process as a whole. What every process has goes by the names that Prometheus gives it.

use super::{family, in_unit};
use crate::admin::exposition::{Kind, Text, labels};
use crate::admin::history::rounded;
use crate::admin::readiness;
use crate::admin::server::Site;
use crate::balance::Table;
use crate::sys::process;

pub(super) fn process(text: &mut Text, site: &Site, table: &Table) {
    let sources = &*site.sources;
    let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
    text.family(&family("evenkeel_build", Kind::Info, "The version that runs.")).add(&version, 1);
    let ready = readiness::reasons(sources, table).is_empty();
    let help = "1 while requests should be sent here, as /readyz says.";
    text.family(&family("evenkeel_ready", Kind::Gauge, help)).add("", u8::from(ready));
    let help = "1 while the process finishes what it has and takes no more.";
    text.family(&family("evenkeel_draining", Kind::Gauge, help)).add("", u8::from((sources.draining)()));
    let help = "Lines of the access log that were lost.";
    text.family(&family("evenkeel_access_log_lost", Kind::Counter, help)).add("", sources.losses.lines());
    reloads(text, site);
    let help = "Unix time of the start.";
    text.family(&in_unit("process_start_time_seconds", Kind::Gauge, "seconds", help))
        .add("", site.began.get());
    let help = "Processor time of all threads.";
    text.family(&in_unit("process_cpu_seconds", Kind::Counter, "seconds", help))
        .add("", process::cpu_seconds());
    if let Some((resident, all)) = process::memory() {
        let help = "Memory in use.";
        text.family(&in_unit("process_resident_memory_bytes", Kind::Gauge, "bytes", help)).add("", resident);
        let help = "Address space, most of which is no memory.";
        text.family(&in_unit("process_virtual_memory_bytes", Kind::Gauge, "bytes", help)).add("", all);
    }
    if let Some(open) = process::open_descriptors() {
        text.family(&family("process_open_fds", Kind::Gauge, "Descriptors open: files and sockets."))
            .add("", open);
    }
    if let Some(most) = process::most_descriptors() {
        text.family(&family("process_max_fds", Kind::Gauge, "Descriptors that may be open.")).add("", most);
    }
}

fn reloads(text: &mut Text, site: &Site) {
    let reloads = &site.sources.reloads;
    let help = "Reloads of the configuration, by result. One that failed has changed nothing.";
    text.family(&family("evenkeel_reloads", Kind::Counter, help))
        .add_by("", "result", "ok", reloads.ok())
        .add_by("", "result", "failed", reloads.failed());
    let help = "1 unless the last reload failed.";
    text.family(&family("evenkeel_last_reload_successful", Kind::Gauge, help))
        .add("", u8::from(reloads.last_successful()));
    let help = "Unix time of the last reload that succeeded, or of the start.";
    text.family(&in_unit("evenkeel_last_reload_timestamp_seconds", Kind::Gauge, "seconds", help))
        .add("", rounded(site.began.wall(reloads.at())));
}
