//! The properties of `FILES(..)`, checked.

use std::fmt;

use tarn_proto::volume::S3Options;

use super::error::FilesError;

/// The format of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Text with separators.
    Csv,
    /// One JSON object per line, or one array of objects.
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "Parquet",
            Self::Csv => "CSV",
            Self::Json => "JSON",
        })
    }
}

/// The arguments of one `FILES(..)`.
#[derive(Clone, PartialEq, Eq)]
pub struct FilesOptions {
    pub(super) paths: Vec<String>,
    pub(super) format: Format,
    pub(super) s3: S3Options,
    pub(super) csv: CsvOptions,
    pub(super) sample: Sample,
    /// Whether a column that one file lacks is NULL there, or an error.
    pub(super) fill_missing: bool,
}

/// How CSV text is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CsvOptions {
    /// `None`: a tab, or a comma when the first line has commas and no tab.
    pub separator: Option<u8>,
    /// `None`: line feed, carriage return, or both.
    pub delimiter: Option<u8>,
    pub enclose: Option<u8>,
    pub escape: Option<u8>,
    pub skip_header: u32,
    /// Whether the last skipped line has the names of the columns.
    pub header: bool,
    pub trim: bool,
    /// The text that stands for NULL.
    pub null: String,
}

/// What schema inference looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// `None`: as many as the format's reader can look at cheaply.
    pub files: Option<usize>,
    pub rows: usize,
    /// Whether to guess the types of CSV columns; otherwise all are strings.
    pub types: bool,
}

/// All properties. Their names are StarRocks'; `csv.null`, `csv.header` and `aws.s3.session_token` are ours.
const PROPERTIES: [&str; 24] = [
    "path",
    "format",
    "aws.s3.region",
    "aws.s3.endpoint",
    "aws.s3.access_key",
    "aws.s3.secret_key",
    "aws.s3.session_token",
    "aws.s3.use_instance_profile",
    "aws.s3.use_aws_sdk_default_behavior",
    "aws.s3.enable_path_style_access",
    "aws.s3.enable_ssl",
    "csv.column_separator",
    "csv.row_delimiter",
    "csv.enclose",
    "csv.escape",
    "csv.skip_header",
    "csv.header",
    "csv.trim_space",
    "csv.null",
    "auto_detect_sample_files",
    "auto_detect_sample_rows",
    "auto_detect_types",
    "fill_mismatch_column_with",
    "schema_detect",
];

/// Rows that inference reads of each sampled text file, by default.
const SAMPLE_ROWS: usize = 500;

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            separator: None,
            delimiter: None,
            enclose: None,
            escape: None,
            skip_header: 0,
            header: false,
            trim: false,
            null: "\\N".to_owned(),
        }
    }
}

