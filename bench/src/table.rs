//! Prints a comparison as a Markdown table.

use crate::peers::BrokerSpec;
use crate::report::digits;
use crate::rounds::{Column, Compared};
use crate::statistics::{self, Spread};

/// The versions of the brokers, and the header of the table.
pub(crate) fn heading(brokers: &[BrokerSpec]) -> String {
    let mut text = String::new();
    for broker in brokers {
        let version = broker.version.as_deref().unwrap_or("version unknown");
        text += &format!("- {}: {version}\n", broker.name);
    }
    let names: Vec<_> = brokers.iter().map(|broker| format!("{:>24}", broker.name)).collect();
    let rule = vec!["---:"; brokers.len()].join(" | ");
    text +=
        &format!("\n| {:<34} | {:<24} | {} |\n| --- | --- | {rule} |\n", "scenario", "median of", names.join(" | "));
    text
}

/// A line for each principal figure of a scenario, and for each complaint.
pub(crate) fn rows(compared: &Compared, baseline: &str) -> String {
    let mut rows = String::new();
    let mut label = compared.scenario.as_str();
    let base = compared.brokers.iter().find(|column| column.broker == baseline);
    for figure in PRINCIPAL {
        let spreads = compared.brokers.iter().filter_map(|column| column.figures.get(figure));
        // A line of zero losses is omitted.
        if spreads.clone().next().is_none() || (figure == LOST && spreads.clone().all(|spread| spread.high == 0.0)) {
            continue;
        }
        let cells: Vec<_> = compared.brokers.iter().map(|column| cell(column, base, figure)).collect();
        rows += &format!("| {label:<34} | {figure:<24} | {} |\n", cells.join(" | "));
        label = "";
    }
    for column in &compared.brokers {
        for complaint in column.complaints() {
            rows += &format!("| {label:<34} | {} | {} |\n", column.broker, on_one_line(complaint));
            label = "";
        }
    }
    rows
}

/// The beginning of a complaint, shortened to fit a cell.
pub(crate) fn on_one_line(complaint: &str) -> String {
    let mut line: String = complaint.replace(['\n', '|'], " ").chars().take(COMPLAINT_LEN_MAX).collect();
    if line.len() < complaint.len() {
        line.push('…');
    }
    line
}

/// A ratio with its spread.
pub(crate) fn proportion(ratio: &Spread) -> String {
    format!("{:.2}× ±{:.0}%", ratio.median, ratio.percent())
}

/// For the baseline, a median with its spread; for others, a median with its ratio to the baseline and the ratio's
/// spread.
fn cell(column: &Column, base: Option<&Column>, figure: &str) -> String {
    let Some(spread) = column.figures.get(figure) else { return format!("{:>24}", "–") };
    let value = digits(spread.median);
    let text = match base {
        Some(base) if base.broker != column.broker => {
            match statistics::ratio(&column.values(figure), &base.values(figure)) {
                Some(ratio) => format!("{value} ({})", proportion(&ratio)),
                None => value,
            }
        }
        Some(_) | None => format!("{value} ±{:.0}%", spread.percent()),
    };
    format!("{text:>24}")
}

/// The figures of the table; the JSON file has all of them.
const PRINCIPAL: [&str; 19] = [
    "cpu_us_per_message",
    "messages_per_second",
    "load_cpu_us_per_message",
    "load_cpu_share",
    "latency_p50_us",
    "latency_p99_us",
    "latency_p999_us",
    "intake_cpu_us_per_message",
    "intake_messages_per_second",
    "store_commits",
    "store_syncs",
    "cpu_us_per_connect",
    "connects_per_second",
    "rss_bytes_per_connection",
    "rss_bytes_beyond_filter",
    "cpu_us_per_subscription",
    "idle_cpu_us_per_second",
    "peak_rss_mib",
    LOST,
];
const COMPLAINT_LEN_MAX: usize = 160;
const LOST: &str = "lost";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_cut_to_one_line() {
        assert_eq!(on_one_line("a\nb|c"), "a b c");
        assert_eq!(on_one_line(&"é".repeat(200)), "é".repeat(160) + "…");
    }

    #[test]
    fn ratios_are_to_the_baseline() {
        let column = |broker, values: &[f64]| Column::with_values(broker, "cpu_us_per_message", values);
        let brokers = vec![column("a", &[2.0, 4.0]), column("b", &[5.0, 10.0])];
        let compared = Compared { scenario: "pairs".to_owned(), brokers };
        let rows = rows(&compared, "a");
        assert!(rows.contains("3.00 ±17%") && rows.contains("7.50 (2.50× ±0%)"), "{rows}");
    }
}
