import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.TrustManagerFactory;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.*;
import software.amazon.awssdk.services.kinesis.model.Record;

/** The synchronous client, then the asynchronous one with its event stream, against one endpoint. */
public final class SdkCheck {
    /** What the requests and the answers were encoded as, as seen on the wire. */
    private static final Set<String> CONTENT_TYPES = new ConcurrentSkipListSet<>();

    private final URI endpoint;
    private final KeyStore trusted;

    private SdkCheck(URI endpoint, KeyStore trusted) {
        this.endpoint = endpoint;
        this.trusted = trusted;
    }

    /** Arguments: the endpoint, and for HTTPS the PEM file of the authority to trust. */
    public static void main(String[] arguments) throws Exception {
        SdkCheck check = new SdkCheck(URI.create(arguments[0]), arguments.length > 1 ? trust(Path.of(arguments[1])) : null);
        long classic = check.synchronous();
        long events = check.asynchronous();
        System.out.printf(
                "%d records by the synchronous client, %d by SubscribeToShard through a split, as %s%n",
                classic, events, String.join(" and ", CONTENT_TYPES));
    }

    private long synchronous() throws Exception {
        try (KinesisClient client = configured(KinesisClient.builder())
                .httpClient(ApacheHttpClient.builder().tlsTrustManagersProvider(trusted == null ? null : this::trustManagers).build())
                .build()) {
            client.createStream(r -> r.streamName("classic").shardCount(2).tags(java.util.Map.of("team", "interop")));
            client.waiter().waitUntilStreamExists(r -> r.streamName("classic"));
            StreamDescriptionSummary summary =
                    client.describeStreamSummary(r -> r.streamName("classic")).streamDescriptionSummary();
            equal("open shards", 2, summary.openShardCount());
            equal("status", StreamStatus.ACTIVE, summary.streamStatus());
            equal("retention", 24, summary.retentionPeriodHours());
            equal("age below a minute", true,
                    Duration.between(summary.streamCreationTimestamp(), java.time.Instant.now()).abs().getSeconds() < 60);
            equal("tag", "interop", client.listTagsForStream(r -> r.streamName("classic")).tags().get(0).value());

            // By shard and sequence number: key and data.
            TreeMap<String, String> put = new TreeMap<>();
            for (int i = 0; i < 20; i++) {
                String key = "key-" + i;
                SdkBytes data = SdkBytes.fromByteArray(bytes(i, i));
                PutRecordResponse answer = client.putRecord(r -> r.streamName("classic").partitionKey(key).data(data));
                put.put(place(answer.shardId(), answer.sequenceNumber()), key + " " + data.asUtf8String());
            }
            List<PutRecordsRequestEntry> entries = new ArrayList<>();
            for (int i = 0; i < 500; i++) {
                PutRecordsRequestEntry.Builder entry =
                        PutRecordsRequestEntry.builder().partitionKey("schlüssel-" + i).data(SdkBytes.fromByteArray(bytes(i, i % 300)));
                if (i % 5 == 0) entry.explicitHashKey(i % 2 == 0 ? "0" : "340282366920938463463374607431768211455");
                entries.add(entry.build());
            }
            PutRecordsResponse answer = client.putRecords(r -> r.streamARN(summary.streamARN()).records(entries));
            equal("failed entries", 0, answer.failedRecordCount());
            equal("answered entries", 500, answer.records().size());
            for (int i = 0; i < 500; i++) {
                PutRecordsResultEntry entry = answer.records().get(i);
                if (i % 5 == 0) equal("shard by hash key", "shardId-00000000000" + i % 2, entry.shardId());
                put.put(place(entry.shardId(), entry.sequenceNumber()),
                        entries.get(i).partitionKey() + " " + entries.get(i).data().asUtf8String());
            }

            TreeMap<String, String> read = new TreeMap<>();
            for (Shard shard : client.listShards(r -> r.streamName("classic")).shards()) {
                String iterator = client.getShardIterator(r -> r.streamName("classic").shardId(shard.shardId())
                        .shardIteratorType(ShardIteratorType.TRIM_HORIZON)).shardIterator();
                while (true) {
                    String current = iterator;
                    GetRecordsResponse page = client.getRecords(r -> r.shardIterator(current).limit(100));
                    for (Record record : page.records()) {
                        read.put(place(shard.shardId(), record.sequenceNumber()),
                                record.partitionKey() + " " + record.data().asUtf8String());
                        equal("arrival within a minute", true, Duration.between(
                                record.approximateArrivalTimestamp(), java.time.Instant.now()).abs().getSeconds() < 60);
                    }
                    iterator = page.nextShardIterator();
                    if (page.millisBehindLatest() == 0) break;
                }
            }
            equal("records", put, read);

            try {
                client.describeStream(r -> r.streamName("nowhere"));
                throw new AssertionError("a stream that does not exist was described");
            } catch (ResourceNotFoundException expected) {
                equal("status of the error", 400, expected.statusCode());
                equal("code of the error", "ResourceNotFoundException", expected.awsErrorDetails().errorCode());
                equal("request id is there", true, expected.requestId() != null);
            }
            client.deleteStream(r -> r.streamName("classic").enforceConsumerDeletion(true));
            client.waiter().waitUntilStreamNotExists(r -> r.streamName("classic"));
            return read.size();
        }
    }

