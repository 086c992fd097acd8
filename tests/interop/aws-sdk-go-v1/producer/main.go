// Puts lines from stdin in batches, and what was refused again, until all are in: the PutRecords loop that many services have.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/kinesis"
)

const batchSize = 250

func main() {
	stream := flag.String("stream", "", "stream name")
	endpoint := flag.String("endpoint", "", "endpoint URL")
	flag.Parse()

	config := aws.NewConfig().WithEndpoint(*endpoint)
	client := kinesis.New(session.Must(session.NewSession(config)))

	var batch []*kinesis.PutRecordsRequestEntry
	put, again := 0, 0
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		batch = append(batch, &kinesis.PutRecordsRequestEntry{
			Data:         []byte(lines.Text()),
			PartitionKey: aws.String(lines.Text()),
		})
		put++
		if len(batch) == batchSize {
			again += send(client, stream, batch)
			batch = nil
		}
	}
	again += send(client, stream, batch)
	fmt.Printf("put=%d again=%d\n", put, again)
}

// send answers how many entries had to be put again.
func send(client *kinesis.Kinesis, stream *string, batch []*kinesis.PutRecordsRequestEntry) int {
	again := 0
	for len(batch) > 0 {
		answer, err := client.PutRecords(&kinesis.PutRecordsInput{StreamName: stream, Records: batch})
		if err != nil {
			log.Fatalf("put records: %v", err)
		}
		if *answer.FailedRecordCount == 0 {
			break
		}
		var refused []*kinesis.PutRecordsRequestEntry
		for i, entry := range answer.Records {
			if entry.ErrorCode != nil {
				refused = append(refused, batch[i])
			}
		}
		again += len(refused)
		batch = refused
		time.Sleep(200 * time.Millisecond)
	}
	return again
}
