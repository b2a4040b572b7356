//! `CREATE`, `ALTER`, `DROP`, `SHOW` and `DESC STORAGE VOLUME`, `SET .. AS DEFAULT STORAGE VOLUME`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::error::ParseError;
use crate::statement::Statement;
use crate::volume::{AlterStorageVolume, CreateStorageVolume};

const NAME: &str = "a storage volume's name";

impl StatementParser<'_> {
    /// Whether `STORAGE VOLUME` stands next; if so, it is taken.
    pub(super) fn eat_storage_volume(&mut self) -> bool {
        self.eat_all(&["STORAGE", "VOLUME"])
    }

    /// What follows `CREATE STORAGE VOLUME`.
    pub(super) fn create_storage_volume(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.ident(NAME)?;
        self.need("TYPE")?;
        self.need_token(&Token::Eq)?;
        let kind = self.ident("a type: S3 or LOCAL")?;
        self.need("LOCATIONS")?;
        self.need_token(&Token::Eq)?;
        let locations = self.parenthesized(|parser| {
            let at = parser.at();
            Ok((parser.string("a location in quotes, such as 's3://bucket/prefix'")?, at))
        })?;
        let (mut comment, mut properties) = (None, Vec::new());
        loop {
            let at = self.at();
            if self.is_word(0, "COMMENT") && comment.is_none() {
                comment = self.comment()?;
            } else if self.is_word(0, "PROPERTIES") && properties.is_empty() {
                properties = self.properties()?;
            } else if self.is_word(0, "COMMENT") || self.is_word(0, "PROPERTIES") {
                return Err(ParseError::new(at, "COMMENT and PROPERTIES are given once"));
            } else {
                break;
            }
        }
        let create = CreateStorageVolume { if_not_exists, name, kind, locations, comment, properties };
        Ok(Statement::CreateStorageVolume(create))
    }

    /// What follows `ALTER STORAGE VOLUME`.
    pub(super) fn alter_storage_volume(&mut self) -> Result<Statement> {
        let if_exists = self.if_exists();
        let name = self.ident(NAME)?;
        let (mut comment, mut properties) = (None, Vec::new());
        if self.is_word(0, "COMMENT") {
            comment = self.comment()?;
        } else if self.eat("SET") {
            properties = self.property_list()?;
        } else {
            return self.expected("COMMENT or SET");
        }
        Ok(Statement::AlterStorageVolume(AlterStorageVolume { if_exists, name, comment, properties }))
    }

    /// What follows `DROP STORAGE VOLUME`.
    pub(super) fn drop_storage_volume(&mut self) -> Result<Statement> {
        Ok(Statement::DropStorageVolume { if_exists: self.if_exists(), name: self.ident(NAME)? })
    }

    /// What follows `DESC STORAGE VOLUME`.
    pub(super) fn describe_storage_volume(&mut self) -> Result<Statement> {
        Ok(Statement::DescribeStorageVolume { name: self.ident(NAME)? })
    }

    /// `name AS DEFAULT STORAGE VOLUME`, which follows `SET`, if that stands next.
    pub(super) fn default_storage_volume(&mut self) -> Result<Option<Statement>> {
        let words = ["AS", "DEFAULT", "STORAGE", "VOLUME"];
        if !words.iter().zip(1..).all(|(word, n)| self.is_word(n, word)) {
            return Ok(None);
        }
        let name = self.ident(NAME)?;
        words.iter().for_each(|word| {
            let _ = self.eat(word);
        });
        Ok(Some(Statement::SetDefaultStorageVolume { name }))
    }
}
