//! Errors and warnings about a YAML file: where, which cVM, which key, which value, what was expected.

use std::fmt;
use std::path::PathBuf;

/// A place in a text file, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Whether a [`Diagnostic`] stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing; the work goes on.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One thing that is wrong with, or remarkable in, a YAML file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Where in the file.
    pub position: Option<Position>,
    /// Whether it stops the work.
    pub severity: Severity,
    /// Name of the cVM concerned, or its number in the list when it has no usable name.
    pub cvm: Option<String>,
    /// The key concerned, `outer.inner` for a key inside another.
    pub key: Option<String>,
    /// The value found.
    pub value: Option<String>,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(formatter, "{line}:{column}:")?;
        }
        formatter.write_str(match self.severity {
            Severity::Warning => " warning: ",
            Severity::Error => " error: ",
        })?;
        if let Some(cvm) = &self.cvm {
            write!(formatter, "cVM {cvm}: ")?;
        }
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(formatter, "{key}: {value:?}: ")?,
            (Some(key), None) => write!(formatter, "{key}: ")?,
            (None, Some(value)) => write!(formatter, "{value:?}: ")?,
            (None, None) => {}
        }
        formatter.write_str(&self.problem)
    }
}

/// The end of a sentence that names the closest of `known` to `word`: ` (did you mean X?)`, or nothing.
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map_or_else(String::new, |(_, candidate)| format!(" (did you mean {candidate:?}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_file_place_cvm_key_value_and_expectation() {
        let diagnostic = Diagnostic {
            file: "demo.yaml".into(),
            position: Some(Position { line: 3, column: 13 }),
            severity: Severity::Error,
            cvm: Some("rogue".into()),
            key: Some("priority".into()),
            value: Some("9".into()),
            problem: "expected a number from 0 to 7".into(),
        };
        let text = "demo.yaml:3:13: error: cVM rogue: priority: \"9\": expected a number from 0 to 7";
        assert_eq!(diagnostic.to_string(), text);
    }

    #[test]
    fn suggestions_are_close_or_absent() {
        let known = ["name", "runtime", "priority", "cVMs"];
        assert_eq!(did_you_mean("runtme", &known), " (did you mean \"runtime\"?)");
        assert_eq!(did_you_mean("cvms", &known), " (did you mean \"cVMs\"?)");
        assert_eq!(did_you_mean("colour", &known), "");
    }
}
