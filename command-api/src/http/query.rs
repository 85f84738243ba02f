use std::ops::RangeInclusive;

use super::Invalid;

/// The number that a query gives a parameter; `None` if it gives none. In decimal digits, written as they are: `%31` and
/// `+1` are no numbers.
pub(crate) fn number(
    query: Option<&str>,
    name: &str,
    within: RangeInclusive<u64>,
    detail: &str,
) -> Result<Option<u64>, Invalid> {
    let mut values = query.unwrap_or_default().split('&').filter_map(|pair| {
        let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
        (known == name).then_some(value)
    });
    let Some(digits) = values.next() else { return Ok(None) };
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()));
    match (number.filter(|number| within.contains(number)), values.next()) {
        (Some(number), None) => Ok(Some(number)),
        _ => Err(Invalid { field: name.to_owned(), detail: detail.to_owned() }),
    }
}
