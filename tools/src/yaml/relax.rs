//! What libyaml takes and the parser here does not, written as both take it: tabs behind a key's colon, and lines of a quoted
//! text or a flow collection that go on at the indentation of what they belong to (YAML 1.2 wants them deeper; YAML 1.1 and
//! libyaml do not ask). Lines stay lines, so that places in messages stay right.

/// Where a scan is.
enum State {
    /// In nothing.
    Plain,
    /// In a quoted text.
    Quoted(char),
    /// In a block scalar whose lines are indented by more than this.
    Block(usize),
}

/// The text with spaces for such tabs, and with such lines indented.
pub(super) fn relax(text: &str) -> String {
    let mut relaxed = String::with_capacity(text.len() + 64);
    let mut state = State::Plain;
    // Open brackets, and the indentation that what goes on needs.
    let (mut depth, mut needed) = (0_usize, 0);
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches(' ').len();
        let blank = line.trim().is_empty();
        if let State::Block(parent) = state {
            if blank || indentation > parent {
                relaxed.push_str(line);
                continue;
            }
            state = State::Plain;
        }
        let goes_on = depth > 0 || matches!(state, State::Quoted(_));
        if goes_on && !blank && indentation < needed {
            relaxed.extend(std::iter::repeat_n(' ', needed - indentation));
        }
        if !goes_on {
            needed = parent_of(line) + 1;
        }
        scan(line, &mut state, &mut depth, needed - 1, &mut relaxed);
    }
    relaxed
}

/// The indentation of the innermost key or item that begins in a line.
fn parent_of(line: &str) -> usize {
    let mut rest = line.trim_start_matches(' ');
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start_matches([' ', '\t']);
    }
    line.len() - rest.len()
}

/// Copies a line.
fn scan(line: &str, state: &mut State, depth: &mut usize, parent: usize, relaxed: &mut String) {
    // Whether a token may begin here, and whether this is behind a colon.
    let (mut fresh, mut behind_colon) = (true, false);
    let mut previous = ' ';
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied().unwrap_or('\n');
        if let State::Quoted(quote) = *state {
            relaxed.push(character);
            let escapes = match quote {
                '"' => character == '\\',
                _ => character == quote && next == quote,
            };
            if escapes {
                relaxed.extend(characters.next());
            } else if character == quote {
                *state = State::Plain;
                (fresh, previous) = (false, quote);
            }
            continue;
        }
        match character {
            '\t' if behind_colon => relaxed.push(' '),
            '#' if previous.is_whitespace() => {
                relaxed.push('#');
                relaxed.extend(characters);
                return;
            }
            _ => relaxed.push(character),
        }
        match character {
            ' ' | '\t' | '\n' | '\r' => {}
            '"' | '\'' if fresh => *state = State::Quoted(character),
            '|' | '>' if fresh && *depth == 0 => {
                *state = State::Block(parent);
                relaxed.extend(characters);
                return;
            }
            '[' | '{' if fresh || *depth > 0 => (*depth, fresh) = (*depth + 1, true),
            ']' | '}' if *depth > 0 => (*depth, fresh) = (*depth - 1, false),
            ',' if *depth > 0 => fresh = true,
            ':' | '-' | '?' if next.is_whitespace() => fresh = true,
            _ => fresh = false,
        }
        behind_colon = match character {
            ':' => next == '\t' || next == ' ',
            ' ' | '\t' => behind_colon,
            _ => false,
        };
        previous = character;
    }
}
