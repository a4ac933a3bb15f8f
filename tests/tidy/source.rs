//! A small scanner of Rust text: enough to tell code from comments, strings and tests, and nothing more. No syntax
//! tree: a rule of the house must stay readable as a pass over tokens, and a scanner has no dependency to keep.

use std::collections::BTreeSet;

/// What a token is. Comments, literals and lifetimes are not tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Word,
    Mark,
}

/// A word, or a mark (`::` is one mark, all others are one character).
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Whether it stands in an item under `#[cfg(test)]` or `#[test]`.
    pub(crate) test: bool,
}

/// A path as written (`use` groups unfolded) and the line of its last word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) words: Vec<String>,
    pub(crate) line: usize,
    pub(crate) test: bool,
}

/// One function: name, first and last line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) test: bool,
}

/// One source file, scanned.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the top of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

impl Source {
    pub(crate) fn scan(path: &str, text: &str) -> Self {
        let mut tokens = tokens(text);
        mark_tests(&mut tokens);
        Self {
            path: path.to_string(),
            text: text.to_string(),
            tokens,
        }
    }

    /// Where the file stands below `src`: `src/log/mod.rs` is `[log]`, `src/log/index.rs` is `[log, index]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let Some(inner) = self.path.strip_prefix("src/") else {
            return Vec::new();
        };
        let mut words: Vec<String> = inner
            .trim_end_matches(".rs")
            .split('/')
            .map(str::to_string)
            .collect();
        let is_door = words.len() > 1 && words.last().is_some_and(|last| last == "mod");
        let is_root = words.len() == 1 && ["lib", "main"].contains(&words[0].as_str());
        if is_door || is_root {
            words.pop();
        }
        words
    }

    /// The modules in files of their own that only tests see: `#[cfg(test)] mod name;`.
    pub(crate) fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self.tokens.windows(3).filter(|window| {
            window[0].test
                && window[0].text == "mod"
                && window[1].kind == Kind::Word
                && window[2].text == ";"
        });
        declared
            .map(|window| {
                let mut words = self.module();
                words.push(window[1].text.clone());
                words
            })
            .collect()
    }

    /// Marks every token as test code, for a file that only tests see.
    pub(crate) fn mark_all_test(&mut self) {
        self.tokens.iter_mut().for_each(|token| token.test = true);
    }

    /// Lines of the file that do not belong to test code.
    pub(crate) fn product_lines(&self) -> usize {
        let test: BTreeSet<usize> = test_lines(&self.tokens);
        (1..=self.text.lines().count())
            .filter(|line| !test.contains(line))
            .count()
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, pair) in self.tokens.windows(2).enumerate() {
            if pair[0].text != "fn" || pair[1].kind != Kind::Word {
                continue;
            }
            if let Some(end) = item_end(&self.tokens, at)
                && self.tokens[end].text == "}"
            {
                found.push(Function {
                    name: pair[1].text.clone(),
                    first: pair[0].line,
                    last: self.tokens[end].line,
                    test: pair[0].test,
                });
            }
        }
        found
    }

    /// All paths, with `self` and `super` resolved against the module they stand in, so that each begins with `crate`
    /// or with the name of something outside.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut module = self.module();
        let mut open: Vec<bool> = Vec::new();
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let next = self.tokens.get(at + 1).map_or("", |token| &token.text);
            match self.tokens[at].text.as_str() {
                "use" if next != "<" => {
                    let mut tree = Vec::new();
                    at = unfold(&self.tokens, at + 1, &[], &mut tree);
                    found.extend(tree.into_iter().map(|path| resolve(path, &module)));
                    continue;
                }
                "{" => {
                    let named = at >= 2 && self.tokens[at - 2].text == "mod";
                    if named {
                        module.push(self.tokens[at - 1].text.clone());
                    }
                    open.push(named);
                }
                "}" if open.pop() == Some(true) => {
                    module.pop();
                }
                _ if begins_path(&self.tokens, at) => {
                    let (path, end) = follow(&self.tokens, at);
                    found.push(resolve(path, &module));
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        found
    }
}

