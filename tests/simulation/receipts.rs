//! Receipts: one at least for each acknowledged message that asks for it. Each tells of as many receivers as there are, and of no acknowledgement that was
//! not read before.

use std::collections::BTreeMap;

use oncemq::codec::{OutgoingPublish, Qos};
use serde_json::Value;

use crate::consumers::Role;
use crate::ledger::Message;
use crate::profile::Lifetime;
use crate::refusing::has_rule;
use crate::world::World;

/// What receipts tell, and what the clients have answered.
#[derive(Debug, Default)]
pub(crate) struct ReceiptLedger {
    /// How often receivers have acknowledged, and refused, each message.
    answers: BTreeMap<usize, (u64, u64)>,
    /// What the receipts of each message tell, by the identity of the message.
    told: BTreeMap<usize, BTreeMap<String, Told>>,
    /// How often each receipt came without DUP.
    received: BTreeMap<String, u32>,
    crashes: u32,
}

/// What a receipt tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    receivers: u64,
    acknowledged: u64,
    refused: u64,
    outcomes: BTreeMap<String, u64>,
}

impl ReceiptLedger {
    /// The broker has read the last answer of a receiver.
    pub(crate) fn answered(&mut self, message: usize, is_refusal: bool) {
        let (acknowledged, refused) = self.answers.entry(message).or_default();
        *(if is_refusal { refused } else { acknowledged }) += 1;
    }

    pub(crate) const fn on_crash(&mut self) {
        self.crashes += 1;
    }
}

impl World {
    /// The broker sends a receipt.
    pub(crate) fn tap_receipt(&mut self, connection: usize, publish: &OutgoingPublish) -> Result<(), String> {
        let client = &self.clients[self.connections[connection].client];
        if !client.consumer.as_ref().is_some_and(|consumer| matches!(consumer.role, Role::Receipts)) {
            return Ok(());
        }
        let (number, id, told) = self.read_receipt(publish)?;
        let message = &self.checker.ledger.messages[number];
        self.judge_told(message, &told)?;
        let receipts = &mut self.checker.receipts;
        let of_message = receipts.told.entry(number).or_default();
        let before = of_message.insert(id, told.clone());
        if before.is_some_and(|before| before != told && receipts.crashes == 0) {
            return Err(format!("a receipt of message {number} tells something else again: {told:?}"));
        }
        let sum = |of: fn(&Told) -> u64| of_message.values().map(of).sum::<u64>();
        let is = (sum(|told| told.acknowledged), sum(|told| told.refused));
        let read = receipts.answers.get(&number).copied().unwrap_or_default();
        if is.0 > read.0 || is.1 > read.1 {
            return Err(format!("the receipts of message {number} tell of {is:?} answers, and {read:?} were read"));
        }
        Ok(())
    }

