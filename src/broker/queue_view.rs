//! Shows the head of a queue. Messages that only the store has are read first, up to [`READ_BYTES_MAX`].

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::persistence::fetch::{Fetch, Purpose};
use crate::broker::query::{Answer, MessageView, PREVIEW_BYTES_MAX, QUEUED_MAX, QueryId, QueueRequest, QueuedView};
use crate::broker::shard::{Shard, Turn};
use crate::codec::ClientId;
use crate::session::{Delivery, FetchedMessage, QueuedMessage};
use crate::timestamp::Timestamp;

impl Shard {
    /// Answers with the head of the queue of a Session, at once or when the store has been read.
    pub(in crate::broker) fn on_queue_query(
        &mut self,
        id: QueryId,
        client_id: &ClientId,
        request: QueueRequest,
        turn: &mut Turn<'_>,
    ) {
        let Some(entry) = self.session_of(client_id) else { return answer(id, None, turn) };
        let preview = request.preview.min(PREVIEW_BYTES_MAX);
        let (mut sequences, mut left) = (Vec::new(), READ_BYTES_MAX);
        let mut views = Vec::new();
        for queued in entry.session.queue_head(request.limit.clamp(1, QUEUED_MAX)) {
            let size = queued.content;
            if queued.is_stored
                && let Some(rest) = left.checked_sub(size.unwrap_or(left))
            {
                left = rest;
                sequences.push(queued.sequence);
            }
            views.push(view(&queued, preview));
        }
        if sequences.is_empty() {
            return answer(id, Some(views), turn);
        }
        let session = entry.subscriber.key;
        self.queue_views.push((id, views));
        let fetch = Fetch { session, sequences, purpose: Purpose::Show { query: id, preview } };
        turn.actions.push(Action::Fetch(Box::new(fetch)));
    }

    /// The messages of a queue that is shown were read, as far as they are still in the store.
    pub(in crate::broker) fn on_queue_read(
        &mut self,
        id: QueryId,
        preview: usize,
        messages: Vec<FetchedMessage>,
        turn: &mut Turn<'_>,
    ) {
        let Some(place) = self.queue_views.iter().position(|(query, _)| *query == id) else { return };
        let (_, mut views) = self.queue_views.swap_remove(place);
        for (sequence, message) in messages {
            if let (Some(view), Ok(delivery)) = (views.iter_mut().find(|view| view.sequence == sequence), message) {
                view.message = Some(Box::new(message_view(&delivery, preview)));
            }
        }
        answer(id, Some(views), turn);
    }
}

fn view(queued: &QueuedMessage<'_>, preview: usize) -> QueuedView {
    QueuedView {
        sequence: queued.sequence,
        state: queued.state,
        size: queued.content,
        expires_at: Some(queued.expires_at).filter(|at| *at != Timestamp::NEVER),
        message: queued.delivery.map(|delivery| Box::new(message_view(delivery, preview))),
    }
}

/// Copies the preview, so that it does not keep the message in memory.
fn message_view(delivery: &Delivery, preview: usize) -> MessageView {
    let message = &delivery.message;
    MessageView {
        topic: ByteString::from(message.topic.as_str()),
        qos: delivery.qos,
        retain: delivery.retain,
        payload_bytes: message.payload.len(),
        preview: message.payload.iter().take(preview).copied().collect(),
    }
}

fn answer(id: QueryId, views: Option<Vec<QueuedView>>, turn: &mut Turn<'_>) {
    turn.actions.push(Action::Answer(id, Box::new(Answer::Queue(views))));
}

/// The bytes of messages that are read from the store for one query. Further ones are shown without their contents.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
