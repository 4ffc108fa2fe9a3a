//! The tables in `docs/http.md`: what each proxy did, case by case.

use std::fmt::Write;

use crate::case::{Case, Class};
use crate::client::Ended;
use crate::judge::{seen, text_differs};
use crate::lane::Observed;

/// The tables stand between these lines.
pub(crate) const BEGIN: &str = "<!-- tables: written by the differential test -->";
/// See [`BEGIN`].
pub(crate) const END: &str = "<!-- end of the tables -->";

/// What a proxy did, in a few words.
pub(crate) fn cell(case: &Case, observed: &Observed) -> String {
    let client = &observed.client;
    let mut words = Vec::new();
    match (seen(observed), case.script.pieces.is_empty()) {
        ((0, false), _) => {}
        ((0, true), _) => words.push("passed in part".to_owned()),
        ((1, _), script_is_own) if script_is_own || case.expect.in_part => words.push("passed".to_owned()),
        ((requests, _), _) if requests > 1 => {
            words.push(format!("passed as {requests} requests"));
        }
        _ => {}
    }
    let statuses: Vec<_> = client.answers.iter().map(|answer| answer.status).collect();
    let mut statuses: Vec<_> = statuses.chunk_by(|a, b| a == b).map(times).collect();
    if client.answers.last().is_some_and(|answer| !answer.whole) {
        statuses.push("cut".into());
    }
    if statuses.is_empty() {
        statuses.push("no answer".into());
    }
    words.push(statuses.join(" "));
    words.push(
        match client.ended {
            Ended::Kept => "kept",
            // Which of the two a client sees of a close behind unread bytes is chance.
            Ended::Closed | Ended::Reset => "closed",
            Ended::Open => "waits",
            Ended::Confused => "**next answer wrong**",
        }
        .to_owned(),
    );
    if client.stray {
        words.push("stray bytes".to_owned());
    }
    if case.expect.reused == Some(false) && observed.reused {
        words.push("backend connection reused".to_owned());
    }
    let answered_like = client.answers.iter().map(|a| a.status).eq(case.expect.statuses.iter().copied());
    if let Some(differs) = text_differs(case, observed).filter(|_| answered_like) {
        words.push(differs.replace('|', "\\|"));
    }
    if !observed.healthy {
        words.push("**next request not answered**".to_owned());
    }
    words.join(", ")
}

/// Equal statuses in a row.
fn times(statuses: &[u16]) -> String {
    match statuses {
        [status] => status.to_string(),
        _ => format!("{} x {}", statuses.len(), statuses[0]),
    }
}

/// All tables, behind a few lines that count.
pub(crate) fn tables(classes: &[Class], columns: &[(String, Vec<Observed>)]) -> String {
    let cases: Vec<_> = classes.iter().flat_map(|class| &class.cases).collect();
    let mut text = format!("{BEGIN}\n\n{}\n", counts(&cases, columns));
    let mut at = 0;
    for class in classes {
        let _ = write!(text, "\n### {}\n\n| Case | Rule |", class.title);
        for (title, _) in columns {
            let _ = write!(text, " {title} |");
        }
        let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(columns.len()));
        for case in &class.cases {
            let cells: Vec<_> = columns.iter().map(|(_, observed)| cell(case, &observed[at])).collect();
            let _ = writeln!(text, "{} {} |", row(case, &cells[0]), cells[1..].join(" | "));
            at += 1;
        }
    }
    format!("{text}\n{END}\n")
}

fn counts(cases: &[&Case], columns: &[(String, Vec<Observed>)]) -> String {
    let refused = |case: &Case| {
        case.expect.requests == 0 && !case.expect.in_part && case.expect.statuses.first() >= Some(&400)
    };
    let discarded = |case: &Case| !case.script.pieces.is_empty() && case.expect.statuses == [502];
    let count = |of: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| of(case)).count();
    let mut text = format!(
        "{} cases. evenkeel refuses {} requests before a backend sees a byte of them, and discards {} answers.",
        cases.len(),
        count(&refused),
        count(&discarded)
    );
    for (title, observed) in &columns[1..] {
        let both = || cases.iter().zip(observed);
        let passed = both().filter(|(case, theirs)| refused(case) && !theirs.backend.is_empty()).count();
        let given = |theirs: &Observed| theirs.client.answers.iter().any(|answer| answer.status < 500);
        let given = both().filter(|(case, theirs)| discarded(case) && given(theirs)).count();
        let _ = write!(text, "\n{title} passes on {passed} of those requests and {given} of those answers.");
    }
    text
}

/// The beginning of a row, up to what evenkeel does.
pub(crate) fn row(case: &Case, ours: &str) -> String {
    format!("| {} | {} | {ours} |", case.name.replace('|', "\\|"), case.rule)
}