    private long asynchronous() throws Exception {
        NettyNioAsyncHttpClient.Builder http = NettyNioAsyncHttpClient.builder().maxConcurrency(50);
        if (trusted != null) http.tlsTrustManagersProvider(this::trustManagers);
        try (KinesisAsyncClient client = configured(KinesisAsyncClient.builder()).httpClientBuilder(http).build()) {
            client.createStream(r -> r.streamName("fan-out").shardCount(1)).join();
            client.waiter().waitUntilStreamExists(r -> r.streamName("fan-out")).join();
            String stream = client.describeStreamSummary(r -> r.streamName("fan-out")).join()
                    .streamDescriptionSummary().streamARN();
            String consumer = client.registerStreamConsumer(r -> r.streamARN(stream).consumerName("reader")).join()
                    .consumer().consumerARN();
            while (client.describeStreamConsumer(r -> r.consumerARN(consumer)).join().consumerDescription()
                    .consumerStatus() != ConsumerStatus.ACTIVE) {
                Thread.sleep(100);
            }

            TreeMap<String, String> put = new TreeMap<>();
            TreeMap<String, String> read = new TreeMap<>();
            put(client, put, 0, 300);
            // The subscription is open while more records arrive and the shard is split.
            CompletableFuture<Set<String>> parent = subscribe(client, consumer, "shardId-000000000000", read, Integer.MAX_VALUE);
            put(client, put, 300, 400);
            client.splitShard(r -> r.streamARN(stream).shardToSplit("shardId-000000000000")
                    .newStartingHashKey("170141183460469231731687303715884105728")).join();
            client.waiter().waitUntilStreamExists(r -> r.streamName("fan-out")).join();
            put(client, put, 400, 500);
            equal("children at the end", Set.of("shardId-000000000001", "shardId-000000000002"),
                    parent.get(30, TimeUnit.SECONDS));
            for (String child : List.of("shardId-000000000001", "shardId-000000000002")) {
                long here = put.keySet().stream().filter(place -> place.startsWith(child)).count();
                subscribe(client, consumer, child, read, here).get(30, TimeUnit.SECONDS);
            }
            equal("records by events", put, read);

            try {
                client.subscribeToShard(r -> r.consumerARN(consumer).shardId("shardId-000000000009")
                        .startingPosition(p -> p.type(ShardIteratorType.LATEST)), handler(e -> { })).get(30, TimeUnit.SECONDS);
                throw new AssertionError("a shard that does not exist was subscribed to");
            } catch (java.util.concurrent.ExecutionException expected) {
                equal("class of the error", ResourceNotFoundException.class, expected.getCause().getClass());
            }
            client.deregisterStreamConsumer(r -> r.consumerARN(consumer)).join();
            client.deleteStream(r -> r.streamName("fan-out").enforceConsumerDeletion(true)).join();
            return read.size();
        }
    }

