//! Conditions and updates, as far as a lease store writes them: pure.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::item::Item;
use super::refusal::Refusal;

type Parsed<T> = Result<T, Refusal>;

/// What stands behind the placeholders, and which were used.
pub(super) struct Placeholders<'a> {
    names: Option<&'a Item>,
    values: Option<&'a Item>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Placeholders<'a> {
    pub(super) fn of(input: &'a Value) -> Parsed<Self> {
        let map = |name: &str| match input.get(name).and_then(Value::as_object) {
            Some(map) if map.is_empty() => Err(Refusal::validation(format!("{name} must not be empty"))),
            map => Ok(map),
        };
        let names = map("ExpressionAttributeNames")?;
        let values = map("ExpressionAttributeValues")?;
        Ok(Self { names, values, used: RefCell::default() })
    }

    /// The service refuses what is declared and not used.
    pub(super) fn all_used(&self) -> Parsed<()> {
        let used = self.used.borrow();
        for (what, map) in
            [("ExpressionAttributeNames", self.names), ("ExpressionAttributeValues", self.values)]
        {
            let unused = map.into_iter().flat_map(Item::keys).find(|name| !used.contains(*name));
            if let Some(unused) = unused {
                let text = format!("Value provided in {what} unused in expressions: keys: {{{unused}}}");
                return Err(Refusal::validation(text));
            }
        }
        Ok(())
    }

    fn name(&self, token: &str) -> Parsed<String> {
        if !token.starts_with('#') {
            return Ok(token.to_owned());
        }
        self.used.borrow_mut().insert(token.to_owned());
        let name = self.names.and_then(|names| names.get(token)).and_then(Value::as_str);
        name.map(ToOwned::to_owned).ok_or_else(|| {
            let text = format!("An expression attribute name used in the document path is not defined; attribute name: {token}");
            Refusal::validation(text)
        })
    }

    fn value(&self, token: &str) -> Parsed<Value> {
        self.used.borrow_mut().insert(token.to_owned());
        self.values.and_then(|values| values.get(token)).cloned().ok_or_else(|| {
            let text = format!(
                "An expression attribute value used in expression is not defined; attribute value: {token}"
            );
            Refusal::validation(text)
        })
    }
}

/// Whether the condition holds for the item; none stands for no item.
pub(super) fn holds(condition: &str, item: Option<&Item>, placeholders: &Placeholders<'_>) -> Parsed<bool> {
    let tokens = tokens(condition);
    let mut rest = tokens.as_slice();
    let mut all = true;
    loop {
        let (one, after) = comparison(rest, item, placeholders)?;
        all &= one;
        match after {
            [] => return Ok(all),
            ["AND", after @ ..] => rest = after,
            _ => return Err(unknown(condition)),
        }
    }
}

fn comparison<'t, 'a>(
    tokens: &'t [&'a str],
    item: Option<&Item>,
    placeholders: &Placeholders<'_>,
) -> Parsed<(bool, &'t [&'a str])> {
    let found = |name: &str| item.and_then(|item| item.get(name));
    match tokens {
        ["attribute_exists", "(", name, ")", rest @ ..] => {
            Ok((found(&placeholders.name(name)?).is_some(), rest))
        }
        ["attribute_not_exists", "(", name, ")", rest @ ..] => {
            Ok((found(&placeholders.name(name)?).is_none(), rest))
        }
        [name, "=", value, rest @ ..] if value.starts_with(':') => {
            let name = placeholders.name(name)?;
            let value = placeholders.value(value)?;
            Ok((found(&name).is_some_and(|found| equal(found, &value)), rest))
        }
        _ => Err(unknown(&tokens.join(" "))),
    }
}

/// The item after the update.
pub(super) fn updated(update: &str, before: &Item, placeholders: &Placeholders<'_>) -> Parsed<Item> {
    let tokens = tokens(update);
    let mut after = before.clone();
    let mut paths = BTreeSet::new();
    let mut rest = tokens.as_slice();
    while let [verb @ ("SET" | "ADD" | "REMOVE"), tail @ ..] = rest {
        rest = tail;
        loop {
            let (path, tail) = match *verb {
                "SET" => set(rest, before, &mut after, placeholders)?,
                "ADD" => add(rest, before, &mut after, placeholders)?,
                _ => remove(rest, &mut after, placeholders)?,
            };
            if !paths.insert(path) {
                let text = "Invalid UpdateExpression: Two document paths overlap with each other";
                return Err(Refusal::validation(text));
            }
            rest = tail;
            let [",", tail @ ..] = rest else { break };
            rest = tail;
        }
    }
    if rest.is_empty() && !paths.is_empty() { Ok(after) } else { Err(unknown(update)) }
}