/// Whether a path of at least two words begins at this token.
fn begins_path(tokens: &[Token], at: usize) -> bool {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let continues = at > 0
        && text(at - 1) == "::"
        && at > 1
        && (tokens[at - 2].kind == Kind::Word || text(at - 2) == ">");
    tokens[at].kind == Kind::Word && text(at + 1) == "::" && !continues
}

fn follow(tokens: &[Token], start: usize) -> (Path, usize) {
    let mut words = vec![tokens[start].text.clone()];
    let mut at = start;
    while at + 2 < tokens.len() && tokens[at + 1].text == "::" && tokens[at + 2].kind == Kind::Word
    {
        at += 2;
        words.push(tokens[at].text.clone());
    }
    let path = Path {
        words,
        line: tokens[at].line,
        test: tokens[start].test,
    };
    (path, at + 1)
}

/// Unfolds the `use` tree that begins at `at`; returns the place behind it.
fn unfold(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Path>) -> usize {
    let mut words = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = unfold(tokens, at, &words, found);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "," | "}" | ";" => break,
            word => {
                if word != "self" || words.is_empty() {
                    words.push(word.to_string());
                }
                at += 1;
            }
        }
    }
    let last = &tokens[at.saturating_sub(1).min(tokens.len() - 1)];
    found.push(Path {
        words,
        line: last.line,
        test: last.test,
    });
    at
}

fn resolve(mut path: Path, module: &[String]) -> Path {
    let mut base = module.to_vec();
    let mut rest = path.words.as_slice();
    let mut relative = false;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        relative = true;
        rest = others;
    }
    if relative {
        let mut words = vec!["crate".to_string()];
        words.append(&mut base);
        words.extend_from_slice(rest);
        path.words = words;
    }
    path
}

/// Sets `test` on every token of an item under `#[cfg(test)]`, `#[cfg(all(test, ..))]` or `#[test]`.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some((is_test, inner, mut end)) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        if is_test && inner {
            tokens.iter_mut().for_each(|token| token.test = true);
            return;
        }
        if !is_test {
            at = end;
            continue;
        }
        while let Some((_, _, next)) = attribute(tokens, end) {
            end = next;
        }
        let last = item_end(tokens, end).unwrap_or(tokens.len() - 1);
        tokens[at..=last]
            .iter_mut()
            .for_each(|token| token.test = true);
        at = last + 1;
    }
}

/// The attribute at this token: whether it makes its item test code, whether it is an inner one, and its end.
fn attribute(tokens: &[Token], at: usize) -> Option<(bool, bool, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let inner = text(at + 1) == "!";
    let start = at + 1 + usize::from(inner);
    if text(at) != "#" || text(start) != "[" {
        return None;
    }
    let mut depth = 0usize;
    let mut end = start;
    while end < tokens.len() {
        match text(end) {
            "[" | "(" => depth += 1,
            "]" | ")" => depth -= 1,
            _ => {}
        }
        end += 1;
        if depth == 0 {
            break;
        }
    }
    let words: Vec<&str> = (start + 1..end - 1).map(text).collect();
    let is_test = words == ["test"]
        || words == ["cfg", "(", "test", ")"]
        || words.starts_with(&["cfg", "(", "all", "(", "test"]);
    Some((is_test, inner, end))
}

const ITEM_WORDS: [&str; 16] = [
    "pub",
    "fn",
    "mod",
    "use",
    "impl",
    "struct",
    "enum",
    "const",
    "static",
    "type",
    "trait",
    "unsafe",
    "async",
    "extern",
    "union",
    "macro_rules",
];

