//! A measured number, the bar it has to meet, and the table that shows them for every platform side by side.

use serde_json::{Value as Json, json};

/// What a number has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    limit: f64,
    /// Whether less is better.
    at_most: bool,
    /// Whether missing it fails the run: not so for what depends on the host.
    strict: bool,
}

impl Bar {
    /// Not more than `limit`; more fails the run.
    pub(crate) fn at_most(limit: u64) -> Bar {
        Bar {
            limit: limit as f64,
            at_most: true,
            strict: true,
        }
    }

    /// Not less than `limit`, by the clock of a host that may be busy: less is a warning.
    pub(crate) fn at_least_on_this_host(limit: f64) -> Bar {
        Bar {
            limit,
            at_most: false,
            strict: false,
        }
    }

    fn is_met(self, value: f64) -> bool {
        if self.at_most {
            value <= self.limit
        } else {
            value >= self.limit
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        match (self.is_met(value), self.strict) {
            (true, _) => "PASS",
            (false, true) => "FAIL",
            (false, false) => "WARN",
        }
    }

    fn text(self) -> String {
        let sign = if self.at_most { '≤' } else { '≥' };
        format!("{sign} {}", grouped(self.limit as u64))
    }
}

/// One number of one platform.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measurement {
    section: &'static str,
    label: String,
    value: f64,
    /// Whether it is shown with decimals.
    fraction: bool,
    bar: Option<Bar>,
}

impl Measurement {
    /// A number of things.
    pub(crate) fn count(section: &'static str, label: impl Into<String>, value: u64) -> Measurement {
        Measurement {
            section,
            label: label.into(),
            value: value as f64,
            fraction: false,
            bar: None,
        }
    }

    /// A ratio or a rate.
    pub(crate) fn rate(section: &'static str, label: impl Into<String>, value: f64) -> Measurement {
        Measurement {
            value,
            fraction: true,
            ..Measurement::count(section, label, 0)
        }
    }

    /// The same number with a bar.
    pub(crate) fn bar(self, bar: Bar) -> Measurement {
        Measurement { bar: Some(bar), ..self }
    }

    /// The number of this label.
    pub(crate) fn named(measured: &[Measurement], label: &str) -> Option<f64> {
        let found = measured.iter().find(|measurement| measurement.label == label);
        found.map(|measurement| measurement.value)
    }

    fn shown(&self) -> String {
        match self.fraction {
            true if self.value < 1.0 => format!("{:.3}", self.value),
            true => format!("{:.1}", self.value),
            false => grouped(self.value as u64),
        }
    }
}

/// A number with a comma between thousands.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Everything that was measured, by platform.
#[derive(Default)]
pub(crate) struct Report {
    platforms: Vec<(&'static str, Vec<Measurement>)>,
}

impl Report {
    /// Adds a column.
    pub(crate) fn add(&mut self, platform: &'static str, measurements: Vec<Measurement>) {
        self.platforms.push((platform, measurements));
    }

    /// Section and label of every row, in the order of first appearance, sections together.
    fn rows(&self) -> Vec<(&'static str, &str)> {
        let mut rows: Vec<(&'static str, &str)> = Vec::new();
        for measurement in self.platforms.iter().flat_map(|(_, column)| column) {
            let row = (measurement.section, measurement.label.as_str());
            if rows.contains(&row) {
                continue;
            }
            let last = rows.iter().rposition(|(section, _)| *section == row.0);
            rows.insert(last.map_or(rows.len(), |last| last + 1), row);
        }
        rows
    }

    fn cells<'a>(&'a self, row: (&'a str, &'a str)) -> impl Iterator<Item = Option<&'a Measurement>> {
        self.platforms.iter().map(move |(_, column)| {
            let mut found = column.iter();
            found.find(|measurement| (measurement.section, measurement.label.as_str()) == row)
        })
    }

    /// The table for a person.
    pub(crate) fn table(&self) -> String {
        const LABEL: usize = 54;
        const COLUMN: usize = 14;
        let mut text = format!("{:LABEL$}", "");
        for (platform, _) in &self.platforms {
            text += &format!("{platform:>COLUMN$}");
        }
        let mut section = "";
        for row in self.rows() {
            if row.0 != section {
                section = row.0;
                text += &format!("\n\n{section}");
            }
            text += &format!("\n  {:width$}", row.1, width = LABEL - 2);
            let mut bars: Vec<(String, &str)> = Vec::new();
            for cell in self.cells(row) {
                text += &format!("{:>COLUMN$}", cell.map_or_else(|| "-".to_owned(), Measurement::shown));
                let barred = cell.and_then(|cell| Some((cell, cell.bar?)));
                bars.extend(barred.map(|(cell, bar)| (bar.text(), bar.verdict(cell.value))));
            }
            for (limit, verdict) in bars {
                text += &format!("   {limit} {verdict}");
            }
        }
        text + "\n"
    }

    /// The same for a program.
    pub(crate) fn json(&self) -> Json {
        let platforms: Vec<&str> = self.platforms.iter().map(|(platform, _)| *platform).collect();
        let columns = self.platforms.iter().map(|(platform, column)| {
            let cells: Vec<Json> = column.iter().map(Measurement::json).collect();
            ((*platform).to_owned(), Json::from(cells))
        });
        json!({ "platforms": platforms, "measurements": Json::Object(columns.collect()), "passed": self.passed() })
    }

    /// Whether every bar that does not depend on the host is met.
    pub(crate) fn passed(&self) -> bool {
        let mut measurements = self.platforms.iter().flat_map(|(_, column)| column);
        measurements.all(|measurement| {
            let bar = measurement.bar.filter(|bar| bar.strict);
            bar.is_none_or(|bar| bar.is_met(measurement.value))
        })
    }
}

impl Measurement {
    fn json(&self) -> Json {
        let bar = self.bar.map(|bar| {
            json!({
                "limit": bar.limit,
                "kind": if bar.at_most { "at most" } else { "at least" },
                "verdict": bar.verdict(self.value),
            })
        });
        json!({ "section": self.section, "label": self.label, "value": self.value, "bar": bar })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_fails_the_run_unless_it_is_the_hosts() {
        let mut report = Report::default();
        let slow = Measurement::rate("speed", "loop", 3.0).bar(Bar::at_least_on_this_host(60.0));
        report.add(
            "a",
            vec![Measurement::count("s", "x", 180).bar(Bar::at_most(180)), slow],
        );
        assert!(report.passed());
        report.add("b", vec![Measurement::count("s", "x", 181).bar(Bar::at_most(180))]);
        assert!(!report.passed());
        assert_eq!(report.json()["passed"], false);
        assert_eq!(report.json()["measurements"]["b"][0]["bar"]["verdict"], "FAIL");
    }

    #[test]
    fn platforms_stand_side_by_side() {
        let mut report = Report::default();
        report.add(
            "a",
            vec![Measurement::count("s", "x", 1_234_567), Measurement::count("t", "z", 1)],
        );
        report.add("b", vec![Measurement::count("s", "y", 5)]);
        let table = report.table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: [&[&str]; 8] = [
            &["a", "b"],
            &[],
            &["s"],
            &["x", "1,234,567", "-"],
            &["y", "-", "5"],
            &[],
            &["t"],
            &["z", "1", "-"],
        ];
        assert_eq!(lines, expected);
    }
}
