//! YAML with the place of every node. Scalars stay text: what a number or a size is, the reader of the key decides.

use saphyr::{MarkedYaml, ScalarStyle, ScanError, YamlData, YamlLoader};
use saphyr_parser::Parser;

use crate::diagnostic::Position;

/// A node of a YAML document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it starts.
    pub position: Position,
    /// What it is.
    pub content: Content,
}

/// What a [`Node`] is.
#[derive(Clone, Debug)]
pub enum Content {
    /// No value: empty, `~` or `null`.
    Null,
    /// A scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it starts.
    pub position: Position,
    /// The key.
    pub text: String,
}

impl Content {
    /// What kind of node it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Content::Null => "nothing",
            Content::Text(_) => "a plain value",
            Content::List(_) => "a list",
            Content::Mapping(_) => "a mapping",
        }
    }
}

/// A text that is not YAML, or uses a part of it that has no meaning here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct SyntaxError {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub problem: String,
}

/// The documents of a YAML text.
///
/// # Errors
/// The text is not YAML, or a key is not plain text.
pub fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let documents = load(text).map_err(|error| SyntaxError {
        position: Position {
            line: error.marker().line(),
            column: error.marker().col() + 1,
        },
        problem: error.info().to_owned(),
    })?;
    documents.into_iter().map(convert).collect()
}

fn load(text: &str) -> Result<Vec<MarkedYaml<'_>>, ScanError> {
    let mut loader = YamlLoader::default();
    loader.early_parse(false);
    Parser::new_from_str(text).load(&mut loader, true)?;
    match loader.error() {
        Some(error) => Err(error.clone()),
        None => Ok(loader.into_documents()),
    }
}

fn convert(node: MarkedYaml<'_>) -> Result<Node, SyntaxError> {
    let position = Position {
        line: node.span.start.line(),
        column: node.span.start.col() + 1,
    };
    let content = match node.data {
        YamlData::Representation(text, ScalarStyle::Plain, _) if matches!(&*text, "" | "~" | "null") => Content::Null,
        YamlData::Representation(text, ..) => Content::Text(text.into_owned()),
        YamlData::Sequence(items) => Content::List(items.into_iter().map(convert).collect::<Result<_, _>>()?),
        YamlData::Mapping(entries) => {
            let mut mapping = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = convert(key)?;
                let Content::Text(text) = key.content else {
                    let problem = format!("a key must be plain text, not {}", key.content.kind());
                    return Err(SyntaxError {
                        position: key.position,
                        problem,
                    });
                };
                mapping.push((
                    Key {
                        position: key.position,
                        text,
                    },
                    convert(value)?,
                ));
            }
            Content::Mapping(mapping)
        }
        YamlData::Tagged(_, inner) => convert(*inner)?.content,
        YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => {
            return Err(SyntaxError {
                position,
                problem: "this value cannot be read".into(),
            });
        }
    };
    Ok(Node { position, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text_and_place() {
        let documents = parse("---\na: 0x10\n---\nb:\n- \"null\"\n- ~\n").unwrap();
        assert_eq!(documents.len(), 2);
        let Content::Mapping(first) = &documents[0].content else {
            panic!("{:?}", documents[0])
        };
        assert_eq!(
            (first[0].0.text.as_str(), first[0].0.position),
            ("a", Position { line: 2, column: 1 })
        );
        assert!(matches!(&first[0].1.content, Content::Text(text) if text == "0x10"));
        assert_eq!(first[0].1.position, Position { line: 2, column: 4 });
        let Content::Mapping(second) = &documents[1].content else {
            panic!("{:?}", documents[1])
        };
        let Content::List(items) = &second[0].1.content else {
            panic!("{:?}", second[0])
        };
        assert!(matches!(&items[0].content, Content::Text(text) if text == "null"));
        assert!(matches!(items[1].content, Content::Null));
        assert_eq!(items[1].position, Position { line: 6, column: 3 });
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let duplicate = parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(duplicate.position.line, 2);
        assert!(duplicate.problem.contains("duplicated key"), "{duplicate}");
        let unclosed = parse("a: [1, 2\nb: 3\n").unwrap_err();
        assert_eq!(unclosed.position.line, 2, "{unclosed}");
        let key = parse("? [a]\n: 1\n").unwrap_err();
        assert_eq!(key.to_string(), "a key must be plain text, not a list");
    }

    #[test]
    fn anchors_are_resolved() {
        let documents = parse("a: &x 1\nb: *x\n").unwrap();
        let Content::Mapping(entries) = &documents[0].content else {
            panic!("{documents:?}")
        };
        assert!(matches!(&entries[1].1.content, Content::Text(text) if text == "1"));
    }
}