impl FilesOptions {
    /// Checks properties; names are in lower case and differ.
    ///
    /// # Errors
    /// Names the property that is unknown, missing or wrong.
    pub fn parse(properties: &[(String, String)]) -> Result<Self, FilesError> {
        let mut paths = None;
        let mut format = None;
        let mut s3 = S3Options::default();
        let mut csv = CsvOptions::default();
        let mut sample = Sample { files: None, rows: SAMPLE_ROWS, types: true };
        let mut fill_missing = true;
        for (name, value) in properties {
            if let Some(set) = s3.set(name, value) {
                set.map_err(|reason| wrong(name, reason))?;
                continue;
            }
            match name.as_str() {
                "path" => paths = Some(split_paths(value)),
                "format" => format = Some(parse_format(value)?),
                "csv.column_separator" => csv.separator = Some(byte(name, value)?),
                "csv.row_delimiter" => csv.delimiter = row_delimiter(name, value)?,
                "csv.enclose" => csv.enclose = optional_byte(name, value)?,
                "csv.escape" => csv.escape = optional_byte(name, value)?,
                "csv.skip_header" => csv.skip_header = number(name, value)?,
                "csv.header" => csv.header = boolean(name, value)?,
                "csv.trim_space" => csv.trim = boolean(name, value)?,
                "csv.null" => csv.null = value.clone(),
                "auto_detect_sample_files" => sample.files = Some(number::<usize>(name, value)?.max(1)),
                "auto_detect_sample_rows" => sample.rows = number::<usize>(name, value)?.max(1),
                "auto_detect_types" => sample.types = boolean(name, value)?,
                "schema_detect" => {
                    boolean(name, value)?;
                }
                "fill_mismatch_column_with" => {
                    fill_missing = match value.to_ascii_lowercase().as_str() {
                        "null" => true,
                        "none" => false,
                        _ => return Err(wrong(name, format!("\"{value}\" is neither \"null\" nor \"none\""))),
                    };
                }
                _ => return Err(FilesError::UnknownProperty { name: name.clone(), nearest: nearest(name) }),
            }
        }
        let paths = paths.filter(|paths| !paths.is_empty()).ok_or(FilesError::MissingProperty {
            name: "path",
            remedy: "for example \"path\" = \"s3://bucket/folder/*.parquet\"",
        })?;
        let format =
            format.ok_or(FilesError::MissingProperty { name: "format", remedy: "\"parquet\", \"csv\" or \"json\"" })?;
        s3.check().map_err(|(name, reason)| wrong(name, reason))?;
        csv.check()?;
        Ok(Self { paths, format, s3, csv, sample, fill_missing })
    }

    /// The format of the files.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The paths, as written.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }
}

impl fmt::Debug for FilesOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials are in `s3`.
        f.debug_struct("FilesOptions").field("paths", &self.paths).field("format", &self.format).finish_non_exhaustive()
    }
}

impl CsvOptions {
    fn check(&mut self) -> Result<(), FilesError> {
        if self.escape.is_some() && self.enclose.is_none() {
            let reason = "works inside enclosed values only: set \"csv.enclose\" too, for example to '\"'";
            return Err(wrong("csv.escape", reason.to_owned()));
        }
        if self.separator.is_some() && self.separator == self.delimiter {
            return Err(wrong("csv.row_delimiter", "is the column separator too: choose another".to_owned()));
        }
        if self.header {
            self.skip_header = self.skip_header.max(1);
        }
        Ok(())
    }
}

fn wrong(name: &str, reason: String) -> FilesError {
    FilesError::Property { name: name.to_owned(), reason }
}

fn parse_format(value: &str) -> Result<Format, FilesError> {
    match value.to_ascii_lowercase().as_str() {
        "parquet" => Ok(Format::Parquet),
        "csv" => Ok(Format::Csv),
        "json" | "ndjson" => Ok(Format::Json),
        other => {
            Err(wrong("format", format!("\"{other}\" cannot be read; supported are \"parquet\", \"csv\" and \"json\"")))
        }
    }
}

/// Splits at commas that are not inside `{..}`.
fn split_paths(value: &str) -> Vec<String> {
    let mut depth = 0usize;
    let parts = value.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn boolean(name: &str, value: &str) -> Result<bool, FilesError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(name, format!("\"{value}\" is neither \"true\" nor \"false\""))),
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, FilesError> {
    value.trim().parse().map_err(|_| wrong(name, format!("\"{value}\" is not a number from 0 upwards")))
}

/// Undoes the escapes in which separators are written: `\t`, `\\t`, `\x01`, `0x01`.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let text = value.strip_prefix("\\\\").map_or_else(|| value.to_owned(), |rest| format!("\\{rest}"));
    let hex = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x"));
    match (text.as_str(), hex) {
        ("\\t", _) => Some(vec![b'\t']),
        ("\\n", _) => Some(vec![b'\n']),
        ("\\r", _) => Some(vec![b'\r']),
        ("\\r\\n", _) => Some(b"\r\n".to_vec()),
        ("\\0", _) => Some(vec![0]),
        ("\\", _) => Some(vec![b'\\']),
        (_, Some(hex)) if hex.len() == 2 => Some(vec![u8::from_str_radix(hex, 16).ok()?]),
        (other, _) => Some(other.as_bytes().to_vec()),
    }
}

