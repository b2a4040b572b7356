//! Patterns of one path segment: `*`, `?`, `[a-z]`, `[!a]` and `{a,b}`. Pure.

/// A pattern without `{..}`; see [`expand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    Any,
    Rest,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Whether a segment is more than a name.
pub(super) fn is_pattern(segment: &str) -> bool {
    segment.contains(['*', '?', '['])
}

/// The paths that `{a,b}` stands for, in order. A brace that is not closed is an ordinary character.
pub(super) fn expand(path: &str) -> Vec<String> {
    let Some((start, end)) = braces(path) else { return vec![path.to_owned()] };
    let (head, body, tail) = (&path[..start], &path[start + 1..end], &path[end + 1..]);
    let mut depth = 0usize;
    let choices = body.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    choices.flat_map(|choice| expand(&format!("{head}{choice}{tail}"))).collect()
}

/// The first `{` and the `}` that closes it.
fn braces(path: &str) -> Option<(usize, usize)> {
    let start = path.find('{')?;
    let mut depth = 0usize;
    for (at, c) in path[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((start, start + at));
        }
    }
    None
}

impl Pattern {
    /// Reads a segment. A `[` that is not closed is an ordinary character.
    pub fn new(segment: &str) -> Self {
        let chars: Vec<char> = segment.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let (part, used) = match chars[at] {
                '*' => (Part::Rest, 1),
                '?' => (Part::Any, 1),
                '[' => class(&chars[at + 1..]).map_or((Part::Char('['), 1), |(part, used)| (part, used + 1)),
                c => (Part::Char(c), 1),
            };
            parts.push(part);
            at += used;
        }
        Self(parts)
    }

    /// Whether `name` matches. Names that begin with `.` or `_` (unfinished files, markers) match only patterns that
    /// begin so.
    pub fn matches(&self, name: &str) -> bool {
        let hidden = name.chars().next().filter(|first| matches!(first, '.' | '_'));
        if hidden.is_some_and(|first| self.0.first() != Some(&Part::Char(first))) {
            return false;
        }
        matches(&self.0, &name.chars().collect::<Vec<_>>())
    }
}

/// A class after its `[`, and how many characters it took.
fn class(chars: &[char]) -> Option<(Part, usize)> {
    let negated = matches!(chars.first(), Some('!' | '^'));
    let body = usize::from(negated);
    // A `]` right after the bracket is a member.
    let end = body + 1 + chars.get(body + 1..)?.iter().position(|c| *c == ']')?;
    let members = &chars[body..end];
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        match members[at..] {
            [low, '-', high, ..] => {
                ranges.push((low, high));
                at += 3;
            }
            _ => {
                ranges.push((members[at], members[at]));
                at += 1;
            }
        }
    }
    Some((Part::Class { negated, ranges }, end + 1))
}

/// Matches with one point of return: the last `*`.
fn matches(parts: &[Part], name: &[char]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match parts.get(part) {
            Some(Part::Rest) => {
                star = Some((part, at));
                part += 1;
                continue;
            }
            Some(other) if other.accepts(name[at]) => {
                part += 1;
                at += 1;
                continue;
            }
            _ => {}
        }
        let Some((from, taken)) = star else { return false };
        star = Some((from, taken + 1));
        part = from + 1;
        at = taken + 1;
    }
    parts[part..].iter().all(|part| *part == Part::Rest)
}

impl Part {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any | Self::Rest => true,
            Self::Class { negated, ranges } => *negated != ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("*.parquet", "a.parquet", true),
            ("*.parquet", "a.parquet.tmp", false),
            ("*.parquet", ".parquet", false),
            ("*", "_SUCCESS", false),
            ("_*", "_SUCCESS", true),
            ("part-?.csv", "part-1.csv", true),
            ("part-?.csv", "part-12.csv", false),
            ("p[0-9a].csv", "p7.csv", true),
            ("p[!0-9].csv", "p7.csv", false),
            ("p[]].csv", "p].csv", true),
            ("p[.csv", "p[.csv", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("dt=202104*", "dt=20210411", true),
            ("ü?", "üß", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn braces_are_expanded_in_order() {
        assert_eq!(expand("/a/{x,y{1,2}}/b"), ["/a/x/b", "/a/y1/b", "/a/y2/b"]);
        assert_eq!(expand("/a/{x"), ["/a/{x"]);
        assert_eq!(expand("/{a,b}/{c,d}"), ["/a/c", "/a/d", "/b/c", "/b/d"]);
    }

    proptest! {
        #[test]
        fn any_pattern_is_matched_without_panic(pattern in ".{0,12}", name in ".{0,12}") {
            Pattern::new(&pattern).matches(&name);
            expand(&pattern);
        }

        #[test]
        fn a_name_matches_itself(name in "[a-z0-9 =%-]{1,12}") {
            prop_assert!(Pattern::new(&name).matches(&name));
        }
    }
}
