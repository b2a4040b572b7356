//! `LIKE` patterns: `%` is any text, `_` any character, a backslash takes what follows as it is. Pure.

/// A pattern, or none: which everything matches.
pub struct Pattern {
    tokens: Option<Vec<Token>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Any,
    One,
    Char(char),
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(pattern: Option<&str>) -> Self {
        let tokens = pattern.map(|pattern| {
            let mut chars = pattern.chars();
            let mut tokens = Vec::new();
            while let Some(c) = chars.next() {
                tokens.push(match c {
                    '%' => Token::Any,
                    '_' => Token::One,
                    '\\' => Token::Char(chars.next().unwrap_or('\\')),
                    c => Token::Char(c),
                });
            }
            tokens
        });
        Self { tokens }
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let Some(tokens) = &self.tokens else { return true };
        let text: Vec<char> = text.chars().collect();
        // Where the last `%` stands and how much of the text it has taken: more is given to it when what follows fails.
        let (mut token, mut at, mut retry) = (0, 0, None);
        loop {
            match tokens.get(token) {
                Some(Token::Any) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(Token::One) if at < text.len() => {}
                Some(Token::Char(c)) if text.get(at) == Some(c) => {}
                None if at == text.len() => return true,
                _ => match retry {
                    Some((any, taken)) if taken < text.len() => {
                        retry = Some((any, taken + 1));
                        (token, at) = (any + 1, taken + 1);
                        continue;
                    }
                    _ => return false,
                },
            }
            (token, at) = (token + 1, at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(Some(pattern)).matches(text)
    }

    #[test]
    fn percent_underscore_and_backslash_mean_what_they_do_in_mysql() {
        assert!(matches("line%", "lineorder") && matches("line%", "line") && !matches("line%", "a line"));
        assert!(matches("%order", "lineorder") && matches("l%o%r", "lineorder") && !matches("%x%", "lineorder"));
        assert!(matches("p_t", "pat") && !matches("p_t", "pt") && !matches("p_t", "paat"));
        assert!(matches("a\\_b", "a_b") && !matches("a\\_b", "acb") && matches("50\\%", "50%"));
        assert!(matches("", "") && !matches("", "a") && matches("%", "") && matches("ä_", "äö"));
        assert!(!matches("Line%", "lineorder"));
        assert!(Pattern::new(None).matches("anything"));
    }

    /// The definition, by trying everything.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|n| by_definition(rest, &text[n..])),
            ['_', rest @ ..] => !text.is_empty() && by_definition(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab%_]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), by_definition(&p, &t));
        }
    }
}
