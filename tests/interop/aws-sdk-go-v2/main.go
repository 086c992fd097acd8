// Puts, gets and subscribes with aws-sdk-go v2: through a split, by both ways of reading. The endpoint and the certificate to
// trust come from the SDK's own variables.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

type app struct {
	context context.Context
	client  *kinesis.Client
	stream  *string
	arn     *string
}

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	loaded, err := config.LoadDefaultConfig(ctx)
	check(err)
	a := &app{context: ctx, client: kinesis.NewFromConfig(loaded), stream: aws.String(os.Args[1])}

	_, err = a.client.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: a.stream, ShardCount: aws.Int32(2)})
	check(err)
	description := a.active()
	a.arn = description.StreamARN
	consumer := a.register("pushed")

	first := a.put(0, 300)
	_, err = a.client.SplitShard(ctx, &kinesis.SplitShardInput{
		StreamName:         a.stream,
		ShardToSplit:       aws.String("shardId-000000000000"),
		NewStartingHashKey: aws.String("85070591730234615865843651857942052864"),
	})
	check(err)
	a.active()
	time.Sleep(time.Second)
	second := a.put(300, 600)

	got := a.read()
	pushed := a.subscribe(consumer, 600)
	want := append(first, second...)
	for way, data := range map[string][]string{"GetRecords": got, "SubscribeToShard": pushed} {
		sort.Strings(data)
		if strings.Join(data, " ") != strings.Join(want, " ") {
			log.Fatalf("%s: %d records that differ from the %d put", way, len(data), len(want))
		}
	}

	a.retry(os.Args[2])

	var missing *types.ResourceNotFoundException
	_, err = a.client.DescribeStream(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("nowhere")})
	if !errors.As(err, &missing) || missing.ErrorMessage() != "Stream nowhere under account 000000000000 not found." {
		log.Fatalf("a missing stream: %v", err)
	}
	fmt.Printf("%d records by GetRecords and by SubscribeToShard, through a split; 4 faults retried\n", len(want))
}

func check(err error) {
	if err != nil {
		log.Output(2, err.Error())
		panic(err)
	}
}

func (a *app) active() *types.StreamDescriptionSummary {
	waiter := kinesis.NewStreamExistsWaiter(a.client, func(options *kinesis.StreamExistsWaiterOptions) {
		options.MinDelay, options.MaxDelay = 100*time.Millisecond, time.Second
	})
	check(waiter.Wait(a.context, &kinesis.DescribeStreamInput{StreamName: a.stream}, 20*time.Second))
	answer, err := a.client.DescribeStreamSummary(a.context, &kinesis.DescribeStreamSummaryInput{StreamName: a.stream})
	check(err)
	return answer.StreamDescriptionSummary
}

