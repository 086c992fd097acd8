use aws_sdk_kinesis::types::ShardIteratorType::TrimHorizon;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType};

use super::*;

/// The point in the middle of all hash keys.
const MIDDLE: &str = "170141183460469231731687303715884105728";

#[tokio::test]
async fn a_split_closes_the_parent_and_its_children_go_on() {
    on_a_stream("split", 1, |subject| async move {
        let parent = subject.shards().await.remove(0).shard_id;
        for text in 0..5 {
            subject.put(&format!("key-{text}"), &format!("before-{text}")).await;
        }
        let split = subject.client.split_shard().stream_name(&subject.stream);
        split.shard_to_split(&parent).new_starting_hash_key(MIDDLE).send().await.expect("split");
        subject.until_active().await;
        let shards = subject.shards().await;
        let (closed, open): (Vec<_>, Vec<_>) = shards.into_iter().partition(|shard| {
            shard.sequence_number_range.as_ref().is_some_and(|range| range.ending_sequence_number.is_some())
        });
        assert_eq!((closed.len(), open.len()), (1, 2));
        assert_eq!(closed[0].shard_id, parent);
        let ended = closed[0].sequence_number_range.as_ref().and_then(|range| range.ending_sequence_number());
        for child in &open {
            assert_eq!(child.parent_shard_id(), Some(parent.as_str()));
            assert_eq!(child.adjacent_parent_shard_id(), None);
            let begins = child.sequence_number_range.as_ref().expect("a range").starting_sequence_number();
            assert!(number(begins) > number(ended.expect("closed")), "a child begins after its parent's end");
        }
        for text in 0..10 {
            let (shard_id, _) = subject.put(&format!("key-{text}"), &format!("after-{text}")).await;
            assert_ne!(shard_id, parent, "a closed shard takes nothing");
        }
        // The parent is read to its end, which names the children.
        let mut iterator =
            subject.iterator(&parent, TrimHorizon).send().await.expect("opened").shard_iterator;
        let (mut records, mut children) = (Vec::new(), Vec::new());
        while let Some(at) = iterator {
            let answer = subject.get(&at).await;
            records.extend(texts(answer.records()));
            children.extend(answer.child_shards().iter().map(|child| child.shard_id.clone()));
            iterator = answer.next_shard_iterator;
            tokio::time::sleep(Duration::from_millis(220)).await;
        }
        assert_eq!(records, (0..5).map(|text| format!("before-{text}")).collect::<Vec<_>>());
        children.sort();
        let mut expected: Vec<_> = open.iter().map(|shard| shard.shard_id.clone()).collect();
        expected.sort();
        assert_eq!(children, expected);
        let filter = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build().expect("complete");
        let latest =
            subject.client.list_shards().stream_name(&subject.stream).shard_filter(filter).send().await;
        let mut latest: Vec<_> =
            latest.expect("listed").shards().iter().map(|shard| shard.shard_id.clone()).collect();
        latest.sort();
        assert_eq!(latest, expected, "AT_LATEST are the open ones");
    })
    .await;
}

#[tokio::test]
async fn a_merge_has_two_parents() {
    on_a_stream("merge", 2, |subject| async move {
        let mut parents: Vec<String> =
            subject.shards().await.into_iter().map(|shard| shard.shard_id).collect();
        let merge = subject.client.merge_shards().stream_name(&subject.stream);
        merge.shard_to_merge(&parents[0]).adjacent_shard_to_merge(&parents[1]).send().await.expect("merged");
        subject.until_active().await;
        let shards = subject.shards().await;
        let merged = shards.iter().find(|shard| !parents.contains(&shard.shard_id)).expect("a third shard");
        let mut named =
            [merged.parent_shard_id(), merged.adjacent_parent_shard_id()].map(|id| id.map(str::to_owned));
        named.sort();
        parents.sort();
        assert_eq!(named, [Some(parents[0].clone()), Some(parents[1].clone())]);
        let range = merged.hash_key_range.as_ref().expect("a range");
        let whole = (range.starting_hash_key.as_str(), range.ending_hash_key.as_str());
        assert_eq!(whole, ("0", "340282366920938463463374607431768211455"));
        let (shard_id, _) = subject.put("k", "x").await;
        assert_eq!(shard_id, merged.shard_id);
        for parent in &parents {
            let (records, last) = subject.read_on(subject.iterator(parent, TrimHorizon)).await;
            assert!(records.is_empty() && last.next_shard_iterator.is_none(), "{parent} has ended");
            assert_eq!(last.child_shards().len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_split_or_merged_is_refused() {
    on_a_stream("unsplit", 3, |subject| async move {
        let shards = subject.shards().await;
        let split =
            subject.client.split_shard().stream_name(&subject.stream).shard_to_split(&shards[0].shard_id);
        // The first key of the shard itself.
        let refused = split.new_starting_hash_key("0").send().await.expect_err("nothing would be left");
        assert!(refused.into_service_error().is_invalid_argument_exception());
        let merge = subject.client.merge_shards().stream_name(&subject.stream);
        let merge = merge.shard_to_merge(&shards[0].shard_id).adjacent_shard_to_merge(&shards[2].shard_id);
        let refused = merge.send().await.expect_err("they are no neighbours");
        assert!(refused.into_service_error().is_invalid_argument_exception());
    })
    .await;
}
