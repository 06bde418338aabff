//! Builds the reports of detail. Nothing here runs while [`Detail`](crate::broker::Detail) is off: the callers ask
//! `self.detail.is_on()` first, which is one predictable branch.

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::connection::state::Connection;
use crate::broker::detail::Detail;
use crate::broker::ids::ConnectionId;
use crate::broker::report::{ClientLabel, FilterAnswer, PublishedMessage, Report, SessionChange, WillOutcome};
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ReasonCode, Will};
use crate::session::Application;
use crate::topic::Filter;

impl Shard {
    /// The client of a connection, for the log; `None` once the broker has ended it.
    pub fn label(&self, id: ConnectionId) -> Option<ClientLabel> {
        self.connection(id).map(Connection::label)
    }

    pub(super) fn set_detail(&mut self, detail: Detail) {
        self.detail = detail;
    }

    /// The client of a connection, if details about it are wanted.
    fn wanted(&self, id: ConnectionId) -> Option<ClientLabel> {
        let connection = self.connection(id)?;
        self.detail.wants(connection.client_id.as_ref()).then(|| connection.label())
    }

    /// Describes a PUBLISH before it is handled, for [`report_published`](Self::report_published).
    #[cold]
    pub(in crate::broker) fn describe(
        &self,
        id: ConnectionId,
        application: &Application,
    ) -> Option<Box<PublishedMessage>> {
        let client = self.wanted(id)?;
        Some(Box::new(PublishedMessage {
            client,
            topic: application.message.topic.as_str().into(),
            qos: application.qos,
            retain: application.retain,
            bytes: application.message.payload.len(),
        }))
    }

    /// Reports a PUBLISH and its outcome. It must follow the call of `accept`, which leaves the number of receivers.
    #[cold]
    pub(in crate::broker) fn report_published(
        &self,
        message: Box<PublishedMessage>,
        reason_code: ReasonCode,
        duplicate: bool,
        turn: &mut Turn<'_>,
    ) {
        let receivers = if duplicate || reason_code.is_error() { 0 } else { self.receivers };
        turn.actions.push(Action::Report(Box::new(Report::Published { message, reason_code, duplicate, receivers })));
    }

    /// Reports the answers to the filters of a SUBSCRIBE or UNSUBSCRIBE.
    #[cold]
    pub(in crate::broker) fn report_filters<'a>(
        &self,
        slot: usize,
        answers: impl Iterator<Item = (&'a Filter, ReasonCode)>,
        report: fn(ClientLabel, Vec<FilterAnswer>) -> Report,
        turn: &mut Turn<'_>,
    ) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let Some(client) = self.wanted(id) else { return };
        let answer = |(filter, reason_code): (&Filter, _)| FilterAnswer { filter: filter.to_string(), reason_code };
        turn.actions.push(Action::Report(Box::new(report(client, answers.map(answer).collect()))));
    }

    /// Reports a change of the Session in `slot`.
    pub(in crate::broker) fn report_session(&self, slot: usize, change: SessionChange, turn: &mut Turn<'_>) {
        if self.detail.is_on() {
            self.report_change_of(self.label_of_session(slot), change, turn);
        }
    }

    /// Reports a change of the Session of `client`.
    #[cold]
    pub(in crate::broker) fn report_change_of(&self, client: ClientLabel, change: SessionChange, turn: &mut Turn<'_>) {
        if self.detail.wants(client.client_id.as_ref()) {
            turn.actions.push(Action::Report(Box::new(Report::Session { client, change })));
        }
    }

    /// Reports what happened to the Will of the Session in `slot`.
    pub(in crate::broker) fn report_will(&self, slot: usize, will: &Will, outcome: WillOutcome, turn: &mut Turn<'_>) {
        if self.detail.is_on() {
            let client = self.label_of_session(slot);
            if self.detail.wants(client.client_id.as_ref()) {
                let topic = ByteString::from(will.topic.as_str());
                turn.actions.push(Action::Report(Box::new(Report::Will { client, topic, outcome })));
            }
        }
    }

    /// The client of the Session in `slot`, for the log.
    pub(in crate::broker) fn label_of_session(&self, slot: usize) -> ClientLabel {
        let Some(entry) = self.sessions.get(slot) else { return ClientLabel::default() };
        let connection = entry.connection.and_then(|id| self.connection(id));
        let label = connection.map(Connection::label).unwrap_or_default();
        ClientLabel { client_id: Some(entry.subscriber.client_id.clone()), ..label }
    }
}
