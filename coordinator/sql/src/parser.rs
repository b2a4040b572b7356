//! Text to statements: the tokens, what the parsers of all statements share, and which parser a statement goes to.

mod alter;
mod alter_columns;
mod cluster;
mod compact;
mod create;
mod insert;
mod modify;
mod partition;
mod query;
mod session;
mod show;
mod volume;

use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use tarn_proto::DataType;

use crate::dialect::TarnDialect;
use crate::error::ParseError;
use crate::name::{Ident, Literal, ObjectName, Position};
use crate::statement::Statement;
use crate::table::Property;
use crate::types::parse_type;

/// How deep expressions and queries may nest. The parser and the planner grow their stacks; the rest walks syntax trees
/// on an ordinary thread's stack, which this depth leaves room in.
const MAX_DEPTH: usize = 128;

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

/// The statements of a text, which semicolons separate.
pub fn parse(sql: &str) -> Result<Vec<Statement>> {
    let mut parser = StatementParser::new(sql)?;
    let mut statements = Vec::new();
    loop {
        while parser.eat_token(&Token::SemiColon) {}
        if parser.is_end() {
            return Ok(statements);
        }
        statements.push(parser.statement()?);
        if !parser.is_end() && parser.peek() != &Token::SemiColon {
            return parser.expected("end of statement");
        }
    }
}

/// The one statement of a text.
pub fn parse_one(sql: &str) -> Result<Statement> {
    let mut parser = StatementParser::new(sql)?;
    while parser.eat_token(&Token::SemiColon) {}
    let statement = parser.statement()?;
    while parser.eat_token(&Token::SemiColon) {}
    if parser.is_end() { Ok(statement) } else { parser.expected("end of statement") }
}

/// Drives the tokens of a text through the statements' parsers, and through `sqlparser` for queries and expressions.
struct StatementParser<'a> {
    sql: &'a str,
    tokens: Parser<'a>,
    /// Where the text ends.
    end: Location,
}

impl<'a> StatementParser<'a> {
    fn new(sql: &'a str) -> Result<Self> {
        let tokens = Tokenizer::new(&TarnDialect, sql).tokenize_with_location().map_err(ParseError::from_tokenizer)?;
        query::check_set_operations(&tokens)?;
        let end = tokens
            .iter()
            .rev()
            .find(|t| !matches!(t.token, Token::Whitespace(_)))
            .map_or(Location { line: 1, column: 1 }, |t| t.span.end);
        let tokens = Parser::new(&TarnDialect)
            .with_recursion_limit(MAX_DEPTH)
            .with_tokens_with_locations(query::normalize(tokens));
        Ok(Self { sql, tokens, end })
    }

    fn statement(&mut self) -> Result<Statement> {
        let Some(word) = self.peek_word(0) else {
            return if self.peek() == &Token::LParen { self.query_statement() } else { self.unknown_statement() };
        };
        match word.to_ascii_uppercase().as_str() {
            "WITH" | "DELETE" | "UPDATE" if self.is_modification() => self.modification(),
            "SELECT" | "WITH" | "VALUES" => self.query_statement(),
            "EXPLAIN" => self.explain(),
            "INSERT" => self.insert(),
            "CREATE" => self.create(),
            "DROP" => self.drop_object(),
            "ALTER" => self.alter(),
            "CANCEL" => self.cancel(),
            "TRUNCATE" => self.truncate(),
            "USE" => self.use_database(),
            "SET" => self.set(),
            "SHOW" => self.show(),
            "DESC" | "DESCRIBE" => self.describe(),
            "KILL" => self.kill(),
            "ADMIN" => self.admin(),
            word @ ("MERGE" | "GRANT" | "REVOKE" | "REFRESH" | "SUBMIT" | "BEGIN" | "COMMIT" | "ROLLBACK"
            | "ANALYZE" | "EXPORT" | "LOAD") => {
                let message = format!("{word} is not available yet");
                Err(ParseError::new(self.at(), message))
            }
            _ => self.unknown_statement(),
        }
    }

    fn unknown_statement<T>(&self) -> Result<T> {
        self.expected("a statement (SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, SHOW, ..)")
    }

    fn query_statement(&mut self) -> Result<Statement> {
        Ok(Statement::Query(self.query()?))
    }

