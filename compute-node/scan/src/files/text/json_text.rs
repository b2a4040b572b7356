//! JSON text as one record per line: takes apart a top-level array and joins records that go over several lines. Pure.

/// Where in the text a byte is; fed with all bytes in order.
#[derive(Debug, Default)]
pub(super) struct JsonText {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether anything but white space came.
    begun: bool,
    array: bool,
    /// The string at depth 1 that ended last, a key if a colon follows.
    string: Vec<u8>,
    keys: Vec<String>,
    /// Whether a line ended inside a record.
    multi_line: bool,
}

impl JsonText {
    /// Whether the file cannot be split at line ends.
    pub fn is_whole(&self) -> bool {
        self.array || self.multi_line
    }

    /// Keys of the records, in the order of their first appearance.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Appends `text` to `out`, one record per line.
    pub fn feed(&mut self, text: &[u8], out: &mut Vec<u8>) {
        out.reserve(text.len() + text.len() / 64);
        for &byte in text {
            if self.in_string {
                self.string_byte(byte);
                out.push(byte);
                continue;
            }
            match byte {
                b'[' if !self.begun => {
                    self.begun = true;
                    self.array = true;
                }
                b'{' | b'[' => {
                    self.begun = true;
                    self.depth += 1;
                    out.push(byte);
                }
                b'}' | b']' if self.depth == 0 => {}
                b'}' | b']' => {
                    self.depth -= 1;
                    out.push(byte);
                    if self.depth == 0 {
                        out.push(b'\n');
                    }
                }
                b',' if self.depth == 0 && self.array => {}
                b'\n' | b'\r' => {
                    self.multi_line |= self.depth > 0;
                    out.push(b' ');
                }
                b'"' => {
                    self.begun = true;
                    self.in_string = true;
                    self.string.clear();
                    out.push(byte);
                }
                b':' => {
                    self.key();
                    out.push(byte);
                }
                _ => {
                    self.begun |= !byte.is_ascii_whitespace();
                    out.push(byte);
                }
            }
        }
    }

    fn string_byte(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                return;
            }
            _ => {}
        }
        if self.depth == 1 {
            self.string.push(byte);
        }
    }

    fn key(&mut self) {
        if self.depth == 1
            && let Ok(key) = std::str::from_utf8(&self.string)
            && !self.keys.iter().any(|known| known == key)
        {
            self.keys.push(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, chunk: usize) -> (Vec<String>, JsonText) {
        let mut json = JsonText::default();
        let mut out = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            json.feed(part, &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        (text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(), json)
    }

    #[test]
    fn arrays_and_long_records_become_lines() {
        let record = r#"{"a": "x,]}\"", "b": [1, {"c": 2}]}"#;
        for chunk in [1, 7, 1000] {
            let (found, json) = lines(&format!(" [ {record} ,\n{record}\n]"), chunk);
            assert_eq!(found, [record, record]);
            assert!(json.array && json.is_whole());
            assert_eq!(json.keys(), ["a", "b"]);
        }
        let (found, json) = lines("{\"a\":\n1}\n{\"b\": 2}\n", 5);
        assert_eq!(found, ["{\"a\": 1}", "{\"b\": 2}"]);
        assert!(!json.array && json.is_whole());
        let (found, json) = lines("{\"a\":1}\n{\"a\":2}\n", 5);
        assert_eq!(found.len(), 2);
        assert!(!json.is_whole());
    }
}
