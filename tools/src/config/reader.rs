//! Typed values out of YAML nodes, with an error that names file, cVM, key, value and expectation where one is not of
//! its type.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Position, Severity};
use crate::quantity::{DURATION_SYNTAX, SIZE_SYNTAX, parse_duration, parse_size};
use crate::yaml::{Content, Key, Node};

/// Reads values and collects what is wrong.
pub(crate) struct Reader<'a> {
    file: &'a Path,
    /// Whether the file is in the form of the Intravisor's, where some values have other defaults and meanings.
    foreign: bool,
    cvm: Option<String>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: &'a Path, diagnostics: &'a mut Vec<Diagnostic>, foreign: bool) -> Reader<'a> {
        Reader {
            file,
            foreign,
            cvm: None,
            diagnostics,
        }
    }

    /// Whether the file is in the form of the Intravisor's.
    pub(crate) fn foreign(&self) -> bool {
        self.foreign
    }

    /// What follows is about this cVM.
    pub(crate) fn enter(&mut self, cvm: &str) {
        self.cvm = Some(cvm.to_owned());
    }

    /// What follows is about the file.
    pub(crate) fn leave(&mut self) {
        self.cvm = None;
    }

    /// Whether there is no error so far.
    pub(crate) fn clean(&self) -> bool {
        self.error_count() == 0
    }

    /// Number of errors so far.
    pub(crate) fn error_count(&self) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .count()
    }

    pub(crate) fn error(
        &mut self,
        position: Option<Position>,
        key: Option<&str>,
        value: Option<&str>,
        problem: impl Into<String>,
    ) {
        self.push(Severity::Error, position, key, value, problem.into());
    }

    pub(crate) fn warning(&mut self, position: Position, key: &str, value: Option<&str>, problem: &str) {
        self.push(Severity::Warning, Some(position), Some(key), value, problem.to_owned());
    }

    fn push(
        &mut self,
        severity: Severity,
        position: Option<Position>,
        key: Option<&str>,
        value: Option<&str>,
        problem: String,
    ) {
        self.diagnostics.push(Diagnostic {
            file: self.file.to_owned(),
            position,
            severity,
            cvm: self.cvm.clone(),
            key: key.map(str::to_owned),
            value: value.map(str::to_owned),
            problem,
        });
    }

    fn kind_error(&mut self, key: &str, node: &Node, expected: &str) {
        let problem = format!("found {}, expected {expected}", node.content.kind());
        self.error(Some(node.position), Some(key), None, problem);
    }

    pub(crate) fn list<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n [Node]> {
        match &node.content {
            Content::List(items) => Some(items),
            _ => {
                self.kind_error(key, node, "a list");
                None
            }
        }
    }

    pub(crate) fn mapping<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        match &node.content {
            Content::Mapping(entries) => Some(entries),
            _ => {
                self.kind_error(key, node, "a mapping");
                None
            }
        }
    }

    /// Text without NUL, which would end it inside the image.
    pub(crate) fn text<'n>(&mut self, key: &str, node: &'n Node) -> Option<&'n str> {
        match &node.content {
            Content::Text(text) if text.contains('\0') => {
                self.error(
                    Some(node.position),
                    Some(key),
                    Some(text),
                    "expected text without a NUL character",
                );
                None
            }
            Content::Text(text) => Some(text),
            _ => {
                self.kind_error(key, node, "a plain value");
                None
            }
        }
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        node: &Node,
        parse: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let text = self.text(key, node)?;
        let value = parse(text);
        if value.is_none() {
            self.error(
                Some(node.position),
                Some(key),
                Some(text),
                format!("expected {expected}"),
            );
        }
        value
    }

    /// Bytes.
    pub(crate) fn size(&mut self, key: &str, node: &Node) -> Option<u64> {
        self.parsed(key, node, parse_size, SIZE_SYNTAX)
    }

    /// Bytes or an address of `isolation` and `capfiles`: hexadecimal with or without `0x` in a file of the Intravisor's form.
    pub(crate) fn place(&mut self, key: &str, node: &Node) -> Option<u64> {
        if !self.foreign {
            return self.size(key, node);
        }
        let parse = |text: &str| {
            let digits = !text.starts_with(['+', '-']);
            let bare = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
            bare.or_else(|| parse_size(text))
        };
        self.parsed(key, node, parse, "a hexadecimal number")
    }

    /// Nanoseconds.
    pub(crate) fn duration(&mut self, key: &str, node: &Node) -> Option<u64> {
        self.parsed(key, node, parse_duration, DURATION_SYNTAX)
    }

    /// A decimal integer of any type; `expected` names its range.
    pub(crate) fn integer<T: std::str::FromStr>(
        &mut self,
        key: &str,
        node: &Node,
        accept: impl FnOnce(&T) -> bool,
        expected: &str,
    ) -> Option<T> {
        self.parsed(key, node, |text| text.parse().ok().filter(accept), expected)
    }

    /// One of some words.
    pub(crate) fn choice<T>(
        &mut self,
        key: &str,
        node: &Node,
        choose: impl FnOnce(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        self.parsed(key, node, choose, expected)
    }
}
