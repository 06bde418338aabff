//! Lists, shows, redrives and discards kept dead letters for operators.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::broker::persistence::fetch::{Fetch, LetterUse, Purpose};
use crate::broker::persistence::record::{InsteadOf, Record};
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::query::{Answer, PAGE_MAX, QueryId};
use crate::broker::redelivery::kept::NotTaken;
use crate::broker::redelivery::query::{DeadLetterAnswer, DeadLetterFailure, DeadLetterQuery};
use crate::broker::shard::{Shard, Turn};
use crate::routing::{SessionKey, Subscriber};
use crate::session::{Delivery, FetchedMessage};

impl Shard {
    pub(in crate::broker) fn on_dead_letter_query(
        &mut self,
        id: QueryId,
        query: &DeadLetterQuery,
        turn: &mut Turn<'_>,
    ) {
        match query {
            DeadLetterQuery::List { after, limit, filter } => {
                let (letters, next) =
                    self.shared.dead_letters.page(*after, (*limit).clamp(1, PAGE_MAX), filter.as_ref());
                Self::answer_letter(id, DeadLetterAnswer::List(letters, next), turn);
            }
            DeadLetterQuery::Show(number) => match self.shared.dead_letters.check_readable(*number) {
                Err(failure) => Self::answer_letter(id, DeadLetterAnswer::Show(Err(failure.into())), turn),
                Ok(()) => self.read_letter((id, *number), LetterUse::Show, turn),
            },
            DeadLetterQuery::Redrive(number) => self.begin_redrive(id, *number, turn),
            DeadLetterQuery::Discard(number) => {
                let taken = self.shared.dead_letters.take(*number);
                match taken {
                    Ok(_) => {
                        self.shared.dead_letters.remove(*number);
                        self.persist(Record::DeadLettersRemoved { numbers: vec![*number] }, turn);
                        self.answer_when_stable(id, done(Ok(())), turn);
                    }
                    Err(failure) => Self::answer_letter(id, DeadLetterAnswer::Done(Err(failure.into())), turn),
                }
            }
        }
    }

    fn answer_letter(id: QueryId, answer: DeadLetterAnswer, turn: &mut Turn<'_>) {
        turn.actions.push(Action::Answer(id, Box::new(Answer::DeadLetters(answer))));
    }

    /// Takes a dead letter, so that no other request gets it, and reads it.
    fn begin_redrive(&mut self, id: QueryId, number: u64, turn: &mut Turn<'_>) {
        let refused = |failure| DeadLetterAnswer::Done(Err(failure));
        let info = match self.shared.dead_letters.take(number) {
            Ok(info) => info,
            Err(failure) => return Self::answer_letter(id, refused(failure.into()), turn),
        };
        if let Err(failure) = self.receiver_of(&info) {
            self.shared.dead_letters.give_back(number);
            return Self::answer_letter(id, refused(failure), turn);
        }
        self.read_letter((id, number), LetterUse::Redrive, turn);
    }

    /// The Session that a dead letter can be put back to.
    fn receiver_of(&self, info: &DeadLetterInfo) -> Result<Arc<Subscriber>, DeadLetterFailure> {
        let Some(entry) = self.session_of(&info.client_id) else {
            let exists = self.shared.shard_of(&info.client_id).is_some();
            return Err(if exists { DeadLetterFailure::NotHere } else { DeadLetterFailure::SessionEnded });
        };
        let limits = self.limits.of(entry.subscriber.limits_class());
        let (messages, bytes) = entry.session.queued();
        if entry.subscriber.key != info.session {
            Err(DeadLetterFailure::SessionEnded)
        } else if !entry.is_durable() {
            Err(DeadLetterFailure::SessionTransient)
        } else if messages >= limits.queued_messages_max || bytes + info.bytes as usize > limits.queued_bytes_max {
            Err(DeadLetterFailure::QueueFull)
        } else {
            Ok(Arc::clone(&entry.subscriber))
        }
    }

    fn read_letter(&mut self, (query, number): (QueryId, u64), letter_use: LetterUse, turn: &mut Turn<'_>) {
        if let Some(letter) = self.shared.dead_letters.content(number) {
            return self.use_letter((query, number), letter_use, Ok(letter.delivery), turn);
        }
        let purpose = Purpose::Letter { query, letter_use };
        let fetch = Fetch { session: SessionKey(RecordKey::NO_SESSION), sequences: vec![number], purpose };
        turn.actions.push(Action::Fetch(Box::new(fetch)));
    }

    /// A dead letter was read.
    pub(in crate::broker) fn on_letter_fetched(
        &mut self,
        (query, letter_use): (QueryId, LetterUse),
        messages: Vec<FetchedMessage>,
        turn: &mut Turn<'_>,
    ) {
        for (number, message) in messages {
            let message = message.map_err(|cause| cause.to_string());
            self.use_letter((query, number), letter_use, message, turn);
        }
    }

    fn use_letter(
        &mut self,
        (query, number): (QueryId, u64),
        letter_use: LetterUse,
        message: Result<Delivery, String>,
        turn: &mut Turn<'_>,
    ) {
        match letter_use {
            LetterUse::Show => {
                let info = self.shared.dead_letters.info(number).ok_or(DeadLetterFailure::Unknown);
                let letter = info.and_then(|info| {
                    let delivery = message.map_err(DeadLetterFailure::Unreadable)?;
                    Ok(Box::new(DeadLetter { number, info, delivery }))
                });
                Self::answer_letter(query, DeadLetterAnswer::Show(letter), turn);
            }
            LetterUse::Redrive => match self.redrive(number, message, turn) {
                Ok(()) => self.answer_when_stable(query, done(Ok(())), turn),
                Err(failure) => {
                    self.shared.dead_letters.give_back(number);
                    Self::answer_letter(query, DeadLetterAnswer::Done(Err(failure)), turn);
                }
            },
        }
    }

    /// Puts a dead letter into the queue that it came from, with the record that deletes it.
    fn redrive(
        &mut self,
        number: u64,
        message: Result<Delivery, String>,
        turn: &mut Turn<'_>,
    ) -> Result<(), DeadLetterFailure> {
        let info = self.shared.dead_letters.info(number).ok_or(DeadLetterFailure::Unknown)?;
        let to = self.receiver_of(&info)?;
        let delivery = message.map_err(DeadLetterFailure::Unreadable)?;
        if delivery.expires_at <= turn.now {
            return Err(DeadLetterFailure::Expired);
        }
        if !to.access().receive(&delivery.message.topic) {
            return Err(DeadLetterFailure::NotAuthorized);
        }
        self.shared.dead_letters.remove(number);
        self.counters.dead_letters_redriven += 1;
        let sequence = to.take_sequence();
        self.append_to_queue(&to, (sequence, delivery), Some(InsteadOf::DeadLetter(number)), turn);
        Ok(())
    }
}

const fn done(result: Result<(), DeadLetterFailure>) -> Answer {
    Answer::DeadLetters(DeadLetterAnswer::Done(result))
}

impl From<NotTaken> for DeadLetterFailure {
    fn from(failure: NotTaken) -> Self {
        match failure {
            NotTaken::Unknown => Self::Unknown,
            NotTaken::Busy => Self::Busy,
        }
    }
}