func (a *app) register(name string) *string {
	answer, err := a.client.RegisterStreamConsumer(a.context, &kinesis.RegisterStreamConsumerInput{StreamARN: a.arn, ConsumerName: &name})
	check(err)
	consumer := answer.Consumer.ConsumerARN
	for {
		answer, err := a.client.DescribeStreamConsumer(a.context, &kinesis.DescribeStreamConsumerInput{ConsumerARN: consumer})
		check(err)
		if answer.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive {
			return consumer
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (a *app) put(from, to int) []string {
	var data []string
	var entries []types.PutRecordsRequestEntry
	for i := from; i < to; i++ {
		line := fmt.Sprintf("order-%05d", i)
		data = append(data, line)
		entries = append(entries, types.PutRecordsRequestEntry{Data: []byte(line), PartitionKey: &line})
	}
	for len(entries) > 0 {
		answer, err := a.client.PutRecords(a.context, &kinesis.PutRecordsInput{StreamName: a.stream, Records: entries})
		check(err)
		var refused []types.PutRecordsRequestEntry
		for i, entry := range answer.Records {
			if entry.ErrorCode != nil {
				refused = append(refused, entries[i])
			}
		}
		if len(refused) != int(*answer.FailedRecordCount) {
			log.Fatalf("%d entries with an error, FailedRecordCount %d", len(refused), *answer.FailedRecordCount)
		}
		entries = refused
	}
	return data
}

// retry lets one put after another be struck once: the SDK must put it again by itself.
func (a *app) retry(control string) {
	for _, verdict := range []string{"throttle", "fail", "lose_request", "lose_answer"} {
		rule := fmt.Sprintf(`{"operation":"PutRecord","stream":%q,"times":1,"verdict":%q}`, *a.stream, verdict)
		added, err := http.Post(control+"/_sim/rules", "application/json", strings.NewReader(rule))
		check(err)
		added.Body.Close()
		if added.StatusCode != http.StatusCreated {
			log.Fatalf("%s is refused: %s", rule, added.Status)
		}
		answer, err := a.client.PutRecord(a.context, &kinesis.PutRecordInput{
			StreamName: a.stream, PartitionKey: aws.String("k"), Data: []byte(verdict),
		})
		check(err)
		if attempts, _ := retry.GetAttemptResults(answer.ResultMetadata); len(attempts.Results) != 2 {
			log.Fatalf("%s: %d attempts", verdict, len(attempts.Results))
		}
	}
}

func (a *app) read() (data []string) {
	shards := 0
	for next := (&kinesis.ListShardsInput{StreamName: a.stream}); next != nil; {
		next.MaxResults = aws.Int32(3)
		page, err := a.client.ListShards(a.context, next)
		check(err)
		next = nil
		if page.NextToken != nil {
			next = &kinesis.ListShardsInput{NextToken: page.NextToken}
		}
		for _, shard := range page.Shards {
			shards++
			data = append(data, a.readShard(shard.ShardId)...)
		}
	}
	if shards != 4 {
		log.Fatalf("%d shards after the split of one of two", shards)
	}
	return data
}

func (a *app) readShard(shard *string) (data []string) {
	answer, err := a.client.GetShardIterator(a.context, &kinesis.GetShardIteratorInput{
		StreamName: a.stream, ShardId: shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	check(err)
	for iterator := answer.ShardIterator; iterator != nil; {
		page, err := a.client.GetRecords(a.context, &kinesis.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(60)})
		check(err)
		for _, record := range page.Records {
			data = append(data, string(record.Data))
		}
		if (page.NextShardIterator == nil) != (len(page.ChildShards) > 0) {
			log.Fatalf("%s: an iterator and %d child shards", *shard, len(page.ChildShards))
		}
		if len(page.Records) == 0 && *page.MillisBehindLatest == 0 {
			break
		}
		iterator = page.NextShardIterator
		time.Sleep(210 * time.Millisecond)
	}
	return data
}

// subscribe reads two shards at once, and the children of each as they come.
func (a *app) subscribe(consumer *string, count int) []string {
	records := make(chan string)
	for _, shard := range []string{"shardId-000000000000", "shardId-000000000001"} {
		go a.follow(consumer, shard, records)
	}
	var data []string
	for len(data) < count {
		select {
		case record := <-records:
			data = append(data, record)
		case <-time.After(15 * time.Second):
			log.Fatalf("SubscribeToShard: %d of %d records, then silence", len(data), count)
		}
	}
	return data
}

func (a *app) follow(consumer *string, shard string, records chan<- string) {
	answer, err := a.client.SubscribeToShard(a.context, &kinesis.SubscribeToShardInput{
		ConsumerARN: consumer, ShardId: &shard,
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon},
	})
	check(err)
	stream := answer.GetStream()
	defer stream.Close()
	for event := range stream.Events() {
		pushed := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
		for _, record := range pushed.Records {
			records <- string(record.Data)
		}
		if (pushed.ContinuationSequenceNumber == nil) != (len(pushed.ChildShards) > 0) {
			log.Fatalf("%s: a continuation and %d child shards", shard, len(pushed.ChildShards))
		}
		for _, child := range pushed.ChildShards {
			go a.follow(consumer, *child.ShardId, records)
		}
	}
	check(stream.Err())
}
