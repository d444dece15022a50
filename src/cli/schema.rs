//! `asepsis schema`: the JSON Schema of the configuration, for editors and pipelines.

use super::Failure;
use crate::config::Config;
use std::io::Write;

/// Arguments: none.
#[derive(clap::Args)]
pub struct Args {}

/// Prints the schema.
///
/// # Errors
/// Nobody reads the output.
pub fn run(_: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&schema()).map_err(|error| Failure::Other(error.to_string()))?;
    Ok(writeln!(out, "{text}")?)
}

/// The schema: keys, types, defaults, and what each key means.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Follows `$ref` to the definition it names.
    fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        let target = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        target.map_or(schema, |pointer| root.pointer(pointer).unwrap())
    }

    fn check(root: &Value, schema: &Value, path: &str) {
        let schema = resolve(root, schema);
        let Some(keys) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path} takes unknown keys");
        for (key, inner) in keys {
            let path = format!("{path}.{key}");
            let meaning = inner["description"].as_str().or(resolve(root, inner)["description"].as_str());
            assert!(meaning.is_some(), "{path} is not described");
            check(root, inner, &path);
        }
    }

    #[test]
    fn no_table_takes_unknown_keys_and_every_key_is_described() {
        let schema = serde_json::to_value(schema()).unwrap();
        check(&schema, &schema, "");
        assert!(schema["properties"]["limits"].is_object());
        assert!(schema["properties"].get("places").is_none());
    }

    /// Every key that is no table, as `[table] key`; `NAME` stands for what a user calls a part.
    fn keys(root: &Value, schema: &Value, path: &[&str], found: &mut BTreeSet<String>) {
        let either =
            schema["anyOf"].as_array().and_then(|any| any.iter().find(|one| one["$ref"].is_string()));
        let schema = resolve(root, either.unwrap_or(schema));
        let named = &schema["additionalProperties"];
        if let Some(inner) = schema["properties"].as_object() {
            for (key, inner) in inner {
                keys(root, inner, &[path, &[key]].concat(), found);
            }
        } else if named["$ref"].is_string() {
            keys(root, named, &[path, &["NAME"]].concat(), found);
        } else if let Some((key, table)) = path.split_last() {
            // Detectors have tables by the names in EVIDENCE, and those of models any key of `[policy]`.
            let table =
                if table.first() == Some(&"detection") { "detection.NAME".into() } else { table.join(".") };
            if table != "models.policy.NAME" {
                found.insert(format!("[{table}] {key}"));
            }
        }
    }

    #[test]
    fn every_key_stands_in_the_manual_under_its_table_and_no_other_does() {
        let schema = serde_json::to_value(schema()).unwrap();
        let (mut keys_of, mut told, mut table) = (BTreeSet::new(), BTreeSet::new(), None);
        keys(&schema, &schema, &[], &mut keys_of);
        for line in include_str!("../../docs/OPERATIONS.md").lines() {
            if let Some(begun) = line.strip_prefix("| **`[") {
                table = begun.split_once(']').map(|(name, _)| name);
            } else if let Some((name, row)) = table.zip(line.strip_prefix("| `")) {
                let cell = row.split(" | ").next().unwrap_or_default();
                told.extend(
                    cell.split(['`', ' ', ','])
                        .filter(|key| !key.is_empty())
                        .map(|key| format!("[{name}] {key}")),
                );
            } else {
                table = None;
            }
        }
        assert!(keys_of.len() > 80, "{keys_of:?}");
        let only = |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
        assert_eq!((only(&keys_of, &told), only(&told, &keys_of)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_printed_is_json() {
        let mut out = Vec::new();
        run(&Args {}, &mut out).unwrap();
        let schema: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["title"], "Config");
    }
}
