//! Tables of items by one text key, and one function per operation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::TableUsage;
use super::expression::{Placeholders, holds, updated};
use super::item::{Item, read_units, size, write_units};
use super::refusal::Refusal;
use crate::rule::{hash, mix};

type Outcome = Result<Value, Refusal>;

/// All tables of the account.
#[derive(Debug)]
pub(super) struct Tables {
    seed: u64,
    reads: u64,
    by_name: BTreeMap<String, Table>,
    pub(super) read_lag: u64,
    pub(super) creation_time: u64,
    pub(super) page_bytes: usize,
}

#[derive(Debug)]
struct Table {
    definition: Value,
    active_at: u64,
    key: String,
    rows: BTreeMap<String, Row>,
}

/// An item, and what it was before its latest write.
#[derive(Debug)]
struct Row {
    item: Option<Item>,
    before: Option<Item>,
    written_at: u64,
}

impl Table {
    fn item(&self, key: &str) -> Option<&Item> {
        self.rows.get(key).and_then(|row| row.item.as_ref())
    }

    fn write(&mut self, now: u64, key: String, item: Option<Item>) {
        let before = self.rows.get_mut(&key).and_then(|row| row.item.take());
        self.rows.insert(key, Row { item, before, written_at: now });
    }
}

impl Tables {
    pub(super) fn new(seed: u64) -> Self {
        let by_name = BTreeMap::new();
        Self { seed, reads: 0, by_name, read_lag: 0, creation_time: 0, page_bytes: 1_000_000 }
    }

    pub(super) fn call(
        &mut self,
        now: u64,
        operation: &str,
        input: &Value,
        usage: &mut TableUsage,
    ) -> Outcome {
        match operation {
            "CreateTable" => self.create_table(now, input),
            "DescribeTable" => self.describe_table(now, input),
            "ListTagsOfResource" => self.list_tags(input),
            "UpdateContinuousBackups" => self.update_continuous_backups(now, input),
            "PutItem" => self.put_item(now, input, usage),
            "GetItem" => self.get_item(now, input, usage),
            "UpdateItem" => self.update_item(now, input, usage),
            "DeleteItem" => self.delete_item(now, input, usage),
            "Scan" => self.scan(now, input, usage),
            _ => {
                let text = format!("the double of DynamoDB does not know the operation {operation:?}");
                Err(Refusal::new("UnknownOperationException", text))
            }
        }
    }

    pub(super) fn items(&self, table: &str) -> Vec<Value> {
        let rows = self.by_name.get(table).map(|table| table.rows.values()).into_iter().flatten();
        rows.filter_map(|row| row.item.clone()).map(Value::Object).collect()
    }

    pub(super) fn item(&self, table: &str, key: &str) -> Option<&Item> {
        self.by_name.get(table)?.item(key)
    }

    pub(super) fn put_outside(&mut self, now: u64, table: &str, item: Value) -> bool {
        let Some(table) = self.by_name.get_mut(table) else { return false };
        let Value::Object(item) = item else { return false };
        let Some(key) = key_text(&item, &table.key) else { return false };
        table.write(now, key, Some(item));
        true
    }

    pub(super) fn remove_outside(&mut self, table: &str, key: &str) -> bool {
        self.by_name
            .get_mut(table)
            .and_then(|table| table.rows.remove(key))
            .is_some_and(|row| row.item.is_some())
    }

    fn create_table(&mut self, now: u64, input: &Value) -> Outcome {
        let name = text(input, "TableName")?.to_owned();
        if self.by_name.contains_key(&name) {
            let message = format!("Table already exists: {name}");
            return Err(Refusal::new("ResourceInUseException", message));
        }
        let key = input.pointer("/KeySchema/0/AttributeName").and_then(Value::as_str).unwrap_or_default();
        let key = key.to_owned();
        let active_at = now + self.creation_time;
        let definition = input.clone();
        self.by_name.insert(name, Table { definition, active_at, key, rows: BTreeMap::new() });
        let description = self.describe_table(now, input)?;
        Ok(json!({ "TableDescription": description.get("Table") }))
    }

