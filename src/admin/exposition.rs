//! The text that scrapers read: the Prometheus format 0.0.4 and OpenMetrics 1.0, which differ in what a counter's
//! family is called, in the unit line and in the end.
//!
//! Written here because the libraries each know one of the two (`prometheus-client` OpenMetrics, `prometheus` the
//! older one), and both want to keep the counters themselves, with locks or shared atomics where ours have one writer.

use std::fmt::{Display, Write};

use crate::histogram::{BOUNDS_US, Times};

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// The one that the client likes better; the older one if it does not say.
    pub(super) fn of(accept: Option<&str>) -> Self {
        let weight = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            ranges.filter_map(|range| weighed(range, wanted)).fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The weight of a media range if it is for that type (RFC 9110 section 12.4.2).
fn weighed(range: &str, wanted: &str) -> Option<f64> {
    let mut parts = range.split(';').map(str::trim);
    parts.next().filter(|media| media.eq_ignore_ascii_case(wanted))?;
    let weight = parts.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok());
    Some(weight.unwrap_or(1.0))
}

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// Sum and count alone.
    Summary,
    /// Always 1: what matters are its labels.
    Info,
}

/// A family of samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Without `_total` or `_info`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The end of the name, if that is one.
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
}

/// A text being written.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    out: String,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::new() }
    }

    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, family: &Family) -> Samples<'_> {
        let suffix = match family.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            _ => "",
        };
        let open = self.format == Format::OpenMetrics;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Info if open => "info",
            Kind::Info => "gauge",
        };
        let (name, named) = (family.name, if open { "" } else { suffix });
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "# HELP {name}{named} {}", family.help);
        let _ = writeln!(self.out, "# TYPE {name}{named} {kind}");
        if open && !family.unit.is_empty() {
            let _ = writeln!(self.out, "# UNIT {name} {}", family.unit);
        }
        Samples { out: &mut self.out, name, suffix }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// Adds samples to a family. Labels come as [`labels`] or [`Self::labelled`] made them, so that they are escaped once
/// for all the samples that have them.
pub(super) struct Samples<'t> {
    out: &'t mut String,
    name: &'static str,
    suffix: &'static str,
}

impl Samples<'_> {
    /// One sample; `labels` may be empty.
    pub(super) fn add(&mut self, labels: &str, value: impl Display) -> &mut Self {
        let suffix = self.suffix;
        self.line(suffix, labels, "", value)
    }

    /// One sample with a label more, which needs no escape.
    pub(super) fn add_by(&mut self, labels: &str, name: &str, label: &str, value: impl Display) -> &mut Self {
        let suffix = self.suffix;
        let comma = if labels.is_empty() { "" } else { "," };
        self.line(suffix, labels, &format!("{comma}{name}=\"{label}\""), value)
    }

    fn line(&mut self, suffix: &str, labels: &str, more: &str, value: impl Display) -> &mut Self {
        let name = self.name;
        let _ = if labels.is_empty() && more.is_empty() {
            writeln!(self.out, "{name}{suffix} {value}")
        } else {
            writeln!(self.out, "{name}{suffix}{{{labels}{more}}} {value}")
        };
        self
    }

    /// A summary of so many times, in microseconds all together.
    pub(super) fn summary(&mut self, labels: &str, sum_us: u64, count: u64) {
        self.line("_sum", labels, "", sum_us as f64 / 1e6);
        self.line("_count", labels, "", count);
    }

    /// A histogram in seconds.
    pub(super) fn histogram(&mut self, labels: &str, times: &Times) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (&us, within) in BOUNDS_US.iter().zip(times.within()) {
            self.line("_bucket", labels, &format!("{comma}le=\"{}\"", seconds(us)), within);
        }
        self.line("_bucket", labels, &format!("{comma}le=\"+Inf\""), times.count());
        self.summary(labels, times.sum_us, times.count());
    }
}

/// As OpenMetrics wants a bound: with a point.
fn seconds(us: u64) -> String {
    let text = (us as f64 / 1e6).to_string();
    if text.contains('.') { text } else { text + ".0" }
}

/// `name="value",…` with the values escaped.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    const REQUESTS: Family =
        Family { name: "evenkeel_requests", kind: Kind::Counter, unit: "", help: "Requests." };
    const BUILD: Family = Family { name: "evenkeel_build", kind: Kind::Info, unit: "", help: "Build." };
    const TOTAL: Family =
        Family { name: "evenkeel_total_seconds", kind: Kind::Histogram, unit: "seconds", help: "Time." };

    fn text(format: Format) -> String {
        let mut text = Text::new(format);
        text.family(&REQUESTS).add(&labels(&[("pool", "a\"b\\c\nd")]), 3).add_by("", "class", "2xx", 4);
        text.family(&BUILD).add(&labels(&[("version", "1")]), 1);
        text.finish()
    }

    #[test]
    fn both_formats_are_as_their_specifications_say() {
        assert_eq!(
            text(Format::Prometheus),
            "# HELP evenkeel_requests_total Requests.\n# TYPE evenkeel_requests_total counter\n\
             evenkeel_requests_total{pool=\"a\\\"b\\\\c\\nd\"} 3\nevenkeel_requests_total{class=\"2xx\"} 4\n\
             # HELP evenkeel_build_info Build.\n# TYPE evenkeel_build_info gauge\n\
             evenkeel_build_info{version=\"1\"} 1\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP evenkeel_requests Requests.\n# TYPE evenkeel_requests counter\n\
             evenkeel_requests_total{pool=\"a\\\"b\\\\c\\nd\"} 3\nevenkeel_requests_total{class=\"2xx\"} 4\n\
             # HELP evenkeel_build Build.\n# TYPE evenkeel_build info\n\
             evenkeel_build_info{version=\"1\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn buckets_add_up_and_end_in_infinity() {
        let histogram = Histogram::default();
        [40, 90, 70_000_000].into_iter().for_each(|us| histogram.record(us));
        let mut text = Text::new(Format::OpenMetrics);
        text.family(&TOTAL).histogram("pool=\"a\"", &Times::of([&histogram].into_iter()));
        let text = text.finish();
        for line in [
            "# UNIT evenkeel_total_seconds seconds",
            "evenkeel_total_seconds_bucket{pool=\"a\",le=\"0.00005\"} 1",
            "evenkeel_total_seconds_bucket{pool=\"a\",le=\"0.0001\"} 2",
            "evenkeel_total_seconds_bucket{pool=\"a\",le=\"60.0\"} 2",
            "evenkeel_total_seconds_bucket{pool=\"a\",le=\"+Inf\"} 3",
            "evenkeel_total_seconds_sum{pool=\"a\"} 70.00013",
            "evenkeel_total_seconds_count{pool=\"a\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_client_chooses_the_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                          q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (Some(prometheus), Format::OpenMetrics),
            (Some("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.2"), Format::Prometheus),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0"), Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("q=;,;"), Format::Prometheus),
            (None, Format::Prometheus),
        ] {
            assert_eq!(Format::of(accept), expected, "{accept:?}");
        }
    }
}
