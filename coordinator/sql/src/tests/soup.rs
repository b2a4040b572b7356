//! Whatever comes in, an answer goes out.

use proptest::prelude::*;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::{ParseError, TarnDialect, keywords, parse, split, split_complete};

/// Pieces of statements in no order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(keywords().to_vec()).prop_map(str::to_owned),
        proptest::sample::select(vec![
            "(",
            ")",
            ",",
            ";",
            ".",
            "<",
            ">",
            ">>",
            "=",
            "[",
            "]",
            "{",
            "}",
            "->",
            "::",
            "+",
            "-",
            "*",
            "'a'",
            "\"b\"",
            "`c`",
            "1",
            "2.5",
            "t",
            "x",
            "@",
            "@@y",
            "$1",
            "?",
            "INT",
            "p",
            "1e5",
            "INDEX",
            "WITH LABEL",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.join(" "))
}

fn begun_soup() -> impl Strategy<Value = String> {
    let start = proptest::sample::select(vec![
        "SELECT",
        "INSERT INTO t",
        "CREATE TABLE t (",
        "CREATE TABLE t (a INT) PARTITION BY",
        "ALTER TABLE t ADD PARTITION p",
        "SET",
        "SHOW",
        "CREATE VIEW v AS",
        "SELECT * FROM",
        "DESC FILES(",
        "",
    ]);
    (start, soup()).prop_map(|(start, rest)| format!("{start} {rest}"))
}

/// The number of statements that a tokenizer sees.
fn count(sql: &str) -> Option<usize> {
    let tokens = Tokenizer::new(&TarnDialect, sql).tokenize().ok()?;
    let is_text = |tokens: &[Token]| tokens.iter().any(|t| !matches!(t, Token::Whitespace(_)));
    Some(tokens.split(|t| t == &Token::SemiColon).filter(|tokens| is_text(tokens)).count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_soup_of_words_panics(sql in begun_soup()) {
        if let Err(ParseError { line, column, .. }) = parse(&sql) {
            prop_assert!(line >= 1 && column >= 1);
        }
        let _ = split(&sql);
    }

    #[test]
    fn no_text_panics(sql in "(?s).{0,60}") {
        let _ = parse(&sql);
        let _ = split(&sql);
    }

    #[test]
    fn a_text_is_split_where_the_tokenizer_splits_it(sql in "[a;'\"`\\\\ \n#*/-]{0,24}") {
        if let Some(statements) = count(&sql) {
            prop_assert_eq!(split(&sql).len(), statements, "{:?}", split_complete(&sql));
        }
    }
}

#[test]
fn a_shell_sees_what_is_complete_and_what_is_not() {
    let text = "select 1; -- a;b\nselect ';' /* ; */ ;\n insert into t values (\"a\\\";";
    let split = split_complete(text);
    assert_eq!(split.complete, ["select 1", " -- a;b\nselect ';' /* ; */ "]);
    assert_eq!(split.rest, "\n insert into t values (\"a\\\";");
    assert_eq!(crate::split(text).len(), 3);
    assert_eq!(crate::split("; ; -- nothing\n"), Vec::<&str>::new());
    assert_eq!(split_complete("select `a;b").complete.len(), 0);
}

#[test]
fn keywords_are_sorted() {
    assert!(keywords().is_sorted(), "{:?}", keywords());
}
