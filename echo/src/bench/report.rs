//! What a benchmark found, for people or for programs.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::DecimalBytes;
use readinto::Address;
use serde_json::{Value, json};

use crate::cli::BenchOptions;
use crate::resources::Usage;

/// The measurements of the counted frames.
pub(crate) struct Figures {
    pub(crate) elapsed: Duration,
    /// Of all connections.
    pub(crate) frames: u64,
    /// Their payloads, one way.
    pub(crate) bytes: u64,
    pub(crate) used: Usage,
    /// In nanoseconds.
    pub(crate) round_trips: Histogram<u64>,
}

impl Figures {
    fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    fn frames_per_second(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64()
    }

    /// `None` for empty frames.
    fn cpu_seconds_per_gigabyte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.used.cpu.as_secs_f64() / (self.bytes as f64 / 1e9))
    }

    fn percentile(&self, percentile: f64) -> Duration {
        Duration::from_nanos(self.round_trips.value_at_percentile(percentile))
    }
}

/// Writes the report to standard output.
pub(crate) fn write(
    figures: &Figures,
    options: &BenchOptions,
    address: &Address,
) -> io::Result<()> {
    let report = if options.json {
        format!("{:#}\n", as_json(figures, options, address))
    } else {
        as_text(figures, options, address)
    };
    let mut out = io::stdout().lock();
    out.write_all(report.as_bytes())?;
    out.flush()
}

fn as_text(figures: &Figures, options: &BenchOptions, address: &Address) -> String {
    let BenchOptions {
        frames,
        frame_size,
        connections,
        pipeline,
        prefix,
        ..
    } = options;
    let used = figures.used;
    let server = match options.connect {
        Some(_) => "",
        None => " (a server in this process)",
    };
    let checked = match options.no_verify {
        true => "answers not checked",
        false => "every byte checked",
    };
    let cpu = match figures.cpu_seconds_per_gigabyte() {
        Some(seconds) => format!("{seconds:.3} s per GB"),
        None => format!("{:.3} s", used.cpu.as_secs_f64()),
    };
    let round_trips: Vec<_> = PERCENTILES
        .iter()
        .map(|(name, percentile)| format!("{name} {:.1?}", figures.percentile(*percentile)))
        .collect();
    format!(
        "echoed      {frames} frames of {} on each of {connections} connections, {pipeline} under way, prefix {prefix}, {checked}\n\
         server      {address}{server}\n\
         throughput  {:.1} MB/s one way, {:.1} frames/s, {:.3} s in all\n\
         round trip  {}\n\
         processor   {cpu}, {}\n\
         switches    {} voluntary, {} involuntary\n",
        DecimalBytes(*frame_size as u64),
        figures.megabytes_per_second(),
        figures.frames_per_second(),
        figures.elapsed.as_secs_f64(),
        round_trips.join(", "),
        covered(options),
        used.voluntary_switches,
        used.involuntary_switches,
    )
}

fn as_json(figures: &Figures, options: &BenchOptions, address: &Address) -> Value {
    let round_trip: serde_json::Map<_, _> = PERCENTILES
        .iter()
        .map(|(name, percentile)| {
            let microseconds = figures.percentile(*percentile).as_secs_f64() * 1e6;
            (name.replace('.', "_"), microseconds.into())
        })
        .collect();
    json!({
        "address": address.to_string(),
        "own_server": options.connect.is_none(),
        "prefix": options.prefix.to_string(),
        "frame_size_bytes": options.frame_size,
        "frames_per_connection": options.frames,
        "warmup_frames_per_connection": options.warmup,
        "connections": options.connections,
        "pipeline": options.pipeline,
        "verified": !options.no_verify,
        "frames": figures.frames,
        "payload_bytes": figures.bytes,
        "elapsed_seconds": figures.elapsed.as_secs_f64(),
        "throughput_megabytes_per_second": figures.megabytes_per_second(),
        "frames_per_second": figures.frames_per_second(),
        "round_trip_microseconds": round_trip,
        "cpu_seconds": figures.used.cpu.as_secs_f64(),
        "cpu_seconds_per_gigabyte": figures.cpu_seconds_per_gigabyte(),
        "cpu_covers": covered(options),
        "voluntary_context_switches": figures.used.voluntary_switches,
        "involuntary_context_switches": figures.used.involuntary_switches,
    })
}

/// Whose work the processor time and the switches are.
fn covered(options: &BenchOptions) -> &'static str {
    match options.connect {
        Some(_) => "this end",
        None => "both ends",
    }
}

/// Names and percentiles, the last being the maximum.
const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];