fn set<'t, 'a>(
    tokens: &'t [&'a str],
    before: &Item,
    after: &mut Item,
    placeholders: &Placeholders<'_>,
) -> Parsed<(String, &'t [&'a str])> {
    let (name, value, rest) = match tokens {
        [name, "=", "if_not_exists", "(", other, ",", value, ")", rest @ ..] => {
            let (name, other) = (placeholders.name(name)?, placeholders.name(other)?);
            let value = placeholders.value(value)?;
            (name, before.get(&other).cloned().unwrap_or(value), rest)
        }
        [name, "=", value, rest @ ..] if value.starts_with(':') => {
            (placeholders.name(name)?, placeholders.value(value)?, rest)
        }
        _ => return Err(unknown(&tokens.join(" "))),
    };
    after.insert(name.clone(), value);
    Ok((name, rest))
}

fn add<'t, 'a>(
    tokens: &'t [&'a str],
    before: &Item,
    after: &mut Item,
    placeholders: &Placeholders<'_>,
) -> Parsed<(String, &'t [&'a str])> {
    let [name, value, rest @ ..] = tokens else { return Err(unknown(&tokens.join(" "))) };
    let (name, value) = (placeholders.name(name)?, placeholders.value(value)?);
    let number = |value: &Value| value.get("N")?.as_str()?.parse::<i128>().ok();
    let wrong = || Refusal::validation("An operand in the update expression has an incorrect data type");
    let sum = match before.get(&name) {
        Some(old) => number(old).zip(number(&value)).map(|(old, more)| old + more).ok_or_else(wrong)?,
        None => number(&value).ok_or_else(wrong)?,
    };
    after.insert(name.clone(), serde_json::json!({ "N": sum.to_string() }));
    Ok((name, rest))
}

fn remove<'t, 'a>(
    tokens: &'t [&'a str],
    after: &mut Item,
    placeholders: &Placeholders<'_>,
) -> Parsed<(String, &'t [&'a str])> {
    let [name, rest @ ..] = tokens else { return Err(unknown("REMOVE")) };
    let name = placeholders.name(name)?;
    after.remove(&name);
    Ok((name, rest))
}

/// Numbers are equal by value, everything else by form.
fn equal(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| value.get("N")?.as_str()?.parse::<i128>().ok();
    one == other || number(one).is_some_and(|one| number(other) == Some(one))
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let end = rest.find(['(', ')', ',', '=']).map_or(rest.len(), |at| at.max(1));
            let (token, after) = rest.split_at(end);
            tokens.push(token);
            rest = after;
        }
    }
    tokens
}

fn unknown(expression: &str) -> Refusal {
    Refusal::validation(format!("the double of DynamoDB does not know the expression {expression:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(value: &Value) -> Item {
        value.as_object().unwrap().clone()
    }

    fn input() -> Value {
        json!({
            "ExpressionAttributeNames": { "#a": "counter", "#b": "owner" },
            "ExpressionAttributeValues": { ":v0": { "N": "4" }, ":v1": { "N": "5" }, ":v2": { "S": "ann" } },
        })
    }

    #[test]
    fn conditions_are_joined_by_and() {
        let input = input();
        let placeholders = Placeholders::of(&input).unwrap();
        let row = item(&json!({ "counter": { "N": "4" } }));
        let cases = [
            ("#a = :v0", true),
            ("#a = :v1", false),
            ("#a = :v0 AND attribute_not_exists(#b)", true),
            ("#a = :v0 AND attribute_exists(#b)", false),
            ("attribute_exists(#b) AND #a = :v0", false),
        ];
        for (condition, expected) in cases {
            assert_eq!(holds(condition, Some(&row), &placeholders), Ok(expected), "{condition}");
        }
        assert_eq!(holds("attribute_not_exists(#a)", None, &placeholders), Ok(true));
        assert_eq!(holds("#a = :v0", None, &placeholders), Ok(false));
    }

    #[test]
    fn what_is_not_known_is_refused_not_guessed() {
        let input = input();
        let placeholders = Placeholders::of(&input).unwrap();
        for condition in ["#a < :v0", "#a = :v0 OR #a = :v1", "NOT #a = :v0", "", "#c = :v0", "#a = :v9"] {
            assert!(holds(condition, None, &placeholders).is_err(), "{condition}");
        }
        for update in ["DELETE #a :v0", "SET #a = #a + :v0", "SET #a", "", "SET #a = :v0, #a = :v1"] {
            assert!(updated(update, &Item::new(), &placeholders).is_err(), "{update}");
        }
    }

    #[test]
    fn every_clause_of_an_update_takes_effect() {
        let input = input();
        let placeholders = Placeholders::of(&input).unwrap();
        let row = item(&json!({ "counter": { "N": "4" }, "x": { "S": "gone" }, "pin": { "N": "1" } }));
        let after =
            updated("SET #b = :v2, pin = if_not_exists(pin, :v1) ADD #a :v1 REMOVE x", &row, &placeholders);
        let expected = json!({ "counter": { "N": "9" }, "owner": { "S": "ann" }, "pin": { "N": "1" } });
        assert_eq!(after.unwrap(), item(&expected));
        assert!(placeholders.all_used().is_err(), ":v0 is declared and not used");
    }
}
