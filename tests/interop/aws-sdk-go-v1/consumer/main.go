// Prints every record of a stream until it is told to stop: the Scan of github.com/harlow/kinesis-consumer.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/kinesis"
	consumer "github.com/harlow/kinesis-consumer"
	store "github.com/harlow/kinesis-consumer/store/memory"
)

func main() {
	stream := flag.String("stream", "", "stream name")
	endpoint := flag.String("endpoint", "", "endpoint URL")
	flag.Parse()

	config := aws.NewConfig().WithEndpoint(*endpoint)
	client := kinesis.New(session.Must(session.NewSession(config)))

	c, err := consumer.New(
		*stream,
		consumer.WithClient(client),
		consumer.WithStore(store.New()),
		consumer.WithShardIteratorType(kinesis.ShardIteratorTypeTrimHorizon),
		consumer.WithShardClosedHandler(func(_, shard string) error {
			fmt.Fprintln(os.Stderr, "closed", shard)
			return nil
		}),
	)
	if err != nil {
		log.Fatalf("new consumer: %v", err)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = c.Scan(ctx, func(record *consumer.Record) error {
		fmt.Println(string(record.Data))
		return nil
	})
	if err != nil {
		log.Fatalf("scan: %v", err)
	}
}
