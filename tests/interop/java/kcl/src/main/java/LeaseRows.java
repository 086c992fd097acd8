import java.lang.reflect.Constructor;
import java.math.BigInteger;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.BillingMode;
import software.amazon.kinesis.common.HashKeyRangeForLease;
import software.amazon.kinesis.common.StreamIdentifier;
import software.amazon.kinesis.leases.Lease;
import software.amazon.kinesis.leases.LeaseSerializer;
import software.amazon.kinesis.leases.MultiStreamLease;
import software.amazon.kinesis.leases.UpdateField;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseRefresher;
import software.amazon.kinesis.leases.dynamodb.DynamoDBLeaseSerializer;
import software.amazon.kinesis.leases.dynamodb.DynamoDBMultiStreamLeaseSerializer;
import software.amazon.kinesis.leases.dynamodb.TableCreatorCallback;
import software.amazon.kinesis.retrieval.kpl.ExtendedSequenceNumber;

/** Rows of a lease table through the Java KCL's own code: made, or read and printed as ../helper/leases.rs does. */
public final class LeaseRows {
    private static final String NUMBER = "49590338271490256608559692538361571095921575989136588898";

    private static final List<String> STREAMS =
            List.of("123456789012:clicks:1690000000", "123456789012:orders:1700000000");

    /**
     * Arguments: the endpoint of DynamoDB, the table, "make" to make the table and its rows first, "streams" for the table
     * of an application of several streams.
     */
    public static void main(String[] arguments) throws Exception {
        try (DynamoDbAsyncClient client = DynamoDbAsyncClient.builder()
                .endpointOverride(URI.create(arguments[0]))
                .region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")))
                .build()) {
            List<String> words = List.of(arguments).subList(2, arguments.length);
            boolean several = words.contains("streams");
            DynamoDBLeaseRefresher multiStream = refresher(arguments[1], client, new DynamoDBMultiStreamLeaseSerializer());
            DynamoDBLeaseRefresher leases =
                    several ? multiStream : refresher(arguments[1], client, new DynamoDBLeaseSerializer());
            if (words.contains("make")) {
                leases.createLeaseTableIfNotExists();
                if (!leases.waitUntilLeaseTableExists(1, 60)) {
                    throw new IllegalStateException("the table did not come");
                }
                if (several) {
                    for (String stream : STREAMS) {
                        make(leases, stream);
                    }
                } else {
                    make(leases, null);
                    makeMultiStream(multiStream);
                }
            }
            TreeSet<String> rows = new TreeSet<>();
            if (several) {
                // As a worker looks for them: by the attribute that names the stream.
                for (String stream : STREAMS) {
                    for (Lease lease : leases.listLeasesForStream(StreamIdentifier.multiStreamInstance(stream))) {
                        MultiStreamLease of = (MultiStreamLease) lease;
                        rows.add(String.join("\t", row(lease), of.streamIdentifier(), of.shardId()));
                    }
                }
            } else {
                for (Lease lease : leases.listLeases()) {
                    rows.add(row(lease));
                }
            }
            System.out.println(String.join("\n", rows));
        }
    }

    /** One row of every kind, each by the operations that a worker makes it with. */
    private static void make(DynamoDBLeaseRefresher leases, String stream) throws Exception {
        create(leases, lease(stream, 0, ExtendedSequenceNumber.TRIM_HORIZON));
        create(leases, lease(stream, 1, ExtendedSequenceNumber.LATEST));
        create(leases, lease(stream, 2, ExtendedSequenceNumber.AT_TIMESTAMP));
        Lease ranged = lease(stream, 3, ExtendedSequenceNumber.TRIM_HORIZON);
        ranged.hashKeyRange(new HashKeyRangeForLease(
                BigInteger.ZERO, new BigInteger("340282366920938463463374607431768211455")));
        create(leases, ranged);
        // The children of a split and of a merge.
        create(leases, lease(stream, 4, ExtendedSequenceNumber.TRIM_HORIZON, shard(0)));
        create(leases, lease(stream, 5, ExtendedSequenceNumber.TRIM_HORIZON, shard(1), shard(2)));

        // Owned, renewed, checkpointed in the middle of an aggregate, then prepared further on.
        Lease owned = lease(stream, 6, ExtendedSequenceNumber.TRIM_HORIZON);
        create(leases, owned);
        done(leases.takeLease(owned, "worker-a"));
        done(leases.renewLease(owned));
        owned.checkpoint(new ExtendedSequenceNumber(NUMBER, 17L));
        owned.pendingCheckpoint(new ExtendedSequenceNumber("49590338271490256608559692538361571095921575989136588900", 3L));
        owned.pendingCheckpointState(new byte[] {0, (byte) 0xff, 7});
        owned.ownerSwitchesSinceCheckpoint(0L);
        done(leases.updateLease(owned));

        // At its end, with children; and given back.
        Lease ended = lease(stream, 7, ExtendedSequenceNumber.TRIM_HORIZON);
        create(leases, ended);
        done(leases.takeLease(ended, "worker-a"));
        ended.childShardIds(List.of(shard(8), shard(9)));
        leases.updateLeaseWithMetaInfo(ended, UpdateField.CHILD_SHARDS);
        ended.checkpoint(ExtendedSequenceNumber.SHARD_END);
        ended.ownerSwitchesSinceCheckpoint(0L);
        done(leases.updateLease(ended));
        done(leases.evictLease(ended));
    }

