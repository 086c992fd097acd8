import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A worker of the Java KCL for tests/bench/consumers. Counts what it gets and prints what kcl/examples/drain/tally.rs prints,
 * or notes when it got what as worker.rs there does.
 */
public final class KclReader {
    private final boolean reads;
    private final long expected;
    private final long checkpointMillis;
    private final Writer out;
    private final AtomicLong count = new AtomicLong();
    private final AtomicLong digest = new AtomicLong();
    private final AtomicLong first = new AtomicLong();
    private final AtomicLong last = new AtomicLong();
    private final CountDownLatch enough = new CountDownLatch(1);

    private KclReader(String[] arguments) throws IOException {
        reads = arguments[6].equals("read");
        expected = reads ? Long.parseLong(arguments[7]) : Long.MAX_VALUE;
        checkpointMillis = reads ? 0 : Long.parseLong(arguments[7]);
        out = reads
                ? null
                : Files.newBufferedWriter(Path.of(arguments[8]), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /**
     * Arguments: the endpoints of Kinesis and DynamoDB, the stream, the application, the worker, polling or fanout; then
     * "read" and how many records there are, or "work", milliseconds between checkpoints and the file to write.
     */
    public static void main(String[] arguments) throws Exception {
        KclReader reader = new KclReader(arguments);
        Scheduler scheduler = reader.scheduler(arguments);
        if (reader.reads) {
            Thread running = new Thread(scheduler);
            running.setDaemon(true);
            running.start();
            reader.enough.await();
            // For copies; then whoever measures reads the counters of the process and ends it.
            Thread.sleep(500);
            System.out.println("result " + reader.count + " " + Long.toUnsignedString(reader.digest.get()) + " "
                    + reader.first + " " + reader.last);
            Thread.sleep(30_000);
            Runtime.getRuntime().halt(0);
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                scheduler.startGracefulShutdown().get(20, TimeUnit.SECONDS);
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        scheduler.run();
    }

    /** Every setting is the default, but for what is named here: a reader is to be as fast as it can. */
    private Scheduler scheduler(String[] arguments) {
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(
                at(URI.create(arguments[0]), KinesisAsyncClient.builder()));
        URI table = URI.create(arguments[1]);
        String stream = arguments[2];
        String application = arguments[3];
        ConfigsBuilder configs = new ConfigsBuilder(
                new SingleStreamTracker(stream, InitialPositionInStreamExtended.newInitialPosition(
                        InitialPositionInStream.TRIM_HORIZON)),
                application, kinesis, at(table, DynamoDbAsyncClient.builder()).build(),
                at(table, CloudWatchAsyncClient.builder()).build(), arguments[4], Processor::new);
        PollingConfig polling = new PollingConfig(stream, kinesis);
        var coordinator = configs.coordinatorConfig();
        if (reads) {
            // The least that it takes.
            polling.idleTimeBetweenReadsInMillis(200);
            coordinator.shardConsumerDispatchPollIntervalMillis(100);
        }
        RetrievalSpecificConfig retrieval = arguments[5].equals("fanout")
                ? new FanOutConfig(kinesis).streamName(stream).applicationName(application)
                : polling;
        return new Scheduler(
                configs.checkpointConfig(),
                coordinator,
                configs.leaseManagementConfig(),
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                configs.retrievalConfig().retrievalSpecificConfig(retrieval));
    }

    private static <B extends AwsClientBuilder<B, C>, C> B at(URI endpoint, B builder) {
        return builder.endpointOverride(endpoint).region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")));
    }

    private void add(Iterable<KinesisClientRecord> records) {
        CRC32 crc = new CRC32();
        long sum = 0;
        long many = 0;
        for (KinesisClientRecord record : records) {
            crc.reset();
            crc.update(record.partitionKey().getBytes(StandardCharsets.UTF_8));
            crc.update(record.data().duplicate());
            sum += crc.getValue();
            many++;
        }
        digest.addAndGet(sum);
        long before = count.getAndAdd(many);
        if (before == 0) {
            first.set(System.currentTimeMillis());
        }
        if (before < expected && before + many >= expected) {
            last.set(System.currentTimeMillis());
            enough.countDown();
        }
    }

    private synchronized void write(String text) {
        try {
            out.write(text);
            out.flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private final class Processor implements ShardRecordProcessor {
        private String shard;
        private long checkpointed = System.currentTimeMillis();

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            if (input.records().isEmpty()) {
                return;
            }
            if (reads) {
                add(input.records());
            } else {
                write(shard + "\t" + System.currentTimeMillis() + "\n");
            }
            if (System.currentTimeMillis() - checkpointed >= checkpointMillis) {
                checkpointed = System.currentTimeMillis();
                checkpoint(input.checkpointer());
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {}

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (ShutdownException lost) {
                System.err.println("# no checkpoint, the lease is lost: " + shard);
            } catch (InvalidStateException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
