//! Numbers, times and foreign text, as the page writes them.

/// Text as HTML, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Three significant digits, thousands and millions by their letter: `17.3 M`, `0.25`, `983`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let (scaled, letter) = match value.abs() {
        size if size >= 999.5e6 => (value / 1e9, " G"),
        size if size >= 999.5e3 => (value / 1e6, " M"),
        size if size >= 9_999.5 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 || size == 0.0 => 2,
        // As many as it takes for three digits, up to a billionth.
        size => (2.0 - size.log10().floor()).clamp(0.0, 9.0) as usize,
    };
    let digits = format!("{scaled:.decimals$}");
    let short = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{short}{letter}")
}

/// A number with its unit; a letter for thousands goes to the unit: `17.3 Mmsg/s` reads badly, so it stays apart.
pub(super) fn quantity(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "MB/s" if value >= 1_000.0 => (value / 1e3, "GB/s"),
        "us" => (value, "µs"),
        "us/1000 msg" => (value, "µs / 1000 msg"),
        unit => (value, unit),
    };
    format!("{} {}", number(value), escape(unit))
        .trim_end()
        .to_owned()
}

/// A time in milliseconds, in the unit that suits it.
pub(super) fn time_ms(ms: f64) -> String {
    match ms {
        ms if ms >= 1_000.0 => format!("{} s", number(ms / 1e3)),
        ms if ms >= 1.0 => format!("{} ms", number(ms)),
        ms if ms >= 0.001 => format!("{} µs", number(ms * 1e3)),
        ms => format!("{} ns", number(ms * 1e6)),
    }
}

/// `2026-11-21 08:30 UTC`, of milliseconds since 1970 (days to a date after H. Hinnant's civil_from_days).
pub(super) fn utc(wall_ms: i64) -> String {
    let minutes = wall_ms.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1_440), minutes.rem_euclid(1_440));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (17_312_345.0, "17.3 M"),
            (999_600.0, "1 M"),
            (12_345.0, "12.3 k"),
            (9_876.0, "9876"),
            (46.04, "46"),
            (0.2514, "0.251"),
            (0.000_123_4, "0.000123"),
            (0.0, "0"),
            (100.0, "100"),
            (3.0e9, "3 G"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn quantities_are_in_units_that_people_say() {
        assert_eq!(quantity(3_012.0, "MB/s"), "3.01 GB/s");
        assert_eq!(quantity(950.0, "MB/s"), "950 MB/s");
        assert_eq!(quantity(46.0, "us/1000 msg"), "46 µs / 1000 msg");
        assert_eq!(quantity(2.0, ""), "2");
        assert_eq!(time_ms(0.0835), "83.5 µs");
        assert_eq!(time_ms(1_200.0), "1.2 s");
        assert_eq!(time_ms(0.000_25), "250 ns");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (wall_ms, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (1_795_249_800_000, "2026-11-21 08:30 UTC"),
            (-60_000, "1969-12-31 23:59 UTC"),
        ] {
            assert_eq!(utc(wall_ms), text);
        }
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            escape("<a href='x'>\"&\"</a>"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&quot;&lt;/a&gt;"
        );
    }
}