    /// The message of a receipt, its identity, and what is told.
    fn read_receipt(&self, publish: &OutgoingPublish) -> Result<(usize, String, Told), String> {
        let topic = publish.message.topic.as_str();
        let payload = String::from_utf8_lossy(&publish.message.payload);
        let fault = |text: &str| format!("{topic}: {text}: {payload}");
        let number: usize = topic.strip_prefix("x/").and_then(|number| number.parse().ok()).ok_or("no receipt")?;
        let message = self.checker.ledger.messages.get(number).ok_or_else(|| fault("there is no such message"))?;
        let receipt: Value = serde_json::from_str(&payload).map_err(|_| fault("no JSON"))?;
        let count = |name: &str| receipt[name].as_u64();
        let id = receipt["message_id"].as_str().ok_or_else(|| fault("no identity"))?;
        let outcomes = receipt["outcomes"].as_object().ok_or_else(|| fault("no outcomes"))?;
        let outcomes: BTreeMap<String, u64> =
            outcomes.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap_or(u64::MAX))).collect();
        let outcome = |name: &str| outcomes.get(name).copied().unwrap_or_default();
        if !message.asks_receipt || message.qos == Qos::AtMostOnce || receipt["topic"] != message.topic.as_str() {
            return Err(fault("nobody asked for it, or it names another topic"));
        }
        let receivers = count("receivers").ok_or_else(|| fault("no receivers"))?;
        if count("outstanding") != Some(0) || outcomes.values().sum::<u64>() != receivers {
            return Err(fault("it is not complete"));
        }
        let codes = receipt["reason_codes"].as_object().ok_or_else(|| fault("no codes"))?;
        if codes.values().filter_map(Value::as_u64).sum::<u64>() != outcome("refused") + outcome("dead_letter") {
            return Err(fault("the Reason Codes are not those of the refusals"));
        }
        let times = [count("accepted_at"), count("first_outcome_at"), count("last_outcome_at")];
        let is_ordered = times.is_sorted() && times[0].is_some();
        if times[1].is_some() != (receivers > 0) || receivers > 0 && !is_ordered {
            return Err(fault("the times are not in order"));
        }
        let (acknowledged, refused) = (outcome("acknowledged"), outcome("refused") + outcome("dead_letter"));
        Ok((number, id.to_owned(), Told { receivers, acknowledged, refused, outcomes }))
    }

    /// Whether there are as many receivers, and outcomes that are possible.
    fn judge_told(&self, message: &Message, told: &Told) -> Result<(), String> {
        let number = message.number;
        let (least, most) = self.receivers(message);
        if !(least..=most).contains(&told.receivers) {
            return Err(format!("message {number} has {least} to {most} receivers, and its receipt tells {told:?}"));
        }
        let is_share = message.topic.as_str().starts_with("s/");
        let is_passing = |client: &&crate::client::Client| !client.has_one_session();
        let passing = self.clients.iter().filter(is_passing).count() as u64 + u64::from(is_share);
        for (outcome, count) in &told.outcomes {
            let most = match outcome.as_str() {
                "acknowledged" => u64::MAX,
                "refused" if self.mix.refuses_messages && !has_rule(&message.topic) => u64::MAX,
                "dead_letter" if self.mix.refuses_messages && has_rule(&message.topic) => u64::MAX,
                "expired" if message.expiry.is_some() => u64::MAX,
                "queue_full" if self.mix.drops() => u64::MAX,
                "packet_too_large" if self.mix.small_windows => u64::MAX,
                "session_ended" => passing,
                "untracked" if is_share => u64::MAX,
                _ => 0,
            };
            if *count > most {
                return Err(format!("the receipt of message {number} tells of {count} {outcome}, not of {most}"));
            }
        }
        Ok(())
    }

    /// How many durable Sessions a message is for, at least and at most.
    fn receivers(&self, message: &Message) -> (u64, u64) {
        let sent_at = message.sent_at.map_or(u64::MAX, |(at, _)| at);
        let (mut least, mut most, mut shares) = (0, 0, BTreeMap::<&str, bool>::new());
        for client in &self.clients {
            let (mut must, mut may) = (false, false);
            for subscription in &client.subscriptions {
                let is_possible = subscription.filter.topic_filter.matches(&message.topic)
                    && subscription.until.is_none_or(|until| until >= sent_at)
                    && subscription.qos > Qos::AtMostOnce
                    && !(subscription.no_local && message.publisher == client.number)
                    && client.profile.lifetime != Lifetime::Transient;
                let is_settled = subscription.is_settled(sent_at) && client.has_one_session();
                match &subscription.filter.share {
                    _ if !is_possible => {}
                    Some(share) => {
                        // A message of a share may go to a member that is not durable.
                        shares.entry(share.as_str()).or_default();
                    }
                    None => (must, may) = (must || is_settled, true),
                }
            }
            (least, most) = (least + u64::from(must), most + u64::from(may));
        }
        (least, most + shares.len() as u64)
    }

    /// A receipt has arrived.
    pub(crate) fn on_receipt(&mut self, publish: &OutgoingPublish) -> Result<(), String> {
        let (number, id, _) = self.read_receipt(publish)?;
        let message = &self.checker.ledger.messages[number];
        let receipts = &mut self.checker.receipts;
        let times = receipts.received.entry(id).or_default();
        *times += u32::from(!publish.dup || *times == 0);
        if *times > 1 + receipts.crashes {
            return Err(format!("a receipt of message {number} came {times} times"));
        }
        let told = receipts.told.get(&number).map_or(0, BTreeMap::len);
        if told > message.copies() as usize {
            return Err(format!("message {number}, read {} times, has {told} receipts", message.read));
        }
        Ok(())
    }

    /// At the end, each acknowledged message has its receipt, and none is open.
    pub(crate) fn check_receipts(&self) -> Result<(), String> {
        let readers = self.clients.iter().filter_map(|client| client.consumer.as_ref());
        let since = readers.filter(|consumer| matches!(consumer.role, Role::Receipts)).find_map(|reader| reader.since);
        let Some(since) = since else { return Ok(()) };
        for message in &self.checker.ledger.messages {
            let asks = message.asks_receipt && message.acknowledged && message.qos > Qos::AtMostOnce;
            let is_after = message.sent_at.is_some_and(|(at, _)| at > since);
            let told = self.checker.receipts.told.get(&message.number);
            let has_come =
                told.is_some_and(|told| told.keys().any(|id| self.checker.receipts.received.contains_key(id)));
            let is_kept = self.mix.keeps(&message.topic) && !self.mix.drops(); // a full queue drops receipts, too
            if asks && is_after && is_kept && !has_come {
                return Err(format!("message {} was acknowledged, and has no receipt: {message:?}", message.number));
            }
        }
        match self.shared.receipts_len() {
            0 => Ok(()),
            open => Err(format!("{open} receipts are open")),
        }
    }
}
