//! The name that a misspelt one was likely meant to be.

/// A misspelt name is at most this many letters from the one meant.
const NEAR: usize = 2;

/// The nearest of the known names: the same but for case and separators, a slip of a few letters, or one that begins
/// with what was written.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = plain(name);
    if name.len() < 2 {
        return None;
    }
    // Of a short name two letters are most of it.
    let near = if name.len() < 5 { 1 } else { NEAR };
    let known: Vec<(&str, String)> = known.into_iter().map(|known| (known, plain(known))).collect();
    let by_distance = known
        .iter()
        .map(|(known, plain)| (distance(&name, plain), *known))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance);
    let begins = |plain: &str| name.len() > 2 && (plain.starts_with(&name) || name.starts_with(plain));
    let by_beginning =
        || known.iter().find(|(_, plain)| plain.len() > 2 && begins(plain)).map(|(known, _)| *known);
    by_distance.map(|(_, known)| known).or_else(by_beginning)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Letters to insert, delete or replace, or neighbours to swap, to get from one to the other (optimal string
/// alignment).
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len().abs_diff(to.len()) > NEAR {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let known = ["address", "listener", "max_body", "max_head", "pin", "pool", "weight", "url"];
        for (name, right) in [
            ("adress", Some("address")),
            ("addr", Some("address")),
            ("adrress", Some("address")),
            ("listeners", Some("listener")),
            ("max-body", Some("max_body")),
            ("maxBody", Some("max_body")),
            ("MAX_BODY", Some("max_body")),
            ("wieght", Some("weight")),
            ("pools", Some("pool")),
            ("pol", Some("pool")),
            ("uri", Some("url")),
            ("backend", None),
            ("x", None),
            ("", None),
            ("heath", None),
        ] {
            assert_eq!(nearest(name, known), right, "{name}");
        }
        for (from, to, right) in
            [("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("kitten", "sittin", 2)]
        {
            assert_eq!(distance(from, to), right, "{from} {to}");
        }
    }
}
