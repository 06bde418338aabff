//! Plots a comparison: a chart for each figure, a line for each scenario, a point for each broker.

use crate::rounds::Compared;
use crate::statistics::Spread;

/// Returns an SVG document.
pub(crate) fn draw(scenarios: &[Compared]) -> String {
    let mut brokers: Vec<&str> = Vec::new();
    for column in scenarios.iter().flat_map(|compared| &compared.brokers) {
        if !brokers.contains(&column.broker.as_str()) {
            brokers.push(&column.broker);
        }
    }
    let fields: Vec<_> = FIGURES.iter().filter_map(|(figure, title)| Field::of(scenarios, figure, title)).collect();
    let mut body = legend(&brokers);
    let mut top = LEGEND_HEIGHT;
    for field in &fields {
        body += &field.draw(top, &brokers);
        top += field.height();
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// The chart of one figure, with all scenarios that have it.
#[derive(Debug)]
struct Field<'a> {
    title: &'a str,
    lines: Vec<Line<'a>>,
    /// Exponents of ten.
    from: f64,
    to: f64,
}

#[derive(Debug)]
struct Line<'a> {
    scenario: &'a str,
    points: Vec<(&'a str, Spread)>,
}

impl<'a> Field<'a> {
    fn of(scenarios: &'a [Compared], figure: &str, title: &'a str) -> Option<Self> {
        let line = |compared: &'a Compared| {
            let columns = compared.brokers.iter();
            let points: Vec<_> = columns
                .filter_map(|column| Some((column.broker.as_str(), *column.figures.get(figure)?)))
                .filter(|(_, spread)| spread.low > 0.0)
                .collect();
            (!points.is_empty()).then_some(Line { scenario: &compared.scenario, points })
        };
        let lines: Vec<_> = scenarios.iter().filter_map(line).collect();
        let spreads = || lines.iter().flat_map(|line| line.points.iter().map(|(_, spread)| spread));
        let low = spreads().map(|spread| spread.low).reduce(f64::min)?;
        let high = spreads().map(|spread| spread.high).reduce(f64::max)?;
        let from = low.log10().floor();
        Some(Self { title, lines, from, to: high.log10().ceil().max(from + 1.0) })
    }

    fn height(&self) -> usize {
        TITLE_HEIGHT + self.lines.len() * LINE_HEIGHT + FIELD_GAP
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value.log10() - self.from) / (self.to - self.from);
        LEFT + part * (WIDTH as f64 - LEFT - RIGHT)
    }

    fn draw(&self, top: usize, brokers: &[&str]) -> String {
        let mut text = format!("<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text>\n", top + 14, escape(self.title));
        let first = top + TITLE_HEIGHT;
        let bottom = first + self.lines.len() * LINE_HEIGHT;
        let mut exponent = self.from;
        while exponent <= self.to {
            let x = self.x(10_f64.powf(exponent));
            let label = power(exponent);
            text += &format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{first}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#777\">{label}</text>\n",
                first - 4
            );
            exponent += 1.0;
        }
        for (number, line) in self.lines.iter().enumerate() {
            let y = first + number * LINE_HEIGHT + LINE_HEIGHT / 2;
            text += &format!("<text x=\"8\" y=\"{}\">{}</text>\n", y + 4, escape(line.scenario));
            for (broker, spread) in &line.points {
                let colour = colour(brokers, broker);
                let [low, middle, high] = [spread.low, spread.median, spread.high].map(|value| self.x(value));
                text += &format!(
                    "<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                     <circle cx=\"{middle:.1}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\" fill-opacity=\"0.8\">\
                     <title>{}: {:.2}</title></circle>\n",
                    escape(broker),
                    spread.median
                );
            }
        }
        text
    }
}

fn legend(brokers: &[&str]) -> String {
    let mut text = String::new();
    for (number, broker) in brokers.iter().enumerate() {
        let x = 14 + number * LEGEND_STEP;
        text += &format!(
            "<circle cx=\"{x}\" cy=\"14\" r=\"5\" fill=\"{}\"/><text x=\"{}\" y=\"18\">{}</text>\n",
            colour(brokers, broker),
            x + 10,
            escape(broker)
        );
    }
    text
}

fn colour(brokers: &[&str], broker: &str) -> &'static str {
    let number = brokers.iter().position(|other| *other == broker).unwrap_or(0);
    COLOURS.get(number % COLOURS.len()).copied().unwrap_or("black")
}

fn power(exponent: f64) -> String {
    let value = 10_f64.powf(exponent);
    match exponent {
        small if small < 0.0 => format!("{value:.*}", if small < -1.0 { 2 } else { 1 }),
        medium if medium < 3.0 => format!("{value:.0}"),
        large if large < 6.0 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.0}M", value / 1e6),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The figures and the titles of their charts.
const FIGURES: [(&str, &str); 12] = [
    ("cpu_us_per_message", "CPU of the broker per delivered message, µs (less is better)"),
    ("messages_per_second", "Delivered messages per second (more is better)"),
    ("intake_cpu_us_per_message", "CPU of the broker per accepted message, µs"),
    ("intake_messages_per_second", "Accepted messages per second (more is better)"),
    ("latency_p50_us", "Latency at a fixed rate, median, µs"),
    ("latency_p99_us", "Latency at a fixed rate, 99 %, µs"),
    ("latency_p999_us", "Latency at a fixed rate, 99.9 %, µs"),
    ("cpu_us_per_connect", "CPU of the broker per connect, µs"),
    ("rss_bytes_per_connection", "Resident bytes per idle connection"),
    ("rss_bytes_beyond_filter", "Resident bytes per subscription, beyond the filter's own"),
    ("cpu_us_per_subscription", "CPU of the broker per subscription, µs"),
    ("peak_rss_mib", "Highest resident memory, MiB"),
];
const COLOURS: [&str; 8] = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"];
const WIDTH: usize = 960;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 30.0;
const LEGEND_HEIGHT: usize = 30;
const LEGEND_STEP: usize = 150;
const TITLE_HEIGHT: usize = 36;
const LINE_HEIGHT: usize = 17;
const FIELD_GAP: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Column;

    #[test]
    fn every_broker_has_a_point_in_every_scenario_it_ran() {
        let column = |broker, values: &[f64]| Column::with_values(broker, "cpu_us_per_message", values);
        let scenarios = [
            Compared { scenario: "pairs".into(), brokers: vec![column("a", &[1.0, 1.2]), column("b", &[20.0])] },
            Compared { scenario: "fan-in & <out>".into(), brokers: vec![column("a", &[0.3])] },
        ];
        let svg = draw(&scenarios);
        assert_eq!(svg.matches("<title>").count(), 3);
        assert!(svg.contains("fan-in &amp; &lt;out&gt;") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("font-weight").count(), 1, "one field");
    }

    #[test]
    fn powers_of_ten_are_short() {
        assert_eq!([-2.0, -1.0, 0.0, 2.0, 3.0, 6.0].map(power), ["0.01", "0.1", "1", "100", "1k", "1M"]);
    }
}
