//! The SQL dialect: text to statements and back.
