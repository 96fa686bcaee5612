//! What Grafana asks of a dashboard: the parts of its JSON that are used here, as
//! <https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/> describes them. For tests.

use serde_json::Value;
use std::collections::BTreeSet;

/// Units that panels here use, of those that Grafana knows.
const UNITS: [&str; 6] = ["bytes", "ops", "none", "s", "Bps", "percentunit"];
/// The width of a dashboard.
const COLUMNS: u64 = 24;

/// Words of a query that begin as our metrics do.
fn metrics(query: &str) -> Vec<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("outcore_")).collect()
}

/// Variables that a text uses, without Grafana's own.
fn variables(text: &str) -> Vec<&str> {
    let after = text.split('$').skip(1);
    let names = after.map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        &rest[..rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())]
    });
    names.filter(|name| !name.starts_with("__")).collect()
}

/// Everything that is wrong with a dashboard, whose metrics are those of `exposition`.
pub(crate) fn lint(dashboard: &Value, exposition: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut ask = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    ask(dashboard["title"].is_string() && dashboard["uid"].is_string(), "it has no title or uid".into());
    ask(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 30), "its schema is old".into());
    let time = &dashboard["time"];
    ask(time["from"].is_string() && time["to"].is_string(), "it shows no time".into());
    let list = dashboard["templating"]["list"].as_array().cloned().unwrap_or_default();
    let known: BTreeSet<&str> = list.iter().filter_map(|variable| variable["name"].as_str()).collect();
    for used in variables(&dashboard.to_string()) {
        ask(known.contains(used), format!("${used} is no variable"));
    }
    let kinds: BTreeSet<(&str, &str)> =
        exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let kind_of = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is = |(known, _): &&(&str, &str)| *known == name || base == Some(known);
        kinds.iter().find(is).map(|(_, kind)| *kind)
    };
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    ask(!panels.is_empty(), "it has no panels".into());
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in &panels {
        let title = panel["title"].as_str().unwrap_or_default();
        ask(!title.is_empty(), format!("{} has no title", panel["id"]));
        ask(panel["id"].as_u64().is_some_and(|id| ids.insert(id)), format!("{title}: its id is not its own"));
        ask(panel["type"] == "timeseries", format!("{title} is of type {}", panel["type"]));
        ask(panel["datasource"]["uid"] == "${datasource}", format!("{title} has a source of its own"));
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        ask(UNITS.contains(&unit), format!("{title} is in {unit}"));
        let place = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or(0));
        let [x, y, width, height] = place;
        ask(width > 0 && height > 0 && x + width <= COLUMNS, format!("{title} is at {place:?}"));
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            ask(cells.insert(cell), format!("{title} covers another at {cell:?}"));
        }
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        ask(!targets.is_empty(), format!("{title} asks for nothing"));
        let mut letters = BTreeSet::new();
        for target in &targets {
            let (letter, query) = (target["refId"].as_str(), target["expr"].as_str().unwrap_or_default());
            let its_own = letter.is_some_and(|letter| letters.insert(letter.to_owned()));
            ask(its_own, format!("{title}: {query} has no letter of its own"));
            ask(!metrics(query).is_empty(), format!("{title} asks for {query}"));
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                let even = query.matches(open).count() == query.matches(close).count();
                ask(even, format!("{title}: {query} has not as many {open} as {close}"));
            }
            for name in metrics(query) {
                match kind_of(name) {
                    None => ask(false, format!("{title}: {name} is no metric")),
                    Some("gauge") => ask(!query.contains("rate("), format!("{title}: a rate of {name}")),
                    Some("histogram") => {
                        let whole = query.contains("histogram_quantile(") && name.ends_with("_bucket");
                        ask(whole && query.contains("le"), format!("{title}: {name} is a histogram"));
                    }
                    Some(_) => ask(query.contains("rate("), format!("{title}: {name} only ever grows")),
                }
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::exposition;
    use super::*;
    use crate::top::tests::busy;
    use serde_json::json;

    fn dashboard() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/grafana.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn the_dashboard_is_whole_and_asks_for_what_there_is() {
        let dashboard = dashboard();
        assert_eq!(lint(&dashboard, &exposition(&[busy().1])), Vec::<String>::new());
        assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
    }

    #[test]
    fn what_is_wrong_is_found() {
        let text = exposition(&[busy().1]);
        for (place, value) in [
            ("/title", json!(null)),
            ("/schemaVersion", json!(3)),
            ("/templating/list/1/name", json!("process")),
            ("/panels/1/id", json!(1)),
            ("/panels/1/type", json!("graph3d")),
            ("/panels/1/gridPos/x", json!(6)),
            ("/panels/1/gridPos/w", json!(30)),
            ("/panels/1/fieldConfig/defaults/unit", json!("bits of string")),
            ("/panels/1/datasource/uid", json!("mine")),
            ("/panels/1/targets", json!([])),
            ("/panels/0/targets/1/refId", json!("A")),
            ("/panels/0/targets/0/expr", json!("outcore_heap_sizes")),
            ("/panels/0/targets/0/expr", json!("up")),
            ("/panels/0/targets/0/expr", json!("rate(outcore_heap_bytes[1m])")),
            ("/panels/0/targets/0/expr", json!("outcore_major_faults_total")),
            ("/panels/0/targets/0/expr", json!("rate(outcore_major_faults_total[1m]")),
            ("/panels/0/targets/0/expr", json!("outcore_stall_seconds")),
        ] {
            let mut bad = dashboard();
            *bad.pointer_mut(place).unwrap_or_else(|| panic!("there is no {place}")) = value;
            assert!(!lint(&bad, &text).is_empty(), "{place} is not looked at");
        }
    }
}
