//! `PARTITION BY` and the partitions of a table.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::error::ParseError;
use crate::name::{Ident, Literal, Position};
use crate::table::{Bound, IntervalUnit, ListPartition, PartitionBy, PartitionDefs, PartitionExpr, RangePartition};

/// Functions nested deeper than this are refused.
const MAX_DEPTH: u32 = 8;

/// `PARTITION [IF NOT EXISTS] name VALUES`, of either kind.
struct Head {
    name: Ident,
    if_not_exists: bool,
}

impl StatementParser<'_> {
    /// What follows `PARTITION BY`.
    pub(super) fn partition_by(&mut self, at: Position) -> Result<PartitionBy> {
        let is_call = self.tokens.peek_nth_token_ref(1).token == Token::LParen;
        if is_call && self.eat("RANGE") {
            let columns = self.column_list()?;
            return Ok(PartitionBy::Range { columns, partitions: self.partitions(Self::range_partition)?, at });
        }
        if is_call && self.eat("LIST") {
            let columns = self.column_list()?;
            return Ok(PartitionBy::List { columns, partitions: self.partitions(Self::list_partition)?, at });
        }
        let exprs = if self.peek() == &Token::LParen {
            self.parenthesized(Self::partition_expr)?
        } else {
            self.list(Self::partition_expr)?
        };
        Ok(PartitionBy::Expressions(exprs))
    }

    /// `PARTITION[S] (p, ..)`
    pub(super) fn partition_names(&mut self) -> Result<Vec<Ident>> {
        if self.eat_one(&["PARTITION", "PARTITIONS"]).is_none() {
            return self.expected("PARTITION and names of partitions");
        }
        self.parenthesized(|p| p.ident("a partition's name"))
    }

    /// `(partition, ..)`, which may be empty or missing.
    fn partitions<T>(&mut self, partition: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if !self.eat_token(&Token::LParen) || self.eat_token(&Token::RParen) {
            return Ok(Vec::new());
        }
        let partitions = self.list(partition)?;
        self.need_token(&Token::RParen)?;
        Ok(partitions)
    }

    /// `PARTITION ..` of either kind, or `START .. END .. EVERY ..`: what `ALTER TABLE .. ADD` takes.
    ///
    /// `if_not_exists` is what stood before `PARTITION`; behind it it may stand as well.
    pub(super) fn added_partition(&mut self, if_not_exists: bool) -> Result<PartitionDefs> {
        let mut head = self.partition_head()?;
        head.if_not_exists |= if_not_exists;
        if self.is_word(0, "IN") {
            return Ok(PartitionDefs::List(vec![self.list_values(head)?]));
        }
        Ok(PartitionDefs::Range(vec![self.range_values(head)?]))
    }

    fn range_partition(&mut self) -> Result<RangePartition> {
        if self.is_word(0, "START") {
            return self.every();
        }
        if !self.is_word(0, "PARTITION") {
            return self.expected("PARTITION or START");
        }
        let head = self.partition_head()?;
        self.range_values(head)
    }

    fn list_partition(&mut self) -> Result<ListPartition> {
        let head = self.partition_head()?;
        self.list_values(head)
    }

    fn partition_head(&mut self) -> Result<Head> {
        self.need("PARTITION")?;
        let if_not_exists = self.if_not_exists();
        let name = self.ident("a partition's name")?;
        self.need("VALUES")?;
        Ok(Head { name, if_not_exists })
    }

    fn range_values(&mut self, head: Head) -> Result<RangePartition> {
        let Head { name, if_not_exists } = head;
        if self.eat("LESS") {
            self.need("THAN")?;
            let upper = if self.eat("MAXVALUE") { vec![Bound::MaxValue] } else { self.parenthesized(Self::bound)? };
            let properties = self.partition_properties()?;
            return Ok(RangePartition::LessThan { name, if_not_exists, upper, properties });
        }
        if !self.eat_token(&Token::LBracket) {
            return self.expected("LESS THAN, IN or [");
        }
        let lower = self.parenthesized(Self::bound)?;
        self.need_token(&Token::Comma)?;
        let upper = self.parenthesized(Self::bound)?;
        if !self.eat_token(&Token::RParen) {
            return self.expected(") that leaves the upper bound out");
        }
        let properties = self.partition_properties()?;
        Ok(RangePartition::Between { name, if_not_exists, lower, upper, properties })
    }

    fn bound(&mut self) -> Result<Bound> {
        if self.eat("MAXVALUE") {
            return Ok(Bound::MaxValue);
        }
        Ok(Bound::Value(self.literal("a bound: a constant or MAXVALUE")?))
    }

    fn list_values(&mut self, head: Head) -> Result<ListPartition> {
        let Head { name, if_not_exists } = head;
        self.need("IN")?;
        let values = self.parenthesized(|p| {
            if p.peek() == &Token::LParen { p.parenthesized(Self::list_value) } else { Ok(vec![p.list_value()?]) }
        })?;
        Ok(ListPartition { name, if_not_exists, values, properties: self.partition_properties()? })
    }

    fn list_value(&mut self) -> Result<Option<Literal>> {
        if self.eat("NULL") { Ok(None) } else { self.literal("a constant or NULL").map(Some) }
    }

    fn partition_properties(&mut self) -> Result<Vec<crate::table::Property>> {
        if self.peek() == &Token::LParen { self.property_list() } else { Ok(Vec::new()) }
    }

    /// `START ("a") END ("b") EVERY (INTERVAL 1 DAY)`
    pub(super) fn every(&mut self) -> Result<RangePartition> {
        self.need("START")?;
        let start = self.one_literal("the first partition's lower bound")?;
        self.need("END")?;
        let end = self.one_literal("the last partition's upper bound")?;
        self.need("EVERY")?;
        self.need_token(&Token::LParen)?;
        let (step, unit) = if self.eat("INTERVAL") {
            let (step, unit) = self.interval()?;
            (step, Some(unit))
        } else {
            (self.count("INTERVAL or a whole number, at least 1")?, None)
        };
        self.need_token(&Token::RParen)?;
        Ok(RangePartition::Every { start, end, step, unit })
    }

    fn one_literal(&mut self, what: &str) -> Result<Literal> {
        self.need_token(&Token::LParen)?;
        let literal = self.literal(what)?;
        self.need_token(&Token::RParen)?;
        Ok(literal)
    }

    /// What follows `INTERVAL`.
    fn interval(&mut self) -> Result<(u32, IntervalUnit)> {
        let at = self.at();
        let count = match self.peek() {
            Token::SingleQuotedString(_) => {
                let text = self.string("a whole number")?;
                match text.trim().parse() {
                    Ok(n) if n > 0 => n,
                    _ => {
                        return Err(ParseError::new(
                            at,
                            format!("expected a whole number, at least 1, found '{text}'"),
                        ));
                    }
                }
            }
            _ => self.count("a whole number, at least 1")?,
        };
        let Some(unit) = self.peek_word(0).and_then(IntervalUnit::from_name) else {
            return self.expected("a unit (SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER or YEAR)");
        };
        self.tokens.next_token();
        Ok((count, unit))
    }

    /// A column or a function.
    fn partition_expr(&mut self) -> Result<PartitionExpr> {
        if !matches!(self.peek(), Token::Word(_)) {
            return self.expected("a column or a function");
        }
        self.partition_operand(MAX_DEPTH)
    }

    fn partition_operand(&mut self, depth: u32) -> Result<PartitionExpr> {
        let at = self.at();
        let is_interval = self.is_word(0, "INTERVAL")
            && matches!(self.tokens.peek_nth_token_ref(1).token, Token::Number(..) | Token::SingleQuotedString(_));
        if is_interval {
            self.need("INTERVAL")?;
            let (count, unit) = self.interval()?;
            return Ok(PartitionExpr::Interval { count, unit, at });
        }
        if !matches!(self.peek(), Token::Word(_)) {
            return Ok(PartitionExpr::Literal(self.literal("a column, a constant or a function")?));
        }
        let name = self.ident("a column or a function")?;
        if !self.eat_token(&Token::LParen) {
            return Ok(PartitionExpr::Column(name));
        }
        if depth == 0 {
            return Err(ParseError::new(at, format!("functions can be nested {MAX_DEPTH} deep at most")));
        }
        if self.eat_token(&Token::RParen) {
            return Ok(PartitionExpr::Function { name, args: Vec::new() });
        }
        let args = self.list(|p| p.partition_operand(depth - 1))?;
        self.need_token(&Token::RParen)?;
        Ok(PartitionExpr::Function { name, args })
    }
}
