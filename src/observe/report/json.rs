//! Fields of lines as JSON.

use log::kv::{Error, Key, Value, VisitSource};
use serde_json::Map;

/// The fields of a line, as an object of JSON.
#[derive(Debug, Default)]
pub struct JsonFields(pub Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for JsonFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let json = value
            .to_u64()
            .map(serde_json::Value::from)
            .or_else(|| value.to_i64().map(serde_json::Value::from))
            .or_else(|| value.to_f64().map(serde_json::Value::from))
            .or_else(|| value.to_bool().map(serde_json::Value::from))
            .unwrap_or_else(|| value.to_string().into());
        self.0.insert(key.to_string(), json);
        Ok(())
    }
}
