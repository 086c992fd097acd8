// The Scan of github.com/harlow/kinesis-consumer, which counts what it gets and prints what kcl/examples/drain/tally.rs prints.
//
// Arguments: the endpoints of Kinesis and DynamoDB, the stream, plain or what else it holds, how many records there are.
package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"log"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/dynamodb"
	"github.com/aws/aws-sdk-go/service/kinesis"
	consumer "github.com/harlow/kinesis-consumer"
	store "github.com/harlow/kinesis-consumer/store/ddb"
)

func main() {
	endpoint, table, stream, kind := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	expected, err := strconv.ParseUint(os.Args[5], 10, 64)
	must(err)
	application := fmt.Sprintf("go-%d", os.Getpid())

	sess := session.Must(session.NewSession())
	db := dynamodb.New(sess, aws.NewConfig().WithEndpoint(table))
	makeTable(db, application)
	checkpoints, err := store.New(application, application, store.WithDynamoClient(db), store.WithMaxInterval(10*time.Second))
	must(err)
	c, err := consumer.New(
		stream,
		consumer.WithClient(kinesis.New(sess, aws.NewConfig().WithEndpoint(endpoint))),
		consumer.WithStore(checkpoints),
		consumer.WithShardIteratorType(kinesis.ShardIteratorTypeTrimHorizon),
		consumer.WithAggregation(kind != "plain"),
		consumer.WithMaxRecords(10_000),
		// As often as the service lets a shard be read.
		consumer.WithScanInterval(200*time.Millisecond),
	)
	must(err)

	var count, digest, first, last atomic.Uint64
	enough := make(chan struct{})
	go func() {
		must(c.Scan(context.Background(), func(record *consumer.Record) error {
			sum := crc32.Update(crc32.ChecksumIEEE([]byte(*record.PartitionKey)), crc32.IEEETable, record.Data)
			digest.Add(uint64(sum))
			switch count.Add(1) {
			case 1:
				first.Store(uint64(time.Now().UnixMilli()))
			case expected:
				last.Store(uint64(time.Now().UnixMilli()))
				close(enough)
			}
			return nil
		}))
	}()
	<-enough
	// For copies; then whoever measures reads the counters of the process and ends it.
	time.Sleep(500 * time.Millisecond)
	fmt.Println("result", count.Load(), digest.Load(), first.Load(), last.Load())
	time.Sleep(30 * time.Second)
}

func makeTable(db *dynamodb.DynamoDB, name string) {
	key := func(name, kind string) (*dynamodb.AttributeDefinition, *dynamodb.KeySchemaElement) {
		return &dynamodb.AttributeDefinition{AttributeName: &name, AttributeType: aws.String("S")},
			&dynamodb.KeySchemaElement{AttributeName: &name, KeyType: &kind}
	}
	namespace, hash := key("namespace", "HASH")
	shard, sort := key("shard_id", "RANGE")
	_, err := db.CreateTable(&dynamodb.CreateTableInput{
		TableName:            &name,
		BillingMode:          aws.String("PAY_PER_REQUEST"),
		AttributeDefinitions: []*dynamodb.AttributeDefinition{namespace, shard},
		KeySchema:            []*dynamodb.KeySchemaElement{hash, sort},
	})
	must(err)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
