//! Rust as far as these checks read it: words, signs, and the paths that they make.

/// A word or a sign of Rust; comments, texts and numbers are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    PathSeparator,
    Sign(char),
}

pub(crate) fn tokens(source: &str) -> Vec<(usize, Token)> {
    let bytes: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, token) = match rest {
            ['/', '/', ..] => (rest.iter().take_while(|c| **c != '\n').count(), None),
            ['/', '*', ..] => (block_comment(rest), None),
            ['"', ..] => (text(rest), None),
            ['r', '"' | '#', ..] | ['b', 'r', '"' | '#', ..] if raw_text(rest) > 0 => (raw_text(rest), None),
            ['\'', '\\', _, ..] => (3 + rest[3..].iter().take_while(|c| **c != '\'').count() + 1, None),
            ['\'', _, '\'', ..] => (3, None),
            [':', ':', ..] => (2, Some(Token::PathSeparator)),
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                let word: String = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                (word.chars().count(), Some(Token::Word(word)))
            }
            [c, ..] if c.is_whitespace() => (1, None),
            [c, ..] => (1, Some(Token::Sign(*c))),
            [] => break,
        };
        tokens.extend(token.map(|token| (line, token)));
        line += rest[..length.min(rest.len())].iter().filter(|c| **c == '\n').count();
        at += length;
    }
    tokens
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn text(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a raw text; 0 if it is a word that begins with `r`, or a raw identifier.
fn raw_text(rest: &[char]) -> usize {
    let prefix = rest.iter().take_while(|c| **c == 'b' || **c == 'r').count();
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    if rest.get(prefix + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = ['"'].into_iter().chain(std::iter::repeat_n('#', hashes)).collect();
    let content = &rest[prefix + hashes + 1..];
    let length = content.windows(end.len()).position(|window| window == end).unwrap_or(content.len());
    prefix + hashes + 1 + length + end.len()
}

/// Leaves out what stands behind `#[cfg(test)]`, up to its closing brace or semicolon.
pub(crate) fn without_tests(tokens: Vec<(usize, Token)>) -> Vec<(usize, Token)> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_marked = marker.iter().enumerate().all(|(offset, expected)| {
            tokens.get(at + offset).is_some_and(|(_, token)| match token {
                Token::Word(word) => word == expected,
                Token::Sign(sign) => expected.chars().eq([*sign]),
                Token::PathSeparator => false,
            })
        });
        if is_marked {
            at += marker.len() + item_length(&tokens[at + marker.len()..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn item_length(tokens: &[(usize, Token)]) -> usize {
    let mut depth = 0_usize;
    for (at, (_, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') if depth <= 1 => return at + 1,
            Token::Sign('}') => depth -= 1,
            Token::Sign(';') if depth == 0 => return at + 1,
            Token::Word(_) | Token::PathSeparator | Token::Sign(_) => {}
        }
    }
    tokens.len()
}

/// Every path that is named, those of `use` with their groups written out.
pub(crate) fn paths(tokens: &[(usize, Token)]) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at += path(&tokens[at..], &[], &mut paths).max(1);
        // What goes on behind generic arguments (`Vec<u8>::new`) is no path from the root.
        if tokens.get(at).is_some_and(|(_, token)| *token == Token::PathSeparator) {
            at += 1;
            while tokens.get(at).is_some_and(|(_, token)| matches!(token, Token::Word(_) | Token::PathSeparator)) {
                at += 1;
            }
        }
    }
    paths
}

/// Reads a path or a group of them that continues `stem`; returns how many tokens it took.
fn path(tokens: &[(usize, Token)], stem: &[String], paths: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut names = stem.to_vec();
    let mut at = 0;
    let line = tokens.first().map_or(0, |(line, _)| *line);
    while let Some((_, Token::Word(name))) = tokens.get(at) {
        if name != "self" || names.is_empty() {
            names.push(name.clone());
        }
        at += 1;
        let [(_, Token::PathSeparator), (_, next), ..] = &tokens[at..] else { break };
        at += 1;
        match next {
            Token::Sign('{') => return at + group(&tokens[at..], &names, paths),
            Token::Word(_) => {}
            Token::Sign(_) | Token::PathSeparator => break,
        }
    }
    if at > 0 && (names.len() > 1 || tokens.get(at).is_some_and(|(_, token)| *token == Token::Sign(';'))) {
        paths.push((line, names));
    }
    at
}

/// Reads `{a, b::c, d::{e, f}}`.
fn group(tokens: &[(usize, Token)], stem: &[String], paths: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut at = 1;
    while let Some((line, token)) = tokens.get(at) {
        match token {
            Token::Sign('}') => return at + 1,
            Token::Word(_) => at += path(&tokens[at..], stem, paths),
            Token::Sign('*') => {
                paths.push((*line, stem.to_vec()));
                at += 1;
            }
            Token::Sign(_) | Token::PathSeparator => at += 1,
        }
    }
    at
}
