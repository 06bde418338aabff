use std::cmp::Reverse;

use oncemq::broker::{Recovered, RecoveredSession, RestoredMessage};
use oncemq::codec::Message;
use oncemq::store::{FormatUse, Formats, Report, StreamReport};

use crate::output;

/// The result of `check`, for people.
pub(super) fn report(report: &Report) -> String {
    let mut lines = vec![
        format!("segments    {}", report.segments),
        format!("batches     {}", report.batches),
        format!("entries     {}", report.entries),
        format!("bytes       {}", report.bytes),
        format!("live bytes  {}", report.live_bytes),
        format!("keys        {}", report.keys),
        format!("cut bytes   {}", report.cut_bytes),
    ];
    lines.extend(report.streams.iter().map(stream));
    lines.extend(report.damages.iter().map(|damage| format!("damaged     {damage}")));
    if report.damages.is_empty() {
        lines.push("sound".to_owned());
    }
    lines.join("\n")
}

fn stream(StreamReport { number, name, segments, oldest, next, bytes, cut_bytes, .. }: &StreamReport) -> String {
    let name = name.as_deref().unwrap_or("?");
    let cut = if *cut_bytes > 0 { format!(", {cut_bytes} cut bytes") } else { String::new() };
    format!(
        "stream {number:<4} {name}: {segments} segments, {bytes} bytes, messages {oldest} up to but not including {next}{cut}"
    )
}

/// The format versions of a store, for people.
pub(super) fn formats(formats: &Formats) -> String {
    let Formats { versions, current, newer, unreadable } = formats;
    let mut lines = vec![format!("{:>6}  {:>8}  {:>14}", "format", "segments", "bytes")];
    lines.extend(versions.iter().map(|(version, FormatUse { segments, bytes })| {
        let note = if version < current { "older" } else { "current" };
        format!("{version:>6}  {segments:>8}  {bytes:>14}  {note}")
    }));
    lines.extend(newer.iter().map(|(name, version)| format!("{version:>6}  {name} and perhaps others: newer")));
    lines.extend(unreadable.iter().map(|name| format!("     ?  {name} has no valid header")));
    lines.push(format!("this version reads 1 to {current}, and writes {current}"));
    lines.join("\n")
}

/// A summary of a store, for people.
pub(super) fn text(recovered: &Recovered) -> String {
    let clients = clients(recovered);
    let waiting: Vec<_> = clients.iter().filter(|client| client.messages > 0).collect();
    let messages: usize = waiting.iter().map(|client| client.messages).sum();
    let bytes: usize = waiting.iter().map(|client| client.bytes).sum();
    let mut text = format!(
        "sessions           {}\nretained messages  {} ({})\nqueued messages    {messages} ({})",
        clients.len(),
        recovered.retained.len(),
        size(retained_bytes(recovered)),
        size(bytes),
    );
    if recovered.unreadable > 0 {
        text.push_str(&format!("\nrecords this version can't decode: {}", recovered.unreadable));
    }
    if !recovered.unknown_kinds.is_empty() {
        text.push_str(&format!("\nkinds of records of a later version: {:?}", recovered.unknown_kinds));
    }
    if !waiting.is_empty() {
        text.push_str(&format!("\n\n{:>12}  {:>10}  client", "bytes", "messages"));
    }
    for client in waiting {
        // A client chooses its Client Identifier, so control characters are escaped for the terminal.
        let name = client.client_id.escape_debug();
        text.push_str(&format!("\n{:>12}  {:>10}  {name}", size(client.bytes), client.messages));
    }
    text
}

/// A summary of a store as JSON.
pub(super) fn json(recovered: &Recovered) -> String {
    let retained = format!("{{\"messages\":{},\"bytes\":{}}}", recovered.retained.len(), retained_bytes(recovered));
    let sessions: Vec<String> = clients(recovered)
        .iter()
        .map(|client| {
            let (name, messages, bytes) = (quoted(client.client_id), client.messages, client.bytes);
            format!("{{\"client_id\":{name},\"queued_messages\":{messages},\"queued_bytes\":{bytes}}}")
        })
        .collect();
    let unreadable = recovered.unreadable;
    format!("{{\"retained\":{retained},\"unreadable_records\":{unreadable},\"sessions\":[{}]}}", sessions.join(","))
}

/// The queue of a client.
struct Client<'a> {
    client_id: &'a str,
    messages: usize,
    bytes: usize,
}

impl<'a> Client<'a> {
    fn of(session: &'a RecoveredSession) -> Self {
        let RecoveredSession { client_id, queue, .. } = session;
        let bytes = queue.values().map(|message| match message {
            RestoredMessage::Queued { content, .. } => *content as usize,
            RestoredMessage::Shared(delivery) => message_bytes(&delivery.message),
            RestoredMessage::Released => 0,
        });
        Self { client_id: client_id.as_str(), messages: queue.len(), bytes: bytes.sum() }
    }
}

/// All clients, those with the most queued bytes first.
fn clients(recovered: &Recovered) -> Vec<Client<'_>> {
    let mut clients: Vec<_> = recovered.sessions.iter().map(|session| Client::of(session)).collect();
    clients.sort_by_key(|client| (Reverse((client.bytes, client.messages)), client.client_id));
    clients
}

fn retained_bytes(recovered: &Recovered) -> usize {
    recovered.retained.iter().map(|retained| message_bytes(&retained.message)).sum()
}

fn message_bytes(message: &Message) -> usize {
    message.topic.as_str().len() + message.properties.as_bytes().len() + message.payload.len()
}

fn size(bytes: usize) -> String {
    output::size(bytes as f64)
}

/// Quotes a text as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            _ if char.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_identifier_cannot_leave_its_json_string() {
        assert_eq!(quoted("a\"b\\c\n\u{9b}é"), "\"a\\\"b\\\\c\\u000a\\u009bé\"");
    }
}
