//! How much code the monitor is.
//!
//! A line counts when a token stands on it that is neither a comment nor part of a test or of a cargo feature,
//! all of which are off in the image. Files of other architectures and the stand-in for hosts (`arch::host`) are not in the
//! image and do not count. Assembly is the lines of
//! `.S` files, the strings of `asm!`, `naked_asm!` and `global_asm!`, and the table `instructions!` of `arch`; the latter do not
//! count as Rust.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The crates that the monitor is made of.
pub const CRATES: [&str; 5] = ["abi", "capability", "arch", "kernel", "boot"];
/// Files and folders that not every platform has; `host` is the stand-in for unit tests.
pub const MODULES: [&str; 4] = ["cheri_riscv", "riscv", "morello", "host"];
/// Macros whose strings are assembly.
const ASSEMBLY: [&str; 3] = ["asm", "global_asm", "naked_asm"];

/// How the conditions begin that no image fulfils.
const OFF: [&str; 3] = ["cfg(test)", "cfg(any(test,", "cfg(feature="];

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Lines of Rust.
    pub rust: u64,
    /// Lines of assembly.
    pub assembly: u64,
    /// Why each `unsafe` block or `unsafe impl` is sound: its comment `SAFETY`; empty where there is none.
    pub unsafe_blocks: Vec<String>,
    /// Names of modules in other files that are tests only.
    tests: Vec<String>,
}

/// Walks through the tokens of one file.
#[derive(Default)]
struct Walk {
    rust: BTreeSet<usize>,
    assembly: BTreeSet<usize>,
    /// Where `unsafe` blocks and implementations begin.
    unsafe_lines: Vec<usize>,
    tests: Vec<String>,
}

fn lines(span: Span) -> impl Iterator<Item = usize> {
    span.start().line..=span.end().line
}

fn is_ident(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

impl Walk {
    fn stream(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.token(&tokens, at);
        }
    }

    /// Counts the token at `at` with what belongs to it, and returns where to go on.
    fn token(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let next = tokens.get(at + 1);
        if is_punct(tokens.get(at), '#') {
            let inner = usize::from(is_punct(next, '!'));
            if let Some(attribute) = group(tokens.get(at + 1 + inner), Delimiter::Bracket) {
                let behind = at + 2 + inner;
                let text = attribute.stream().to_string().replace(' ', "");
                return match text.as_str() {
                    _ if text.starts_with("doc=") => behind,
                    "cfg(test)" if inner == 1 => tokens.len(),
                    _ if OFF.iter().any(|condition| text.starts_with(condition)) => self.test_item(tokens, behind),
                    _ => {
                        self.rust.extend(lines(attribute.span()));
                        behind
                    }
                };
            }
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                self.rust.extend(lines(group.span_open()));
                self.stream(group.stream());
                self.rust.extend(lines(group.span_close()));
            }
            TokenTree::Ident(ident) if ident == "instructions" && is_punct(next, '!') => {
                self.rust.extend(lines(ident.span()));
                if let Some(TokenTree::Group(group)) = tokens.get(at + 2) {
                    self.instructions(group);
                    self.rust.extend(lines(group.span_close()));
                    return at + 3;
                }
            }
            TokenTree::Ident(ident) if ASSEMBLY.iter().any(|name| ident == name) && is_punct(next, '!') => {
                self.rust.extend(lines(ident.span()));
                if let Some(TokenTree::Group(group)) = tokens.get(at + 2) {
                    self.assembly_macro(group);
                    return at + 3;
                }
            }
            token => {
                let argued = group(next, Delimiter::Brace).is_some() || is_ident(next, "impl");
                if is_ident(Some(token), "unsafe") && argued {
                    self.unsafe_lines.push(token.span().start().line);
                }
                self.rust.extend(lines(token.span()));
            }
        }
        at + 1
    }

    /// Skips an item that is compiled for tests only.
    fn test_item(&mut self, tokens: &[TokenTree], start: usize) -> usize {
        let ends_with_semicolon = ["use", "const", "static", "type"];
        let mut semicolon_only = false;
        for (offset, token) in tokens[start..].iter().enumerate() {
            semicolon_only |= ends_with_semicolon.iter().any(|name| is_ident(Some(token), name));
            let at = start + offset;
            if is_punct(Some(token), ';') {
                if let Some(TokenTree::Ident(name)) = tokens.get(at - 1)
                    && is_ident(tokens.get(at - 2), "mod")
                {
                    self.tests.push(name.to_string());
                }
                return at + 1;
            }
            if !semicolon_only && group(Some(token), Delimiter::Brace).is_some() {
                return at + 1;
            }
        }
        tokens.len()
    }

    /// Strings are assembly, operands are Rust.
    fn assembly_macro(&mut self, whole: &Group) {
        let (mut operand, mut instruction) = (false, false);
        for token in whole.stream() {
            let named = matches!(&token, TokenTree::Ident(ident) if !operand && ident == "instruction");
            instruction = named || instruction && !is_punct(Some(&token), ',');
            match &token {
                TokenTree::Group(group) if instruction => self.instructions(group),
                _ if instruction => self.assembly.extend(lines(token.span())),
                TokenTree::Literal(literal) if !operand && literal.to_string().starts_with(['"', 'r']) => {
                    self.assembly.extend(lines(literal.span()));
                }
                _ => {
                    operand = !is_punct(Some(&token), ',');
                    if let TokenTree::Group(group) = &token {
                        self.stream(group.stream());
                    }
                    if operand {
                        self.rust.extend(lines(token.span()));
                    }
                }
            }
        }
        self.rust.extend(lines(whole.span_close()));
    }

    /// Lines of the table of instructions, or one that is taken from it.
    fn instructions(&mut self, whole: &Group) {
        for token in whole.stream() {
            self.assembly.extend(lines(token.span()));
        }
    }
}