    fn describe_table(&mut self, now: u64, input: &Value) -> Outcome {
        let name = text(input, "TableName")?;
        let table = self.by_name.get(name).ok_or_else(Refusal::not_found)?;
        let status = if now < table.active_at { "CREATING" } else { "ACTIVE" };
        let count = table.rows.values().filter(|row| row.item.is_some()).count();
        let part = |name: &str| table.definition.get(name).cloned().unwrap_or(Value::Null);
        Ok(json!({ "Table": {
            "TableName": name,
            "TableStatus": status,
            "TableArn": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{name}"),
            "KeySchema": part("KeySchema"),
            "AttributeDefinitions": part("AttributeDefinitions"),
            "DeletionProtectionEnabled": part("DeletionProtectionEnabled"),
            "BillingModeSummary": { "BillingMode": part("BillingMode") },
            "ProvisionedThroughput": part("ProvisionedThroughput"),
            "GlobalSecondaryIndexes": part("GlobalSecondaryIndexes"),
            "ItemCount": count,
        }}))
    }

    fn list_tags(&self, input: &Value) -> Outcome {
        let name = text(input, "ResourceArn")?.rsplit('/').next().unwrap_or_default();
        let table = self.by_name.get(name).ok_or_else(Refusal::not_found)?;
        Ok(json!({ "Tags": table.definition.get("Tags") }))
    }

    fn update_continuous_backups(&mut self, now: u64, input: &Value) -> Outcome {
        self.active(now, input)?;
        Ok(json!({ "ContinuousBackupsDescription": { "ContinuousBackupsStatus": "ENABLED" } }))
    }

    fn put_item(&mut self, now: u64, input: &Value, usage: &mut TableUsage) -> Outcome {
        let item = input.get("Item").and_then(Value::as_object).cloned().unwrap_or_default();
        checked(&item)?;
        let table = self.active(now, input)?;
        let key = key_text(&item, &table.key).ok_or_else(missing_key)?;
        let before = table.item(&key).cloned();
        usage.write_units += write_units([Some(&item), before.as_ref()]);
        let placeholders = Placeholders::of(input)?;
        meets_condition(input, before.as_ref(), &placeholders)?;
        placeholders.all_used()?;
        table.write(now, key, Some(item));
        Ok(returned(input, before, None))
    }

    fn update_item(&mut self, now: u64, input: &Value, usage: &mut TableUsage) -> Outcome {
        let table = self.active(now, input)?;
        let key = given_key(input, &table.key)?;
        let before = table.item(&key).cloned();
        let placeholders = Placeholders::of(input)?;
        let mut base = before.clone().unwrap_or_default();
        base.entry(table.key.clone()).or_insert_with(|| json!({ "S": key.clone() }));
        let met = meets_condition(input, before.as_ref(), &placeholders);
        let after = match input.get("UpdateExpression").and_then(Value::as_str) {
            Some(update) => updated(update, &base, &placeholders)?,
            None => base,
        };
        usage.write_units += write_units([before.as_ref(), met.is_ok().then_some(&after)]);
        met?;
        placeholders.all_used()?;
        checked(&after)?;
        table.write(now, key, Some(after.clone()));
        Ok(returned(input, before, Some(after)))
    }

    fn delete_item(&mut self, now: u64, input: &Value, usage: &mut TableUsage) -> Outcome {
        let table = self.active(now, input)?;
        let key = given_key(input, &table.key)?;
        let before = table.item(&key).cloned();
        usage.write_units += write_units([before.as_ref()]);
        let placeholders = Placeholders::of(input)?;
        meets_condition(input, before.as_ref(), &placeholders)?;
        placeholders.all_used()?;
        if before.is_some() {
            table.write(now, key, None);
        }
        Ok(returned(input, before, None))
    }

    fn get_item(&mut self, now: u64, input: &Value, usage: &mut TableUsage) -> Outcome {
        let consistent = input.get("ConsistentRead").and_then(Value::as_bool).unwrap_or(false);
        let lag = if consistent { 0 } else { self.read_lag };
        let read = self.next_read();
        let table = self.active(now, input)?;
        let key = given_key(input, &table.key)?;
        let item = table.rows.get(&key).and_then(|row| row.seen(now, lag, read, &key));
        usage.read_units += read_units(item.map_or(0, size), consistent);
        Ok(item.map_or_else(|| json!({}), |item| json!({ "Item": item })))
    }