    fn explain(&mut self) -> Result<Statement> {
        self.need("EXPLAIN")?;
        let analyze = self.eat("ANALYZE");
        let verbose = self.eat("VERBOSE") || self.eat("COSTS");
        if !verbose {
            let _ = self.eat("LOGICAL");
        }
        let statement = match self.peek_word(0) {
            Some(word) if word.eq_ignore_ascii_case("INSERT") => self.insert()?,
            Some(_) if self.is_modification() => self.modification()?,
            Some(word) if !["SELECT", "WITH", "VALUES"].iter().any(|w| w.eq_ignore_ascii_case(word)) => {
                return self.expected("a query, INSERT, UPDATE or DELETE to explain");
            }
            None if self.peek() != &Token::LParen => {
                return self.expected("a query, INSERT, UPDATE or DELETE to explain");
            }
            _ => self.query_statement()?,
        };
        Ok(Statement::Explain { analyze, verbose, statement: Box::new(statement) })
    }

    // Tokens.

    fn peek(&self) -> &Token {
        &self.tokens.peek_token_ref().token
    }

    fn is_end(&self) -> bool {
        self.peek() == &Token::EOF
    }

    /// Where the next token stands.
    fn at(&self) -> Position {
        self.location().into()
    }

    fn location(&self) -> Location {
        let TokenWithSpan { token, span } = self.tokens.peek_token_ref();
        if token == &Token::EOF { self.end } else { span.start }
    }

    /// The `n`th token from here, if it is a word without quotes.
    fn peek_word(&self, n: usize) -> Option<&str> {
        match &self.tokens.peek_nth_token_ref(n).token {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    fn is_word(&self, n: usize, word: &str) -> bool {
        self.peek_word(n).is_some_and(|w| w.eq_ignore_ascii_case(word))
    }

    /// Takes a word, if it stands next.
    fn eat(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        if found {
            self.tokens.next_token();
        }
        found
    }

    /// Takes one of several words, if it stands next.
    fn eat_one<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().copied().find(|word| self.eat(word))
    }

    /// Takes a row of words, if all of them stand next.
    fn eat_all(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(n, word)| self.is_word(n, word));
        if found {
            for _ in words {
                self.tokens.next_token();
            }
        }
        found
    }

    fn need(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { self.expected(word) }
    }

    fn eat_token(&mut self, token: &Token) -> bool {
        self.tokens.consume_token(token)
    }

    fn need_token(&mut self, token: &Token) -> Result<()> {
        if self.eat_token(token) { Ok(()) } else { self.expected(&token.to_string()) }
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match self.peek() {
            Token::EOF => "end of input".to_owned(),
            token => token.to_string(),
        };
        Err(ParseError::new(self.at(), format!("expected {what}, found {found}")))
    }