    private void put(KinesisAsyncClient client, TreeMap<String, String> put, int from, int to) {
        for (int i = from; i < to; i++) {
            String key = "key-" + i;
            SdkBytes data = SdkBytes.fromByteArray(bytes(i, i));
            PutRecordResponse answer = client.putRecord(r -> r.streamName("fan-out").partitionKey(key).data(data)).join();
            put.put(place(answer.shardId(), answer.sequenceNumber()), key + " " + data.asUtf8String());
        }
    }

    /** Reads one shard until its end, or until it gave this many records; completes with the child shards. */
    private CompletableFuture<Set<String>> subscribe(
            KinesisAsyncClient client, String consumer, String shard, TreeMap<String, String> read, long enough) {
        CompletableFuture<Set<String>> result = new CompletableFuture<>();
        Set<String> children = new TreeSet<>();
        String[] last = {""};
        long[] seen = {0};
        CompletableFuture<Void> stream = client.subscribeToShard(
                r -> r.consumerARN(consumer).shardId(shard).startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)),
                handler(event -> {
                    for (Record record : event.records()) {
                        String place = place(shard, record.sequenceNumber());
                        if (place.compareTo(last[0]) <= 0) {
                            result.completeExceptionally(new AssertionError(place + " came after " + last[0]));
                        }
                        last[0] = place;
                        seen[0]++;
                        synchronized (read) {
                            read.put(place, record.partitionKey() + " " + record.data().asUtf8String());
                        }
                    }
                    event.childShards().stream().map(ChildShard::shardId).forEach(children::add);
                    if (event.continuationSequenceNumber() == null || seen[0] >= enough) result.complete(children);
                }));
        stream.whenComplete((nothing, error) -> {
            if (error != null) result.completeExceptionally(error);
            else if (enough == Integer.MAX_VALUE) result.complete(children);
        });
        // A subscription has no call that ends it: cancelling resets its HTTP/2 stream.
        result.whenComplete((nothing, error) -> stream.cancel(true));
        return result;
    }

    private static SubscribeToShardResponseHandler handler(java.util.function.Consumer<SubscribeToShardEvent> each) {
        return SubscribeToShardResponseHandler.builder()
                .subscriber(SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent(each).build())
                .build();
    }

    private <B extends AwsClientBuilder<B, C>, C> B configured(B builder) {
        return builder
                .endpointOverride(endpoint)
                .region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")))
                .overrideConfiguration(c -> c.addExecutionInterceptor(new ExecutionInterceptor() {
                    @Override
                    public void afterTransmission(Context.AfterTransmission context, ExecutionAttributes attributes) {
                        context.httpRequest().firstMatchingHeader("Content-Type").ifPresent(CONTENT_TYPES::add);
                    }
                }));
    }

    private javax.net.ssl.TrustManager[] trustManagers() {
        try {
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            factory.init(trusted);
            return factory.getTrustManagers();
        } catch (java.security.GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }

    private static KeyStore trust(Path pem) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var input = Files.newInputStream(pem)) {
            store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(input));
        }
        return store;
    }

    /** Sequence numbers have one length within a stream's life here, so that text order is their order. */
    private static String place(String shard, String sequenceNumber) {
        return shard + " " + sequenceNumber;
    }

    private static byte[] bytes(int seed, int length) {
        return (seed + ":" + "é€x".repeat(length)).getBytes(StandardCharsets.UTF_8);
    }

    private static void equal(String what, Object expected, Object found) {
        if (!expected.equals(found)) {
            String text = what + ": expected " + expected + ", found " + found;
            throw new AssertionError(text.length() > 2000 ? text.substring(0, 2000) + "..." : text);
        }
    }
}
