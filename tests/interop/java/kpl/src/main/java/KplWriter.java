import com.google.common.util.concurrent.ListenableFuture;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/** Puts known records with the Java KPL and writes down what it was answered, in the lines of ../helper/line.rs. */
public final class KplWriter {
    /** Arguments: the port of the HTTPS server, the stream, how many records, how many a second, the file to write. */
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        String stream = arguments[1];
        int count = Integer.parseInt(arguments[2]);
        int perSecond = Integer.parseInt(arguments[3]);
        Path out = Path.of(arguments[4]);

        // The endpoint and its port, whom to trust, no metrics: nothing else differs from what the service would need.
        KinesisProducer producer = new KinesisProducer(new KinesisProducerConfiguration()
                .setKinesisEndpoint("127.0.0.1")
                .setKinesisPort(port)
                .setVerifyCertificate(false)
                .setRegion("us-east-1")
                .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")))
                .setMetricsLevel("none")
                .setLogLevel("warning"));

        List<ListenableFuture<UserRecordResult>> results = new ArrayList<>();
        long began = System.nanoTime();
        for (int number = 0; number < count; number++) {
            long due = began + number * 1_000_000_000L / perSecond;
            while (System.nanoTime() < due) {
                Thread.sleep(1);
            }
            results.add(producer.addUserRecord(stream, key(number), explicitHashKey(number), ByteBuffer.wrap(data(number))));
            if (number % 500 == 250) {
                producer.flush();
            }
            if (number == count / 4) {
                results.get(0).get();
                System.out.println("began");
            }
        }
        producer.flushSync();

        try (PrintWriter file = new PrintWriter(Files.newBufferedWriter(out))) {
            for (int number = 0; number < count; number++) {
                UserRecordResult result = results.get(number).get();
                if (!result.isSuccessful()) {
                    throw new IllegalStateException("record " + number + " failed: " + result.getAttempts());
                }
                String explicit = explicitHashKey(number);
                file.printf("%s\t%s\t-\t%s\t%s\t%s\t-\t0%n", result.getShardId(), result.getSequenceNumber(), key(number),
                        explicit == null ? "-" : explicit, HexFormat.of().formatHex(data(number)));
            }
        }
        producer.destroy();
        System.out.println(count + " records put");
    }

    private static String key(int number) {
        return switch (number % 4) {
            case 0 -> "customer-" + number % 97;
            case 1 -> "größe-" + number % 13 + "-日本";
            case 2 -> "k".repeat(1 + number % 200);
            default -> "unique-" + number;
        };
    }

    private static String explicitHashKey(int number) {
        return switch (number % 6) {
            case 0 -> Integer.toString(number);
            case 2 -> "340282366920938463463374607431768211455";
            default -> null;
        };
    }

    /** Key and data together are like no other record's. */
    private static byte[] data(int number) {
        if (number % 100 == 3) {
            return new byte[0];
        }
        // Some are larger than an aggregate may be.
        int length = number % 200 == 10 ? 60_000 : number % 300;
        byte[] head = (number + ":").getBytes(StandardCharsets.UTF_8);
        byte[] data = new byte[head.length + length];
        System.arraycopy(head, 0, data, 0, head.length);
        for (int i = 0; i < length; i++) {
            data[head.length + i] = (byte) i;
        }
        return data;
    }
}