    /// Runs a parser of `sqlparser`.
    fn with<T>(&mut self, parse: impl FnOnce(&mut Parser<'a>) -> std::result::Result<T, ParserError>) -> Result<T> {
        let end = self.end;
        parse(&mut self.tokens).map_err(|e| ParseError::from_parser(e, end.into()))
    }

    // What many statements share.

    fn if_not_exists(&mut self) -> bool {
        self.eat_all(&["IF", "NOT", "EXISTS"])
    }

    fn if_exists(&mut self) -> bool {
        self.eat_all(&["IF", "EXISTS"])
    }

    fn ident(&mut self, what: &str) -> Result<Ident> {
        let at = self.at();
        let Token::Word(word) = self.peek() else { return self.expected(what) };
        let name = word.value.clone();
        if name.is_empty() {
            return Err(ParseError::new(at, "a name cannot be empty"));
        }
        self.tokens.next_token();
        Ok(Ident { name, at })
    }

    /// `[[catalog.]database.]name`
    fn object_name(&mut self, what: &str) -> Result<ObjectName> {
        let mut parts = vec![self.ident(what)?];
        while self.eat_token(&Token::Period) {
            parts.push(self.ident(what)?);
        }
        match parts.get(3) {
            Some(part) => Err(ParseError::new(part.at, "a name has three parts at most: catalog.database.name")),
            None => Ok(ObjectName { parts }),
        }
    }

    /// `item, item, ..`
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(item, item, ..)`
    fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.need_token(&Token::LParen)?;
        let items = self.list(item)?;
        self.need_token(&Token::RParen)?;
        Ok(items)
    }

    /// `(a, b, ..)`
    fn column_list(&mut self) -> Result<Vec<Ident>> {
        self.parenthesized(|p| p.ident("a column's name"))
    }

    /// A string in quotes.
    fn string(&mut self, what: &str) -> Result<String> {
        let Token::SingleQuotedString(text) = self.peek() else { return self.expected(what) };
        let text = text.clone();
        self.tokens.next_token();
        Ok(text)
    }

    /// `COMMENT '..'`, if it stands next.
    fn comment(&mut self) -> Result<Option<String>> {
        if !self.eat("COMMENT") {
            return Ok(None);
        }
        let _ = self.eat_token(&Token::Eq);
        self.string("a comment in quotes").map(Some)
    }

    /// A whole number, at least 1.
    fn count(&mut self, what: &str) -> Result<u32> {
        let Token::Number(text, _) = self.peek() else { return self.expected(what) };
        match text.parse() {
            Ok(n) if n > 0 => {
                self.tokens.next_token();
                Ok(n)
            }
            _ => self.expected(what),
        }
    }

    /// A string, a number, `true` or `false`.
    fn literal(&mut self, what: &str) -> Result<Literal> {
        let at = self.at();
        let negative =
            matches!(self.peek(), Token::Minus) && matches!(self.tokens.peek_nth_token_ref(1).token, Token::Number(..));
        if negative || (self.peek() == &Token::Plus) {
            self.tokens.next_token();
        }
        let text = match self.peek() {
            Token::Number(text, _) if negative => format!("-{text}"),
            Token::Number(text, _) | Token::SingleQuotedString(text) => text.clone(),
            Token::Word(word) if matches!(word.keyword, Keyword::TRUE | Keyword::FALSE) => word.value.to_lowercase(),
            _ => return self.expected(what),
        };
        self.tokens.next_token();
        Ok(Literal { text, at })
    }

    /// `("name" = "value", ..)`
    fn property_list(&mut self) -> Result<Vec<Property>> {
        let mut properties: Vec<Property> = Vec::new();
        self.need_token(&Token::LParen)?;
        if self.eat_token(&Token::RParen) {
            return Ok(properties);
        }
        for property in self.list(Self::property)? {
            if properties.iter().any(|p| p.name.eq_ignore_ascii_case(&property.name)) {
                return Err(ParseError::new(property.at, format!("property \"{}\" is given twice", property.name)));
            }
            properties.push(property);
        }
        self.need_token(&Token::RParen)?;
        Ok(properties)
    }

    fn property(&mut self) -> Result<Property> {
        let at = self.at();
        let name = match self.peek() {
            Token::Word(_) => self.ident("a property's name")?.name,
            _ => self.string("a property's name in quotes")?,
        };
        self.need_token(&Token::Eq)?;
        let value = match self.peek() {
            Token::Word(_) => self.ident("a property's value")?.name,
            _ => self.literal("a property's value in quotes")?.text,
        };
        Ok(Property { name, value, at })
    }

    /// `PROPERTIES (..)`, if it stands next.
    fn properties(&mut self) -> Result<Vec<Property>> {
        if self.eat("PROPERTIES") { self.property_list() } else { Ok(Vec::new()) }
    }

    fn data_type(&mut self) -> Result<DataType> {
        self.with(|p| parse_type(p))
    }

    // Text.

    /// The text from a token to the one before the next.
    fn text_since(&self, start: Location) -> &'a str {
        let last = (0..self.tokens.index())
            .rev()
            .map(|i| self.tokens.token_at(i))
            .find(|t| !matches!(t.token, Token::Whitespace(_)));
        let start = offset(self.sql, start);
        let end = last.map_or(start, |t| offset(self.sql, t.span.end).max(start));
        &self.sql[start..end]
    }
}

/// The byte at a place that the tokenizer told.
fn offset(sql: &str, place: Location) -> usize {
    let (mut line, mut column) = (1, 1);
    for (at, c) in sql.char_indices() {
        if (line, column) >= (place.line, place.column) {
            return at;
        }
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    sql.len()
}
