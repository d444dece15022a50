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

    #[test]
    fn what_is_printed_is_json() {
        let mut out = Vec::new();
        run(&Args {}, &mut out).unwrap();
        let schema: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["title"], "Config");
    }
}
