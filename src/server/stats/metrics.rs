//! What `/metrics` tells: the statistics in Prometheus's text format, version 0.0.4. There is no label
//! for a viewer: series of viewers that are gone would stay for ever.

use std::fmt::{Display, Write};

use super::{Statistics, TargetStatistics};

/// Of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Text(String);

impl Text {
    /// A metric with a sample for each label; none if there are none.
    fn add<L: Display, V: Display>(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        let mut head = format!("# HELP ballcast_{name} {help}\n# TYPE ballcast_{name} {kind}\n");
        for (labels, value) in samples {
            self.0 += &std::mem::take(&mut head);
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "ballcast_{name}{labels} {value}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.add("gauge", name, help, [("", value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.add("counter", name, help, [("", value)]);
    }
}

/// A label whose value is a name of ours, which has nothing to escape.
fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

impl Statistics {
    pub fn to_metrics(&self) -> String {
        let Statistics { sent, viewers, .. } = self;
        let mut text = Text(String::new());
        let version = label("version", env!("CARGO_PKG_VERSION"));
        text.add("gauge", "build_info", "Version of the server.", [(version, 1)]);
        text.gauge("uptime_seconds", "Time since the server started.", self.uptime.as_secs_f64());
        let states = ["half-open", "live", "silent"].into_iter().flat_map(|state| {
            let labels = |codec| format!("{{codec=\"{codec}\",state=\"{state}\"}}");
            let count = move |codec| {
                viewers
                    .iter()
                    .filter(|viewer| (viewer.state, viewer.codec) == (state, codec))
                    .count()
            };
            ["H264", "VP8"].map(|codec| (labels(codec), count(codec)))
        });
        text.add("gauge", "viewers", "Viewers by state and codec.", states);
        text.counter("viewers_total", "Viewers that have connected so far.", self.viewers_served);
        let ended =
            self.viewers_ended.iter().map(|(why, count)| (label("reason", why.name()), count));
        text.add("counter", "viewer_endings_total", "Viewers that have left, by reason.", ended);
        let refusals = self.refusals.iter();
        let refusals = refusals.map(|(why, count)| (label("reason", why.name()), count));
        text.add("counter", "refusals_total", "Refused requests, by reason.", refusals);
        text.gauge("connections", "TCP connections.", self.connections);
        text.gauge("mjpeg_clients", "Clients of /stream.mjpg.", self.mjpeg_clients);
        text.counter("frames_total", "Encoded frames, by codec.", self.video.frames);
        text.counter("key_frames_total", "Encoded key frames.", self.video.keyframes);
        let help = "Pictures skipped while another was being encoded.";
        text.counter("left_out_frames_total", help, self.video.left_out);
        let encoding = self.video.encode_total.as_secs_f64();
        let help = "Time spent rendering and encoding.";
        text.counter("encode_seconds_total", help, encoding);
        text.counter("jpegs_total", "Encoded JPEG files.", self.pictures.made);
        text.counter("sent_frames_total", "Frames sent to viewers.", sent.frames);
        text.counter("sent_packets_total", "RTP packets sent to viewers.", sent.packets);
        text.counter("sent_bytes_total", "Bytes of all datagrams to viewers.", sent.bytes);
        text.counter("resent_packets_total", "RTP packets retransmitted on request.", sent.resends);
        text.counter("repeated_packets_total", "RTP packets sent twice.", sent.repeats);
        let help = "PLI and FIR from viewers.";
        text.counter("key_frames_requested_total", help, sent.keyframe_requests);
        let help = "Frames not sent to viewers that were waiting for a key frame.";
        text.counter("dropped_frames_total", help, sent.drops);
        let help = "Datagrams that belong to no viewer.";
        text.counter("dropped_datagrams_total", help, self.datagrams.dropped);
        let help = "Datagrams that could not be sent.";
        text.counter("failed_datagrams_total", help, self.datagrams.failed);
        let has_picture = u8::from(self.problem.is_none());
        text.gauge("source_up", "Whether there is a picture.", has_picture);
        if let Some(source) = &self.source {
            let items = source.counters.items;
            text.counter("source_frames_total", "Pictures from the source.", items);
            let help = "Bytes from the source.";
            text.counter("source_bytes_total", help, source.counters.bytes);
            let help = "Restarts of the source.";
            text.counter("source_restarts_total", help, source.restarts);
        }
        self.add_targets(&mut text);
        text.0
    }

    /// The label is the target's place on the command line, from 1.
    fn add_targets(&self, text: &mut Text) {
        let mut add = |kind, name, help, value: fn(&TargetStatistics) -> Option<f64>| {
            let numbered = (1..).zip(&self.targets);
            let samples = numbered.filter_map(|(number, target)| {
                Some((label("target", &number.to_string()), value(target)?))
            });
            text.add(kind, name, help, samples);
        };
        let help = "Whether a media server has the picture.";
        add("gauge", "target_up", help, |it| Some(f64::from(u8::from(it.live.is_some()))));
        let help = "Sessions at a media server that have been live.";
        add("counter", "target_sessions_total", help, |it| Some(it.sessions as f64));
        let help = "Frames sent to a media server.";
        add("counter", "target_frames_total", help, |it| Some(it.counters.frames as f64));
        let help = "Bytes of all datagrams to a media server.";
        add("counter", "target_bytes_total", help, |it| Some(it.counters.bytes as f64));
        let help = "RTP packets retransmitted to a media server on request.";
        add("counter", "target_resent_packets_total", help, |it| Some(it.counters.resends as f64));
        let help = "Round-trip time to a media server.";
        let round_trip = |it: &TargetStatistics| Some(it.reception.round_trip?.as_secs_f64());
        add("gauge", "target_round_trip_seconds", help, round_trip);
        let help = "Fraction of packets lost on the way to a media server.";
        add("gauge", "target_loss_ratio", help, |it| it.reception.loss.map(f64::from));
    }
}