    fn scan(&mut self, now: u64, input: &Value, usage: &mut TableUsage) -> Outcome {
        let consistent = input.get("ConsistentRead").and_then(Value::as_bool).unwrap_or(false);
        let (lag, page_bytes) = (if consistent { 0 } else { self.read_lag }, self.page_bytes);
        let read = self.next_read();
        let number = |name: &str| input.get(name).and_then(Value::as_u64);
        let (segment, segments) =
            (number("Segment").unwrap_or(0), number("TotalSegments").unwrap_or(1).max(1));
        let table = self.active(now, input)?;
        let start = match input.get("ExclusiveStartKey").and_then(Value::as_object) {
            Some(start) => Some(key_text(start, &table.key).ok_or_else(missing_key)?),
            None => None,
        };
        // The service's order is that of a hash of the key, which is also what segments are made of.
        let mut order: Vec<(u64, &String)> = table.rows.keys().map(|key| (mix(hash(key)), key)).collect();
        order.retain(|(place, _)| place % segments == segment);
        order.sort_unstable();
        let after = start.map(|key| (mix(hash(&key)), key));
        let rest = order.into_iter().filter(|(place, key)| {
            after.as_ref().is_none_or(|(last, name)| (*place, key.as_str()) > (*last, name.as_str()))
        });
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
        for (_, key) in rest {
            if bytes >= page_bytes {
                last = items.last().and_then(|item: &Item| item.get(&table.key)).cloned();
                break;
            }
            if let Some(item) = table.rows.get(key).and_then(|row| row.seen(now, lag, read, key)) {
                bytes += size(item);
                items.push(item.clone());
            }
        }
        usage.read_units += read_units(bytes, consistent);
        let mut answer = json!({ "Count": items.len(), "ScannedCount": items.len(), "Items": items });
        if let (Some(key), Some(answer)) = (last, answer.as_object_mut()) {
            answer.insert("LastEvaluatedKey".to_owned(), json!({ table.key.clone(): key }));
        }
        Ok(answer)
    }

    fn active(&mut self, now: u64, input: &Value) -> Result<&mut Table, Refusal> {
        let name = text(input, "TableName")?;
        self.by_name.get_mut(name).filter(|table| now >= table.active_at).ok_or_else(Refusal::not_found)
    }

    fn next_read(&mut self) -> u64 {
        self.reads += 1;
        mix(self.seed ^ mix(self.reads))
    }
}

impl Row {
    /// The item as this read sees it: it may be late.
    fn seen(&self, now: u64, lag: u64, read: u64, key: &str) -> Option<&Item> {
        let late = now < self.written_at.saturating_add(lag) && mix(read ^ hash(key)).is_multiple_of(2);
        if late { self.before.as_ref() } else { self.item.as_ref() }
    }
}

fn text<'a>(input: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    let missing = || Refusal::validation(format!("The parameter '{name}' is required but was not present"));
    input.get(name).and_then(Value::as_str).ok_or_else(missing)
}

fn key_text(item: &Item, key: &str) -> Option<String> {
    let text = item.get(key)?.get("S")?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn given_key(input: &Value, key: &str) -> Result<String, Refusal> {
    let given = input.get("Key").and_then(Value::as_object).filter(|given| given.len() == 1);
    given
        .and_then(|given| key_text(given, key))
        .ok_or_else(|| Refusal::validation("The provided key element does not match the schema"))
}

fn missing_key() -> Refusal {
    Refusal::validation("One or more parameter values were invalid: Missing the key in the item")
}

/// What the service takes as values: no empty sets, and numbers in digits.
fn checked(item: &Item) -> Result<(), Refusal> {
    for (name, value) in item {
        let empty = ["SS", "NS", "BS"]
            .iter()
            .any(|kind| value.get(*kind).and_then(Value::as_array).is_some_and(Vec::is_empty));
        if empty {
            let text = format!("One or more parameter values were invalid: the set {name} may not be empty");
            return Err(Refusal::validation(text));
        }
        if value
            .get("N")
            .is_some_and(|number| number.as_str().is_none_or(|text| text.parse::<f64>().is_err()))
        {
            return Err(Refusal::validation("The parameter cannot be converted to a numeric value"));
        }
    }
    Ok(())
}

fn meets_condition(
    input: &Value,
    item: Option<&Item>,
    placeholders: &Placeholders<'_>,
) -> Result<(), Refusal> {
    let Some(condition) = input.get("ConditionExpression").and_then(Value::as_str) else { return Ok(()) };
    if holds(condition, item, placeholders)? {
        return Ok(());
    }
    let wanted = input.get("ReturnValuesOnConditionCheckFailure").and_then(Value::as_str) == Some("ALL_OLD");
    let refusal = Refusal::new("ConditionalCheckFailedException", "The conditional request failed");
    Err(Refusal { item: item.filter(|_| wanted).cloned(), ..refusal })
}

fn returned(input: &Value, before: Option<Item>, after: Option<Item>) -> Value {
    let item = match input.get("ReturnValues").and_then(Value::as_str) {
        Some("ALL_OLD") => before,
        Some("ALL_NEW") => after,
        _ => None,
    };
    item.map_or_else(|| json!({}), |item| json!({ "Attributes": item }))
}