/// The comment `SAFETY` that stands before a line, or in it; a statement may have begun between the two.
fn argument(text: &[&str], line: usize) -> String {
    const FARTHEST: usize = 8;
    let begins = |line: &&str| line.contains("// SAFETY:");
    let first = text[..line].iter().rev().take(FARTHEST).position(begins);
    let Some(first) = first.map(|back| line - 1 - back) else {
        return String::new();
    };
    let words = text[first..]
        .iter()
        .map_while(|line| Some(line.split_once("//")?.1.trim()));
    let whole: Vec<&str> = words.collect();
    whole.join(" ").trim_start_matches("SAFETY:").trim().to_owned()
}

fn count_rust(text: &str) -> Result<Code> {
    let mut walk = Walk::default();
    walk.stream(text.parse::<TokenStream>()?);
    let text: Vec<&str> = text.lines().collect();
    Ok(Code {
        rust: walk.rust.difference(&walk.assembly).count() as u64,
        assembly: walk.assembly.len() as u64,
        unsafe_blocks: walk.unsafe_lines.iter().map(|line| argument(&text, *line)).collect(),
        tests: walk.tests,
    })
}

/// The files of a folder that are not a foreign architecture's.
fn all_files(folder: &Path, foreign: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if foreign.contains(&stem.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(all_files(&path, foreign)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Words that make a line with `#` a directive rather than a comment of an assembler.
const DIRECTIVES: [&str; 10] = [
    "define", "elif", "else", "endif", "error", "if", "ifdef", "ifndef", "include", "undef",
];

/// Lines of C, C++ or an assembly file with something on them besides a comment. Directives count; no condition is looked at.
fn count_c(text: &str, assembly: bool) -> u64 {
    /// What a character stands in.
    enum Within {
        Code,
        Line,
        Block,
        Text(char),
    }
    let mut within = Within::Code;
    let mut count = 0;
    for line in text.lines() {
        let mut counts = false;
        let directive = line.trim().strip_prefix('#').map(|rest| rest.split_whitespace().next());
        let is_comment = directive.is_some_and(|word| !word.is_some_and(|word| DIRECTIVES.contains(&word)));
        if assembly && is_comment && matches!(within, Within::Code) {
            continue;
        }
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            match within {
                Within::Line => break,
                Within::Block => {
                    if (character, next) == ('*', Some('/')) {
                        characters.next();
                        within = Within::Code;
                    }
                }
                Within::Text(quote) => {
                    counts = true;
                    if character == '\\' {
                        characters.next();
                    } else if character == quote {
                        within = Within::Code;
                    }
                }
                Within::Code => match (character, next) {
                    ('/', Some('/')) => within = Within::Line,
                    ('/', Some('*')) => {
                        characters.next();
                        within = Within::Block;
                    }
                    ('"' | '\'', _) => {
                        counts = true;
                        within = Within::Text(character);
                    }
                    _ => counts |= !character.is_whitespace(),
                },
            }
        }
        // Neither a comment of one line nor a text goes on behind its line.
        if matches!(within, Within::Line | Within::Text(_)) {
            within = Within::Code;
        }
        count += u64::from(counts);
    }
    count
}

/// The code in a folder, file by file; tests are left out. C is given as Rust is, in lines.
///
/// # Errors
/// A file cannot be read, or is not Rust though it is named so.
pub fn files(folder: &Path, foreign: &[&str]) -> Result<Vec<(PathBuf, Code)>> {
    let mut counted: Vec<(PathBuf, Code)> = Vec::new();
    for path in all_files(folder, foreign)? {
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if !["rs", "S", "s", "c", "h", "cc", "hh", "bf"].contains(&extension.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let code = match extension.as_str() {
            "rs" => count_rust(&text).map_err(|error| format!("{}: {error}", path.display()))?,
            "S" | "s" => Code {
                assembly: count_c(&text, true),
                ..Code::default()
            },
            _ => Code {
                rust: count_c(&text, false),
                ..Code::default()
            },
        };
        counted.push((path, code));
    }
    let tests: BTreeSet<String> = counted.iter().flat_map(|(_, code)| code.tests.clone()).collect();
    counted.retain(|(path, _)| {
        let inside = path.strip_prefix(folder).unwrap_or(path).with_extension("");
        let mut parts = inside.components();
        !parts.any(|part| tests.contains(&*part.as_os_str().to_string_lossy()))
    });
    counted.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(counted)
}

/// Counts the code in a folder.
///
/// # Errors
/// As of [`files`].
pub fn count(folder: &Path, foreign: &[&str]) -> Result<Code> {
    let mut sum = Code::default();
    for (_, code) in files(folder, foreign)? {
        sum.rust += code.rust;
        sum.assembly += code.assembly;
        sum.unsafe_blocks.extend(code.unsafe_blocks);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_and_tests_are_not_code() {
        let text = r#"
            //! Head.

            /// Documentation.
            #[inline]
            fn one() { // comment
                /* block
                   comment */
                let text = "two
                    lines";
            }

            #[cfg(test)]
            use std::{a, b};

            #[cfg(test)]
            mod tests {
                fn ignored() {}
            }

            #[cfg(test)]
            mod elsewhere;
            #[cfg(feature = "more")]
            mod more;

            const LAST: u8 = 1;
        "#;
        let code = count_rust(text).unwrap();
        assert_eq!(
            (code.rust, code.tests),
            (6, vec!["elsewhere".to_owned(), "more".to_owned()])
        );
    }

    #[test]
    fn assembly_in_rust_counts_as_assembly() {
        let text = r#"
            fn one() {
                // SAFETY: it does
                // nothing.
                unsafe {
                    asm!(
                        "nop",
                        "li x6, {value}", // comment
                        instruction!(LC "x6", 0, "{slot}"),
                        value = const 3,
                    );
                }
            }
            unsafe extern "C" {}
            instructions! { $
                // Loads.
                LC cd, imm, base: ".insn i 0x0f, 2, " cd ", " imm "(" base ")";
                NOP: "nop";
            }
        "#;
        let code = count_rust(text).unwrap();
        assert_eq!((code.rust, code.assembly), (9, 6));
        assert_eq!(code.unsafe_blocks, ["it does nothing."]);
        assert_eq!(
            count_c("# comment\n#define X\n\nnop\n1:  j 1b # loop\n    // comment\n", true),
            3
        );
    }

    #[test]
    fn comments_of_c_are_not_code() {
        let text = "/* a\n b */ int x; // c\n\n// d\n#define Y \"/*\" /* e */\nchar z = '\"'; /* f */\n/* g */\n";
        assert_eq!(count_c(text, false), 3);
    }
}