fn byte(name: &str, value: &str) -> Result<u8, FilesError> {
    match unescape(value).as_deref() {
        Some(&[byte]) if byte.is_ascii() => Ok(byte),
        _ => Err(wrong(name, format!("\"{value}\" is not one ASCII character, such as \",\", \"\\t\" or \"\\x01\""))),
    }
}

fn optional_byte(name: &str, value: &str) -> Result<Option<u8>, FilesError> {
    if value.is_empty() || value.eq_ignore_ascii_case("none") { Ok(None) } else { byte(name, value).map(Some) }
}

fn row_delimiter(name: &str, value: &str) -> Result<Option<u8>, FilesError> {
    match unescape(value).as_deref() {
        Some(b"\n" | b"\r\n") => Ok(None),
        _ => byte(name, value).map(Some),
    }
}

/// The property whose name takes the fewest edits.
fn nearest(name: &str) -> &'static str {
    PROPERTIES.into_iter().min_by_key(|known| distance(name, known)).unwrap_or(PROPERTIES[0])
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(properties: &[(&str, &str)]) -> Result<FilesOptions, FilesError> {
        let owned: Vec<_> = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FilesOptions::parse(&owned)
    }

    fn message(properties: &[(&str, &str)]) -> String {
        parse(properties).unwrap_err().to_string()
    }

    #[test]
    fn commas_separate_paths_outside_braces() {
        let options = parse(&[("path", "/a/{x,y}.csv, /b/*.csv"), ("format", "CSV")]).unwrap();
        assert_eq!(options.paths, ["/a/{x,y}.csv", "/b/*.csv"]);
        assert_eq!(options.format, Format::Csv);
    }

    #[test]
    fn an_unknown_property_names_the_nearest() {
        assert_eq!(
            message(&[("path", "/a"), ("format", "csv"), ("csv.skip_headers", "1")]),
            "unknown property \"csv.skip_headers\" of FILES; did you mean \"csv.skip_header\"?"
        );
        assert!(message(&[("aws.s3.acces_key", "k")]).contains("\"aws.s3.access_key\"?"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_the_remedy() {
        assert!(message(&[("format", "csv")]).contains("\"path\""));
        assert!(message(&[("path", "/a")]).contains("\"parquet\", \"csv\" or \"json\""));
        let orc = message(&[("path", "/a"), ("format", "orc")]);
        assert_eq!(
            orc,
            "property \"format\" of FILES: \"orc\" cannot be read; supported are \"parquet\", \"csv\" and \"json\""
        );
        assert!(message(&[("path", "/a"), ("format", "csv"), ("csv.column_separator", "||")]).contains("one ASCII"));
        assert!(message(&[("path", "/a"), ("format", "csv"), ("csv.escape", "\\")]).contains("csv.enclose"));
        assert!(message(&[("path", "s3://b/a"), ("format", "csv"), ("aws.s3.access_key", "k")]).contains("secret_key"));
        assert!(message(&[("path", "/a"), ("format", "csv"), ("csv.skip_header", "-1")]).contains("\"-1\""));
    }

    #[test]
    fn separators_are_written_as_characters_or_escapes() {
        for (text, byte) in [(",", b','), ("\t", b'\t'), ("\\t", b'\t'), ("\\\\t", b'\t'), ("\\x01", 1), ("0x01", 1)] {
            let options = parse(&[("path", "/a"), ("format", "csv"), ("csv.column_separator", text)]).unwrap();
            assert_eq!(options.csv.separator, Some(byte), "{text}");
        }
    }

    #[test]
    fn debug_output_has_no_credentials() {
        let options =
            [("path", "s3://b/a"), ("format", "csv"), ("aws.s3.access_key", "AK"), ("aws.s3.secret_key", "SK")];
        let text = format!("{:?}", parse(&options).unwrap());
        assert!(!text.contains("SK") && !text.contains("AK"), "{text}");
    }
}
