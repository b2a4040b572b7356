//! SQL `LIKE` patterns as metadata calls use them: `%` is any text, `_` one character, `\` takes the next one literally.

/// Whether `text` matches `pattern`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Where to go on when the text does not match: after the last `%`, with one more character given to it.
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        let (literal, width) = match pattern.get(p) {
            Some('%') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('_') => (None, 1),
            Some('\\') if p + 1 < pattern.len() => (Some(pattern[p + 1]), 2),
            Some(c) => (Some(*c), 1),
            None => (Some('\0'), 0),
        };
        if width > 0 && literal.is_none_or(|c| c == text[t]) {
            p += width;
            t += 1;
        } else if let Some((after, given)) = retry {
            retry = Some((after, given + 1));
            (p, t) = (after, given + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_as_in_like() {
        for (pattern, text) in
            [("%", ""), ("a%", "abc"), ("%c", "abc"), ("a_c", "abc"), ("%b%", "abc"), ("a\\_c", "a_c"), ("é_", "éx")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", ""), ("a_", "a"), ("a\\_c", "abc"), ("a%d", "abc"), ("A", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_text_matches_itself_alone(text in "[a%_\\\\b]{0,8}", other in "[a%_\\\\b]{0,8}") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(matches(&escaped, &text));
            prop_assert_eq!(matches(&escaped, &other), text == other);
        }

        #[test]
        fn arrow_agrees(pattern in "[ab%_]{0,6}", text in "[ab]{0,6}") {
            use arrow::array::StringArray;
            let like = arrow::compute::like(&StringArray::new_scalar(text.clone()), &StringArray::new_scalar(pattern.clone()));
            prop_assert_eq!(matches(&pattern, &text), like.unwrap().value(0));
        }
    }
}
