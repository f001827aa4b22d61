//! Outputs to system calls.

use std::io;
use std::net::SocketAddr;

use super::Driver;
use super::encode::EncodePictures;
use super::errors::is_transient;
use super::tokens::SOURCE;
use crate::server::{ConnId, Input, Output};
use crate::source::{SourceCommand, SourceEvent};

/// Whether an output is carried out after the drain: it takes long, or the core is told a fact for it.
fn is_work(output: &Output) -> bool {
    match output {
        Output::Capture(_)
        | Output::Encode { .. }
        | Output::Snapshot { .. }
        | Output::Source(_)
        | Output::Publish(..) => true,
        Output::Send(..)
        | Output::Finish(_)
        | Output::Pause(_)
        | Output::Resume(_)
        | Output::Close(_)
        | Output::Transmit(_)
        | Output::ForceKeyframe(_)
        | Output::KeepSession(..)
        | Output::Timeout(_) => false,
    }
}

impl<S: EncodePictures> Driver<S> {
    /// Carries out all outputs of the core, and queues those that are [work](is_work).
    pub(super) fn drain(&mut self) {
        loop {
            let output = self.server.poll_output();
            let is_last = matches!(output, Output::Timeout(_));
            match is_work(&output) {
                true => self.work.push_back(output),
                false => self.carry_out(output),
            }
            if is_last {
                return;
            }
        }
    }

    /// Carries out the queued work, and what follows from it, to the end. Called when the core has been told what
    /// was read: the buffer is free, and nothing here recurses.
    pub(super) fn work(&mut self) {
        loop {
            if let Some(fact) = self.pictures.next_fact() {
                self.input(fact);
            } else if let Some(output) = self.work.pop_front() {
                self.carry_out(output);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(id, bytes) => {
                self.connections.push(id, bytes);
                let fact = self.flush(id);
                self.facts.extend(fact);
            }
            Output::Finish(id) => {
                self.connections.finish(id);
                let fact = self.flush(id);
                self.facts.extend(fact);
            }
            Output::Pause(id) => self.connections.pause(id),
            Output::Resume(id) => {
                let token = self.connections.resume(id);
                token.into_iter().for_each(|token| self.ready.insert(token));
            }
            Output::Close(id) => self.close(id),
            Output::Transmit(transmit) => {
                if self.endpoints.push(transmit) {
                    self.transmit();
                }
            }
            Output::ForceKeyframe(codec) => self.pictures.force_keyframe(codec),
            Output::Capture(codecs) => self.pictures.capture(codecs),
            Output::Encode { picture, captured, codecs, is_reported } => {
                self.pictures.show(picture, captured, codecs, is_reported);
            }
            Output::Snapshot { width } => self.pictures.snapshot(width),
            Output::Source(command) => self.command_source(command),
            Output::Publish(id, command) => {
                if let Some(fact) = self.targets.execute(id, command, self.poller.registry()) {
                    self.input(fact);
                }
            }
            Output::KeepSession(id, session) => {
                if let Err(error) = self.targets.keep_session(id, session) {
                    self.warnings.warn(
                        &error,
                        "sessions at media servers cannot be stored for the next start",
                    );
                }
            }
            Output::Timeout(deadline) => {
                self.transmit();
                self.deadline = deadline;
            }
        }
    }

    /// Writes to a connection. Returns the fact that it is broken, if so.
    pub(super) fn flush(&mut self, id: ConnId) -> Option<Input<'static>> {
        match self.connections.flush(id) {
            Ok(flushed) => {
                flushed.into_iter().for_each(|token| self.ready.insert(token));
                None
            }
            Err(_) => {
                self.close(id);
                Some(Input::Disconnected(id))
            }
        }
    }

    pub(super) fn close(&mut self, id: ConnId) {
        if let Some(token) = self.connections.close(id) {
            self.ready.forget(token);
        }
    }

    /// Sends the datagrams that have been collected.
    fn transmit(&mut self) {
        let Driver { endpoints, facts, warnings, .. } = self;
        endpoints.send(|destination: SocketAddr, error: Option<io::Error>| {
            if let Some(error) = error {
                log::debug!("to {destination}: {error}");
                if !is_transient(&error) {
                    warnings.warn(&error, "sending datagrams failed");
                }
            }
            facts.push_back(Input::TransmitFailed { destination });
        });
    }

    fn command_source(&mut self, command: SourceCommand) {
        let Some(source) = &mut self.source else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let event = source.execute(command, self.poller.registry(), &mut buffer);
        if event == Some(SourceEvent::Opened) {
            // Bytes that came before the registration may cause no event.
            self.ready.insert(SOURCE);
        }
        if let Some(event) = event {
            self.input(Input::Source(event));
        }
        self.buffer = buffer;
    }
}
