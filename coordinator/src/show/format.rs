//! Sizes and times as people read them. Pure.

use std::time::Duration;

use tarn_catalog::Value;

/// `17B`, `1.500KB`, `2.000GB`, as StarRocks writes sizes.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.3}{}", UNITS[unit])
}

/// `2024-02-29 12:00:00`, in UTC.
pub fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or_default();
    Value::DateTime(seconds.saturating_mul(1_000_000)).to_string().trim_matches('"').to_owned()
}

/// `0.3s` ago.
pub fn ago(time: Option<Duration>) -> Option<String> {
    time.map(|time| format!("{:.1}s", time.as_secs_f64()))
}

/// A share of 1 as `12.5 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(2 << 30)], ["0B", "1023B", "1.500KB", "2.000GB"]);
        assert_eq!(bytes(u64::MAX), "16384.000PB");
        assert_eq!(time(1_709_208_000_123), "2024-02-29 12:00:00");
        assert_eq!(ago(Some(Duration::from_millis(340))).as_deref(), Some("0.3s"));
        assert_eq!(percent(0.125), "12.5 %");
    }
}
