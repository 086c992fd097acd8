use super::*;

fn listed(world: &mut World) -> Vec<(String, String)> {
    let answer = world.ok("ListTagsForStream", json!({"StreamName": "orders"}));
    pairs(&answer)
}

fn pairs(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["Tags"].as_array().unwrap().iter().map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn tags_are_added_replaced_and_removed() {
    let mut world = World::with_stream(1);
    let tags = |tags: Value| json!({"StreamName": "orders", "Tags": tags});
    assert_eq!(world.ok("AddTagsToStream", tags(json!({"team": "a", "ü0 _./=+-@": ""}))), Value::Null);
    world.ok("AddTagsToStream", tags(json!({"team": "b"})));
    assert_eq!(listed(&mut world), [pair("team", "b"), pair("ü0 _./=+-@", "")]);
    let removed =
        world.ok("RemoveTagsFromStream", json!({"StreamName": "orders", "TagKeys": ["team", "never"]}));
    assert_eq!(removed, Value::Null);
    assert_eq!(listed(&mut world), [pair("ü0 _./=+-@", "")]);
}

#[test]
fn lists_go_by_key_and_by_page() {
    let mut world = World::with_stream(1);
    world.ok(
        "AddTagsToStream",
        json!({"StreamName": "orders", "Tags": {"b": "2", "a": "1", "Z": "0", "c": "3"}}),
    );
    let page = |world: &mut World, after: &str, limit: u32| {
        let body = json!({"StreamName": "orders", "ExclusiveStartTagKey": after, "Limit": limit});
        let answer = world.ok("ListTagsForStream", body);
        let keys: Vec<String> = pairs(&answer).into_iter().map(|(key, _)| key).collect();
        (keys.join(""), answer["HasMoreTags"].as_bool().unwrap())
    };
    assert_eq!(page(&mut world, "A", 2), ("Za".to_owned(), true));
    assert_eq!(page(&mut world, "a", 2), ("bc".to_owned(), false));
    assert_eq!(page(&mut world, "aa", 1), ("b".to_owned(), true), "the start key need not exist");
    assert_eq!(page(&mut world, "z", 50), (String::new(), false));
    let text = world.text("ListTagsForStream", json!({"StreamName": "orders", "Limit": 51}));
    assert!(text.contains("Value '51' at 'limit'"), "{text}");
}

#[test]
fn characters_are_refused_in_two_steps() {
    let mut world = World::with_stream(1);
    let invalid = "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / \
                   = + - % @.";
    for text in ["a;b", "a\tb", "a\nb", "a,b"] {
        let by_key = json!({"StreamName": "orders", "Tags": {text: "v"}});
        assert_eq!(world.text("AddTagsToStream", by_key), invalid);
        let by_value = json!({"StreamName": "orders", "Tags": {"k": text}});
        assert_eq!(world.text("AddTagsToStream", by_value), invalid);
        let removed = json!({"StreamName": "orders", "TagKeys": [text]});
        assert_eq!(world.text("RemoveTagsFromStream", removed), invalid);
    }
    let text = world.text("AddTagsToStream", json!({"StreamName": "orders", "Tags": {"100%": "v"}}));
    assert!(
        text.starts_with("Failed to add tags to stream orders under account 000000000000 because"),
        "{text}"
    );
    let text = world.text("RemoveTagsFromStream", json!({"StreamName": "orders", "TagKeys": ["100%"]}));
    assert!(text.starts_with("Failed to remove tags from stream orders under account"), "{text}");
    assert_eq!(listed(&mut world), []);
}

#[test]
fn fifty_are_the_most_and_known_keys_do_not_count_twice() {
    let mut world = World::with_stream(1);
    let tags = |range: std::ops::Range<u32>| {
        let tags: serde_json::Map<_, _> = range.map(|key| (key.to_string(), json!("v"))).collect();
        json!({"StreamName": "orders", "Tags": tags})
    };
    world.ok("AddTagsToStream", tags(0..50));
    world.ok("AddTagsToStream", tags(10..50));
    let (code, text) = world.refused("AddTagsToStream", tags(49..51));
    assert_eq!(code, "InvalidArgumentException");
    assert!(
        text.ends_with("because a given stream cannot have more than 10 tags associated with it."),
        "{text}"
    );
    assert_eq!(listed(&mut world).len(), 50);
}

#[test]
fn shapes_are_checked() {
    let mut world = World::with_stream(1);
    let long = "k".repeat(129);
    let cases = [
        (
            "AddTagsToStream",
            json!({"StreamName": "orders", "Tags": {}}),
            "Value '{}' at 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1"
                .to_owned(),
        ),
        (
            "RemoveTagsFromStream",
            json!({"StreamName": "orders", "TagKeys": []}),
            "Value '[]' at 'tagKeys' failed to satisfy constraint: Member must have length greater than or equal to 1"
                .to_owned(),
        ),
        (
            "RemoveTagsFromStream",
            json!({"StreamName": "orders", "TagKeys": ["a", long]}),
            format!(
                "Value '[a, {long}]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member \
                 must have length less than or equal to 128, Member must have length greater than or equal to 1]"
            ),
        ),
    ];
    for (operation, body, expected) in cases {
        assert_eq!(world.text(operation, body), format!("1 validation error detected: {expected}"));
    }
    let many: Vec<String> = (0..51).map(|key| key.to_string()).collect();
    let text = world.text("RemoveTagsFromStream", json!({"StreamName": "orders", "TagKeys": many}));
    assert!(text.ends_with("Member must have length less than or equal to 50"), "{text}");
    let many: serde_json::Map<_, _> = (0..201).map(|key| (key.to_string(), json!(""))).collect();
    let text = world.text("AddTagsToStream", json!({"StreamName": "orders", "Tags": many}));
    assert!(text.ends_with("Member must have length less than or equal to 200"), "{text}");
}

#[test]
fn both_families_see_the_same_tags_of_a_stream() {
    let mut world = World::with_stream(1);
    world.ok("TagResource", json!({"ResourceARN": ARN, "Tags": {"a": "1", "b": "2"}}));
    world.ok("AddTagsToStream", json!({"StreamName": "orders", "Tags": {"c": "3"}}));
    world.ok("UntagResource", json!({"ResourceARN": ARN, "TagKeys": ["a", "x"]}));
    let answer = world.ok("ListTagsForResource", json!({"ResourceARN": ARN}));
    assert_eq!(pairs(&answer), [pair("b", "2"), pair("c", "3")]);
    assert_eq!(listed(&mut world), pairs(&answer));
}

#[test]
fn consumers_have_tags_of_their_own() {
    let mut world = World::with_stream(1);
    let body = json!({"StreamARN": ARN, "ConsumerName": "app", "Tags": {"a": "1"}});
    let arn = world.ok("RegisterStreamConsumer", body)["Consumer"]["ConsumerARN"].clone();
    world.ok("TagResource", json!({"ResourceARN": arn, "Tags": {"b": "2"}}));
    world.ok("UntagResource", json!({"ResourceARN": arn, "TagKeys": ["a"]}));
    assert_eq!(pairs(&world.ok("ListTagsForResource", json!({"ResourceARN": arn}))), [pair("b", "2")]);
    assert_eq!(listed(&mut world), []);
}

#[test]
fn tags_given_at_creation_are_seen_at_once_and_changed_later() {
    let mut world = World::new(Limits::Off, ServiceLimits::default());
    world.ok("CreateStream", json!({"StreamName": "orders", "ShardCount": 1, "Tags": {"a": "1"}}));
    assert_eq!(listed(&mut world), [pair("a", "1")]);
    let add = json!({"ResourceARN": ARN, "Tags": {"b": "2"}});
    assert_eq!(world.code("TagResource", add.clone()), "ResourceInUseException");
    world.wait(DELAY);
    world.ok("TagResource", add);
    assert_eq!(listed(&mut world).len(), 2);
}
