import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.TimeUnit;
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
import software.amazon.kinesis.common.StreamConfig;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.FormerStreamsLeasesDeletionStrategy;
import software.amazon.kinesis.processor.MultiStreamTracker;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** A worker of the Java KCL that writes down every record it is given, in the lines of ../helper/line.rs. */
public final class KclWorker {
    private static final InitialPositionInStreamExtended FROM_THE_BEGINNING =
            InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);

    private final Writer out;

    private KclWorker(Path out) throws IOException {
        this.out = Files.newBufferedWriter(out, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /**
     * Arguments: the endpoints of Kinesis and DynamoDB, the stream, the application, the worker, polling or fanout, the
     * file to write, the failover time in milliseconds. Several streams, with commas between them, are each
     * account:stream:epoch; they are polled, and their shards written down as stream/shard.
     */
    public static void main(String[] arguments) throws Exception {
        URI kinesisEndpoint = URI.create(arguments[0]);
        URI dynamoEndpoint = URI.create(arguments[1]);
        String stream = arguments[2];
        boolean several = stream.contains(",");
        String application = arguments[3];
        String worker = arguments[4];
        boolean fanOut = arguments[5].equals("fanout");
        KclWorker recorder = new KclWorker(Path.of(arguments[6]));
        long failoverMillis = Long.parseLong(arguments[7]);

        KinesisAsyncClient kinesis =
                KinesisClientUtil.createKinesisAsyncClient(at(kinesisEndpoint, KinesisAsyncClient.builder()));
        DynamoDbAsyncClient dynamo = at(dynamoEndpoint, DynamoDbAsyncClient.builder()).build();
        CloudWatchAsyncClient unused = at(dynamoEndpoint, CloudWatchAsyncClient.builder()).build();

        StreamTracker streams = several ? new Streams(stream) : new SingleStreamTracker(stream, FROM_THE_BEGINNING);
        ConfigsBuilder configs =
                new ConfigsBuilder(streams, application, kinesis, dynamo, unused, worker, recorder.new Processors());
        RetrievalSpecificConfig retrieval = fanOut
                ? new FanOutConfig(kinesis).streamName(stream).applicationName(application)
                : (several ? new PollingConfig(kinesis) : new PollingConfig(stream, kinesis))
                        .idleTimeBetweenReadsInMillis(250);
        // Shorter than the defaults, so that a test is not mostly waiting.
        Scheduler scheduler = new Scheduler(
                configs.checkpointConfig(),
                compatible(configs.coordinatorConfig().parentShardPollIntervalMillis(500)
                        .shardConsumerDispatchPollIntervalMillis(100)),
                configs.leaseManagementConfig().failoverTimeMillis(failoverMillis).shardSyncIntervalMillis(5_000),
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                configs.retrievalConfig().retrievalSpecificConfig(retrieval));

        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                scheduler.startGracefulShutdown().get(20, TimeUnit.SECONDS);
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        scheduler.run();
    }

    /** KCL 3 beside workers of 2.x, if this is KCL 3: its setting is named here by reflection as 2.x has none. */
    private static CoordinatorConfig compatible(CoordinatorConfig config) throws ReflectiveOperationException {
        for (var method : CoordinatorConfig.class.getMethods()) {
            if (method.getName().equals("clientVersionConfig") && method.getParameterCount() == 1) {
                for (Object value : method.getParameterTypes()[0].getEnumConstants()) {
                    if (value.toString().equals("CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X")) {
                        method.invoke(config, value);
                    }
                }
            }
        }
        return config;
    }

    private static <B extends AwsClientBuilder<B, C>, C> B at(URI endpoint, B builder) {
        return builder.endpointOverride(endpoint).region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")));
    }

    /** Everything of one batch, and only then the checkpoint: a process killed in between repeats, never loses. */
    private synchronized void write(String text) {
        try {
            out.write(text);
            out.flush();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** The same streams all the time, and what was read of others stays in the table. */
    private static final class Streams implements MultiStreamTracker {
        private final List<StreamConfig> streams;

        private Streams(String identifiers) {
            streams = Arrays.stream(identifiers.split(","))
                    .map(one -> new StreamConfig(StreamIdentifier.multiStreamInstance(one), FROM_THE_BEGINNING))
                    .toList();
        }

        @Override
        public List<StreamConfig> streamConfigList() {
            return streams;
        }

        @Override
        public FormerStreamsLeasesDeletionStrategy formerStreamsLeasesDeletionStrategy() {
            return new FormerStreamsLeasesDeletionStrategy.NoLeaseDeletionStrategy();
        }
    }

    private final class Processors implements ShardRecordProcessorFactory {
        @Override
        public ShardRecordProcessor shardRecordProcessor() {
            return new Processor("");
        }

        @Override
        public ShardRecordProcessor shardRecordProcessor(StreamIdentifier stream) {
            // Only one of several streams has the account.
            return new Processor(stream.accountIdOptional().isPresent() ? stream.streamName() + "/" : "");
        }
    }

    private final class Processor implements ShardRecordProcessor {
        private final String prefix;
        private String shard;

        private Processor(String prefix) {
            this.prefix = prefix;
        }

        @Override
        public void initialize(InitializationInput input) {
            shard = prefix + input.shardId();
            write("# begin " + shard + " " + input.extendedSequenceNumber() + "\n");
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            StringBuilder lines = new StringBuilder();
            for (KinesisClientRecord record : input.records()) {
                byte[] data = new byte[record.data().remaining()];
                record.data().duplicate().get(data);
                lines.append(shard).append('\t').append(record.sequenceNumber()).append('\t')
                        .append(record.subSequenceNumber()).append('\t').append(record.partitionKey()).append('\t')
                        .append(record.explicitHashKey() == null ? "-" : record.explicitHashKey()).append('\t')
                        .append(HexFormat.of().formatHex(data)).append('\t')
                        .append(record.aggregated() ? "aggregated" : "plain").append('\t')
                        .append(System.currentTimeMillis()).append('\n');
            }
            if (lines.length() > 0) {
                write(lines.toString());
                checkpoint(input.checkpointer());
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            write("# lost " + shard + "\n");
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            write("# ended " + shard + "\n");
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            write("# stopped " + shard + "\n");
            checkpoint(input.checkpointer());
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (ShutdownException lost) {
                write("# no checkpoint, the lease is lost " + shard + "\n");
            } catch (InvalidStateException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
