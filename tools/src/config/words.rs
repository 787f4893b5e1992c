//! Arguments in one text, as a shell takes a command line apart.

/// The words of a text: split at spaces, tabs and ends of lines, and nowhere else; what stands in single or double quotes
/// stays together and as it is, but for `\"` and `\\` in double ones.
///
/// # Errors
/// A quote has no end.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '"' | '\'' => quoted(character, &mut characters, word.get_or_insert_default())?,
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Adds what stands before the closing `quote` to a word.
fn quoted(quote: char, characters: &mut impl Iterator<Item = char>, word: &mut String) -> Result<(), String> {
    let mut next = || {
        let next = characters.next();
        next.ok_or_else(|| format!("a quote {quote} without its end, expected another one, or a list of arguments"))
    };
    loop {
        match next()? {
            end if end == quote => return Ok(()),
            '\\' if quote == '"' => match next()? {
                escaped @ ('"' | '\\') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            other => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_blanks_and_quotes_keep_them_together() {
        let cases: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("  a\tb\n c ", &["a", "b", "c"]),
            (
                "one 'two words' \"three  words here\"",
                &["one", "two words", "three  words here"],
            ),
            ("--name=\"a b\"c", &["--name=a bc"]),
            ("'' \"\"", &["", ""]),
            (r#"'a\b' "a\"\\b\n""#, &[r"a\b", r#"a"\b\n"#]),
            ("no\u{a0}break em\u{2003}space", &["no\u{a0}break", "em\u{2003}space"]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), words, "{text:?}");
        }
        for text in ["it's", "a \"b", "\"\\"] {
            assert!(split(text).unwrap_err().contains("without its end"), "{text}");
        }
    }
}
