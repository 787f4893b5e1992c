//! How much code the monitor is.
//!
//! A line counts when a token stands on it that is neither a comment nor part of a test (`#[cfg(test)]`). Files of other
//! architectures and the stand-in for hosts (`arch::host`) are not in the image and do not count. Assembly is the lines of
//! `.S` files and the strings of `asm!`, `naked_asm!` and `global_asm!`; the latter do not count as Rust.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use tools::workspace::Workspace;

use crate::Result;
use crate::measurement::Measurement;
use crate::platform::Platform;

const SECTION: &str = "Monitor (lines of code, without blank lines, comments and tests)";
/// The crates that the monitor is made of.
pub(crate) const CRATES: [&str; 5] = ["abi", "capability", "arch", "kernel", "boot"];
/// Files and folders that not every platform has; `host` is the stand-in for unit tests.
const MODULES: [&str; 4] = ["cheri_riscv", "riscv", "morello", "host"];
/// Macros whose strings are assembly.
const ASSEMBLY: [&str; 3] = ["asm", "global_asm", "naked_asm"];

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) rust: u64,
    assembly: u64,
    unsafe_blocks: u64,
    /// Names of modules in other files that are tests only.
    tests: Vec<String>,
}

/// Walks through the tokens of one file.
#[derive(Default)]
struct Walk {
    rust: BTreeSet<usize>,
    assembly: BTreeSet<usize>,
    unsafe_blocks: u64,
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
                    "cfg(test)" => self.test_item(tokens, behind),
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
            TokenTree::Ident(ident) if ASSEMBLY.iter().any(|name| ident == name) && is_punct(next, '!') => {
                self.rust.extend(lines(ident.span()));
                if let Some(TokenTree::Group(group)) = tokens.get(at + 2) {
                    self.assembly_macro(group);
                    return at + 3;
                }
            }
            token => {
                self.unsafe_blocks +=
                    u64::from(is_ident(Some(token), "unsafe") && group(next, Delimiter::Brace).is_some());
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
        let mut operand = false;
        for token in whole.stream() {
            match &token {
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
}

fn count_rust(text: &str) -> Result<Code> {
    let mut walk = Walk::default();
    walk.stream(text.parse::<TokenStream>()?);
    Ok(Code {
        rust: walk.rust.difference(&walk.assembly).count() as u64,
        assembly: walk.assembly.len() as u64,
        unsafe_blocks: walk.unsafe_blocks,
        tests: walk.tests,
    })
}

/// Lines of an assembly file with something on them besides a comment.
fn count_assembly(text: &str) -> u64 {
    let code = text.lines().map(str::trim).filter(|line| {
        let comment = line.starts_with("//") || line.starts_with('#');
        !line.is_empty() && !comment
    });
    code.count() as u64
}

/// The source files of a crate that belong to the image of a platform.
fn files(folder: &Path, foreign: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if foreign.contains(&stem.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, foreign)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Counts the code in a folder.
pub(crate) fn count(folder: &Path, foreign: &[&str]) -> Result<Code> {
    let mut counted: Vec<(PathBuf, Code)> = Vec::new();
    for path in files(folder, foreign)? {
        let extension = path.extension().unwrap_or_default();
        let text = fs::read_to_string(&path)?;
        let code = if extension == "rs" {
            count_rust(&text).map_err(|error| format!("{}: {error}", path.display()))?
        } else if extension == "S" {
            Code {
                assembly: count_assembly(&text),
                ..Code::default()
            }
        } else {
            continue;
        };
        counted.push((path, code));
    }
    let tests: BTreeSet<String> = counted.iter().flat_map(|(_, code)| code.tests.clone()).collect();
    let mut sum = Code::default();
    for (path, code) in counted {
        let inside = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
        let is_test = inside
            .components()
            .any(|part| tests.contains(&*part.as_os_str().to_string_lossy()));
        if !is_test {
            sum.rust += code.rust;
            sum.assembly += code.assembly;
            sum.unsafe_blocks += code.unsafe_blocks;
        }
    }
    Ok(sum)
}

/// Lines of the monitor by crate.
///
/// # Errors
/// A source file cannot be read.
pub(crate) fn measure(platform: &dyn Platform) -> Result<Vec<Measurement>> {
    let root = Workspace::locate()?.root;
    let own = platform.modules();
    let foreign: Vec<&str> = MODULES.into_iter().filter(|name| !own.contains(name)).collect();
    let mut measured = Vec::new();
    let mut sum = Code::default();
    for name in CRATES {
        let code = count(&root.join(name).join("src"), &foreign)?;
        measured.push(Measurement::count(SECTION, name, code.rust));
        sum.rust += code.rust;
        sum.assembly += code.assembly;
        sum.unsafe_blocks += code.unsafe_blocks;
    }
    measured.extend([
        Measurement::count(SECTION, "sum of Rust", sum.rust),
        Measurement::count(SECTION, "assembly", sum.assembly),
        Measurement::count(SECTION, "`unsafe` blocks (number)", sum.unsafe_blocks),
    ]);
    Ok(measured)
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

            const LAST: u8 = 1;
        "#;
        let code = count_rust(text).unwrap();
        assert_eq!((code.rust, code.tests), (6, vec!["elsewhere".to_owned()]));
    }

    #[test]
    fn assembly_in_rust_counts_as_assembly() {
        let text = r#"
            fn one() {
                unsafe {
                    asm!(
                        "nop",
                        "li x6, {value}", // comment
                        value = const 3,
                    );
                }
            }
            unsafe extern "C" {}
        "#;
        let code = count_rust(text).unwrap();
        assert_eq!((code.rust, code.assembly, code.unsafe_blocks), (8, 2, 1));
        assert_eq!(count_assembly("# comment\n\nnop\n1:  j 1b # loop\n    // comment\n"), 2);
    }
}
