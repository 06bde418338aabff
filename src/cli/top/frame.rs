//! What `top` shows, as lines.

use std::collections::HashMap;

use serde_json::Value;

use crate::cli::table::cut;
use crate::cli::value::{duration, number, printable, text};
use crate::output::size;

/// The clients as of one listing, the busiest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Busiest {
    /// Messages in both directions so far, by Client Identifier; at most as many as a listing has.
    counts: HashMap<String, f64>,
    clients: Vec<Busy>,
    /// Whether there are more clients than a listing has.
    is_partial: bool,
}

#[derive(Debug, Clone)]
struct Busy {
    client_id: String,
    messages_per_second: f64,
    queued_messages: f64,
    queued_bytes: f64,
    is_connected: bool,
}

impl Busiest {
    /// Compares a listing with the previous one, `seconds` earlier.
    pub(super) fn update(&mut self, listing: &[Value], is_partial: bool, seconds: f64) {
        let is_first = self.counts.is_empty();
        let mut counts = HashMap::with_capacity(listing.len());
        let mut clients = Vec::with_capacity(listing.len());
        for client in listing {
            let Some(client_id) = client.get("client_id").and_then(Value::as_str) else { continue };
            let count = number(client, "/received/messages") + number(client, "/sent/messages");
            // A client that is new has no rate yet.
            let before = if is_first { count } else { self.counts.get(client_id).copied().unwrap_or(count) };
            counts.insert(client_id.to_owned(), count);
            clients.push(Busy {
                client_id: client_id.to_owned(),
                messages_per_second: (count - before).max(0.0) / seconds.max(1.0),
                queued_messages: number(client, "/queued_messages"),
                queued_bytes: number(client, "/queued_bytes"),
                is_connected: client.get("connected").and_then(Value::as_bool).unwrap_or(false),
            });
        }
        let rank = |client: &Busy| (client.messages_per_second, client.queued_messages);
        clients.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
        clients.truncate(CLIENTS_MAX);
        *self = Self { counts, clients, is_partial };
    }
}

/// The lines of one picture, at most `rows`, each at most `columns` wide.
pub(super) fn frame(overview: &Value, busiest: &Busiest, (columns, rows): (usize, usize)) -> Vec<String> {
    let rate = |name: &str| number(overview, &format!("/rates/{name}_per_second"));
    let memory = match number(overview, "/memory/max_bytes") {
        maximum if maximum > 0.0 => {
            let used = number(overview, "/memory/used_bytes");
            format!("{} of {} ({:.0} %)", size(used), size(maximum), used * 100.0 / maximum)
        }
        _ => size(number(overview, "/memory/used_bytes")),
    };
    let mut lines = vec![
        format!(
            "OnceMQ {}  up {}  {}  durability {}",
            text(overview, "/version"),
            duration(number(overview, "/uptime_seconds")),
            if overview.get("ready").and_then(Value::as_bool) == Some(true) { "ready" } else { "not ready" },
            text(overview, "/durability"),
        ),
        String::new(),
        format!(
            "connections {:>10}   sessions {:>10}   subscriptions {:>10}",
            text(overview, "/connections"),
            text(overview, "/sessions"),
            text(overview, "/subscriptions"),
        ),
        format!(
            "retained    {:>10}   queued   {:>10}   memory {memory}",
            text(overview, "/retained_messages"),
            text(overview, "/queued_messages"),
        ),
        format!("received    {:>8.0}/s   {:>10}/s", rate("messages_received"), size(rate("bytes_received")),),
        format!("sent        {:>8.0}/s   {:>10}/s", rate("messages_sent"), size(rate("bytes_sent"))),
    ];
    let warnings = overview.get("warnings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lines.extend(warnings.iter().take(WARNINGS_MAX).map(|warning| format!("! {}", text(warning, ""))));
    lines.push(String::new());
    lines.push(format!("{:>12}  {:>12}  {:>10}  {:<9}  CLIENT", "MESSAGES/S", "QUEUED", "BYTES", "STATE"));
    lines.extend(busiest.clients.iter().map(|client| {
        let state = if client.is_connected { "connected" } else { "away" };
        let (rate, queued, bytes) = (client.messages_per_second, client.queued_messages, size(client.queued_bytes));
        format!("{rate:>12.0}  {queued:>12.0}  {bytes:>10}  {state:<9}  {}", client.client_id)
    }));
    if busiest.is_partial {
        lines.insert(lines.len() - busiest.clients.len() - 1, "of the first 10,000 clients:".to_owned());
    }
    lines.truncate(rows);
    lines.iter().map(|line| cut(&printable(line), Some(columns))).collect()
}

/// More than a terminal has lines.
const CLIENTS_MAX: usize = 200;
const WARNINGS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(name: &str, received: u64, queued: u64) -> Value {
        json!({
            "client_id": name, "connected": queued == 0, "queued_messages": queued, "queued_bytes": queued * 100,
            "received": { "messages": received, "bytes": 0 }, "sent": { "messages": 0, "bytes": 0 },
        })
    }

    #[test]
    fn the_busiest_client_is_first_and_the_picture_fits() {
        let mut busiest = Busiest::default();
        busiest.update(&[client("slow", 5, 900), client("fast", 1_000, 0)], false, 5.0);
        busiest.update(&[client("slow", 5, 900), client("fast", 2_000, 0), client("new\u{1B}[2J", 9, 0)], true, 5.0);
        let overview = json!({
            "version": "1.0", "uptime_seconds": 61, "ready": true, "durability": "power-loss", "connections": 2,
            "memory": { "used_bytes": 1_048_576, "max_bytes": 4_194_304 }, "warnings": ["x".repeat(200)],
            "rates": { "messages_received_per_second": 200.4 },
        });
        let lines = frame(&overview, &busiest, (80, 24));
        assert!(lines.len() <= 24 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
        assert!(at("fast") < at("slow") && at("slow") < at("new\\u{1b}[2J"), "{lines:#?}");
        assert!(lines[at("fast")].contains(" 200 "), "{lines:#?}");
        assert!(lines[at("memory")].contains("1.0 MiB of 4.0 MiB (25 %)"), "{lines:#?}");
        assert!(lines[at("CLIENT") - 1].contains("10,000"));
        assert_eq!(frame(&overview, &busiest, (10, 3)).len(), 3);
        assert!(!frame(&json!({}), &Busiest::default(), (80, 24)).is_empty());
    }
}