/// The last token of the item that begins at `start`: the brace that closes its body, or a semicolon. For something
/// that is no item (a field, an arm) also the comma or the brace behind it.
fn item_end(tokens: &[Token], start: usize) -> Option<usize> {
    let is_item = tokens
        .get(start)
        .is_some_and(|token| ITEM_WORDS.contains(&token.text.as_str()));
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "{" if depth == 0 => return close(tokens, at),
            ";" if depth == 0 => return Some(at),
            "," | "}" if depth == 0 && !is_item => return Some(at),
            _ => {}
        }
    }
    None
}

fn close(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The lines from the first to the last token of each stretch of test tokens.
fn test_lines(tokens: &[Token]) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for stretch in tokens.chunk_by(|a, b| a.test == b.test) {
        let (first, last) = (&stretch[0], &stretch[stretch.len() - 1]);
        if first.test {
            lines.extend(first.line..=last.line);
        }
    }
    lines
}

fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
    };
    let mut found = Vec::new();
    while let Some(token) = reader.next() {
        found.push(token);
    }
    found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.line += usize::from(self.peek(0) == '\n');
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<Token> {
        while self.at < self.chars.len() {
            let (first, second) = (self.peek(0), self.peek(1));
            match (first, second) {
                ('/', '/') => self.skip_while(|c| c != '\n'),
                ('/', '*') => self.skip_block_comment(),
                ('"', _) => self.skip_string(),
                ('\'', _) => self.skip_quote(),
                (':', ':') => return Some(self.take(2, Kind::Mark)),
                (c, _) if c.is_whitespace() => self.skip(1),
                (c, _) if c.is_ascii_digit() => self.skip_number(),
                (c, _) if is_word(c) => {
                    if let Some(word) = self.word() {
                        return Some(word);
                    }
                }
                _ => return Some(self.take(1, Kind::Mark)),
            }
        }
        None
    }

    fn take(&mut self, count: usize, kind: Kind) -> Token {
        let token = Token {
            kind,
            text: self.chars[self.at..self.at + count].iter().collect(),
            line: self.line,
            test: false,
        };
        self.skip(count);
        token
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.at < self.chars.len() && wanted(self.peek(0)) {
            self.skip(1);
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_string(&mut self) {
        self.skip(1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            self.skip(1 + usize::from(self.peek(0) == '\\'));
        }
        self.skip(1);
    }

    /// `r"..."` or `r#"..."#` from the first `#` or quote on.
    fn skip_raw_string(&mut self) {
        let fence = (0..).take_while(|ahead| self.peek(*ahead) == '#').count();
        self.skip(fence + 1);
        while self.at < self.chars.len() {
            let closes = self.peek(0) == '"' && (1..=fence).all(|ahead| self.peek(ahead) == '#');
            if closes {
                self.skip(fence + 1);
                return;
            }
            self.skip(1);
        }
    }

    /// A character literal, or a lifetime.
    fn skip_quote(&mut self) {
        if self.peek(1) == '\\' {
            self.skip(3);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(2) == '\'' {
            self.skip(3);
        } else {
            self.skip(1);
            self.skip_while(is_word);
        }
    }

    fn skip_number(&mut self) {
        self.skip_while(is_word);
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            self.skip(1);
            self.skip_while(is_word);
        }
    }

    /// A word; `None` if it was the prefix of a literal, which is skipped.
    fn word(&mut self) -> Option<Token> {
        let length = (0..).take_while(|ahead| is_word(self.peek(*ahead))).count();
        let prefix: String = self.chars[self.at..self.at + length].iter().collect();
        let fence = (length..)
            .take_while(|ahead| self.peek(*ahead) == '#')
            .count();
        match (
            prefix.as_str(),
            self.peek(length),
            self.peek(length + fence),
        ) {
            ("r" | "br" | "cr", _, '"') => {
                self.skip(length);
                self.skip_raw_string();
                None
            }
            ("b" | "c", '"', _) => {
                self.skip(length);
                self.skip_string();
                None
            }
            ("b", '\'', _) => {
                self.skip(length);
                self.skip_quote();
                None
            }
            ("r", '#', _) => {
                self.skip(2);
                self.word()
            }
            _ => Some(self.take(length, Kind::Word)),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