    private static void makeMultiStream(DynamoDBLeaseRefresher leases) throws Exception {
        MultiStreamLease lease = new MultiStreamLease();
        lease.streamIdentifier("123456789012:orders:1700000000");
        lease.shardId("shardId-000000000003");
        lease.leaseKey(MultiStreamLease.getLeaseKey(lease.streamIdentifier(), lease.shardId()));
        lease.leaseCounter(0L);
        lease.ownerSwitchesSinceCheckpoint(0L);
        lease.checkpoint(ExtendedSequenceNumber.TRIM_HORIZON);
        lease.parentShardIds(List.of(shard(1)));
        create(leases, lease);
    }

    private static void create(DynamoDBLeaseRefresher leases, Lease lease) throws Exception {
        done(leases.createLeaseIfNotExists(lease));
    }

    private static void done(boolean done) {
        if (!done) {
            throw new IllegalStateException("refused");
        }
    }

    private static String shard(int index) {
        return String.format("shardId-%012d", index);
    }

    private static Lease lease(String stream, int index, ExtendedSequenceNumber checkpoint, String... parents) {
        Lease lease = new Lease();
        lease.leaseKey(shard(index));
        if (stream != null) {
            MultiStreamLease of = new MultiStreamLease();
            of.streamIdentifier(stream);
            of.shardId(shard(index));
            of.leaseKey(MultiStreamLease.getLeaseKey(stream, shard(index)));
            lease = of;
        }
        lease.leaseCounter(0L);
        lease.ownerSwitchesSinceCheckpoint(0L);
        lease.checkpoint(checkpoint);
        lease.parentShardIds(Set.of(parents));
        return lease;
    }

    private static String row(Lease lease) {
        ExtendedSequenceNumber pending = lease.pendingCheckpoint();
        HashKeyRangeForLease range = lease.hashKeyRangeForLease();
        return String.join("\t",
                lease.leaseKey(),
                lease.leaseOwner() == null ? "-" : lease.leaseOwner(),
                lease.leaseCounter().toString(),
                lease.checkpoint().sequenceNumber(),
                Long.toString(lease.checkpoint().subSequenceNumber()),
                lease.ownerSwitchesSinceCheckpoint().toString(),
                pending == null ? "-" : pending.sequenceNumber(),
                pending == null ? "-" : Long.toString(pending.subSequenceNumber()),
                lease.pendingCheckpointState() == null ? "-" : HexFormat.of().formatHex(lease.pendingCheckpointState()),
                names(lease.parentShardIds()),
                names(lease.childShardIds()),
                range == null ? "-" : range.serializedStartingHashKey() + "-" + range.serializedEndingHashKey());
    }

    private static String names(Set<String> names) {
        return names == null || names.isEmpty() ? "-" : String.join(",", new TreeSet<>(names));
    }

    /** The constructor with most parameters, which are not the same in every version. */
    private static DynamoDBLeaseRefresher refresher(String table, DynamoDbAsyncClient client, LeaseSerializer serializer)
            throws ReflectiveOperationException {
        Constructor<?> constructor = Arrays.stream(DynamoDBLeaseRefresher.class.getConstructors())
                .max((one, other) -> one.getParameterCount() - other.getParameterCount()).orElseThrow();
        List<Object> values = new ArrayList<>();
        for (Class<?> type : constructor.getParameterTypes()) {
            if (type == String.class) values.add(table);
            else if (type == DynamoDbAsyncClient.class) values.add(client);
            else if (type == LeaseSerializer.class) values.add(serializer);
            // Consistent reads, no deletion protection, no point-in-time recovery.
            else if (type == boolean.class) values.add(values.size() == 3);
            else if (type == TableCreatorCallback.class) values.add(TableCreatorCallback.NOOP_TABLE_CREATOR_CALLBACK);
            else if (type == Duration.class) values.add(Duration.ofSeconds(30));
            else if (type == BillingMode.class) values.add(BillingMode.PAY_PER_REQUEST);
            else if (type == Collection.class) values.add(List.of());
            else values.add(type.getDeclaredConstructor().newInstance());
        }
        return (DynamoDBLeaseRefresher) constructor.newInstance(values.toArray());
    }
}
