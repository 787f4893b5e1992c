//! YAML with the place of every node. Scalars stay text: what a number or a size is, the reader of the key decides.

mod relax;

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
    let relaxed;
    let documents = match load(text) {
        Ok(documents) => documents,
        Err(error) => {
            relaxed = relax::relax(text);
            // What stays wrong is told as it stands in the file.
            load(&relaxed).map_err(|_| explain(&error, text))?
        }
    };
    documents.into_iter().map(convert).collect()
}

/// The text of a YAML file.
///
/// # Errors
/// It is not in UTF-8: what it is instead, and what to do.
pub fn text(file: &[u8]) -> Result<&str, SyntaxError> {
    let wrong = |line, problem: &str| {
        let position = Position { line, column: 1 };
        let problem = problem.to_owned();
        Err(SyntaxError { position, problem })
    };
    match file {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            return wrong(
                1,
                "text in UTF-16, expected UTF-8: save it as UTF-8, or convert it by iconv -f UTF-16 -t UTF-8",
            );
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            return wrong(
                1,
                "an ELF program, expected a YAML file that names it as runtime of a cVM",
            );
        }
        [b'0', b'7', b'0', b'7', b'0', ..] => {
            return wrong(
                1,
                "an archive, expected a YAML file; `intravisor inspect` shows archives",
            );
        }
        _ => {}
    }
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    str::from_utf8(text).or_else(|error| {
        let before = &text[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        wrong(line, "bytes that are not UTF-8, expected text in UTF-8")
    })
}

/// An error of the parser, with the key that it is about.
fn explain(error: &ScanError, text: &str) -> SyntaxError {
    let position = Position {
        line: error.marker().line(),
        column: error.marker().col() + 1,
    };
    let mut problem = error.info().to_owned();
    if problem.contains("duplicated key") {
        let line = text.lines().nth(position.line.saturating_sub(1)).unwrap_or_default();
        let from = line.chars().skip(position.column - 1).collect::<String>();
        let key = from.split(':').next().unwrap_or_default().trim();
        problem = format!(
            "the key {key} stands twice in one mapping, expected it once: take one of them out, or begin another item by -"
        );
    }
    SyntaxError { position, problem }
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
        YamlData::Representation(_, _, Some(tag)) if tag.suffix == "binary" => {
            return Err(SyntaxError {
                position,
                problem: "a value with the tag !!binary, expected text; escapes in double quotes write any character"
                    .into(),
            });
        }
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
        let problem =
            "the key a stands twice in one mapping, expected it once: take one of them out, or begin another item by -";
        assert_eq!(duplicate.problem, problem);
        let unclosed = parse("a: [1, 2\nb: 3\n").unwrap_err();
        assert_eq!(unclosed.position.line, 2, "{unclosed}");
        let key = parse("? [a]\n: 1\n").unwrap_err();
        assert_eq!(key.to_string(), "a key must be plain text, not a list");
    }

    /// The entries of the only document.
    fn entries(text: &str) -> Vec<(String, Content)> {
        let documents = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let [
            Node {
                content: Content::Mapping(entries),
                ..
            },
        ] = documents.as_slice()
        else {
            panic!("{documents:?}")
        };
        entries
            .iter()
            .map(|(key, value)| (key.text.clone(), value.content.clone()))
            .collect()
    }

    fn texts(content: &Content) -> Vec<&str> {
        match content {
            Content::Text(text) => vec![text],
            Content::List(items) => items.iter().flat_map(|item| texts(&item.content)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_libyaml_takes_is_taken() {
        let cases: [(&str, &[&str]); 8] = [
            ("a:\thello\n", &["hello"]),
            ("a: \t \"b\tc\"\n", &["b\tc"]),
            ("a: \"folded\ntext\"\n", &["folded text"]),
            ("a: 'it''s\nfolded'\n", &["it's folded"]),
            ("a: [one,\ntwo\n]\n", &["one", "two"]),
            ("a: [ \"x: ]\",\n# comment [\ny]\n", &["x: ]", "y"]),
            ("a: it's # [ not open\n", &["it's"]),
            ("a: |\n  b:\t\"c\n", &["b:\t\"c\n"]),
        ];
        for (text, values) in cases {
            assert_eq!(texts(&entries(text)[0].1), values, "{text:?}");
        }
        let list = parse("- a:\t[x,\n  y]\n  b: \"1\n  2\"\n- c\n").unwrap();
        let Content::List(items) = &list[0].content else {
            panic!("{list:?}")
        };
        assert_eq!(items.len(), 2);
        assert_eq!(items[1].position, Position { line: 5, column: 3 });
    }

    #[test]
    fn what_is_no_yaml_text_is_named_with_a_remedy() {
        let problem = |file: &[u8]| text(file).unwrap_err();
        let sixteen: Vec<u8> = "\u{feff}cVMs:\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(problem(&sixteen).problem.starts_with("text in UTF-16, expected UTF-8"));
        assert!(
            problem(&sixteen[2..])
                .problem
                .starts_with("text in UTF-16, expected UTF-8")
        );
        assert!(
            problem(b"\x7fELF\x02\x01")
                .problem
                .starts_with("an ELF program, expected a YAML file")
        );
        assert!(
            problem(b"070701")
                .problem
                .starts_with("an archive, expected a YAML file")
        );
        let latin = problem(b"cVMs:\n- name: caf\xe9\n");
        assert_eq!(latin.position, Position { line: 2, column: 1 });
        assert_eq!(text(b"\xef\xbb\xbfa: 1").unwrap(), "a: 1");
        let binary = parse("a: !!binary aGVsbG8=\n").unwrap_err();
        assert!(
            binary
                .problem
                .starts_with("a value with the tag !!binary, expected text"),
            "{binary}"
        );
        assert_eq!(binary.position.line, 1);
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
