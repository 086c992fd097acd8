import com.google.common.util.concurrent.ListenableFuture;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.stream.Stream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordResult;

/** Puts 100-byte records with the Java KPL as fast as it goes; prints what ../../../../../../kpl/examples/load.rs prints. */
public final class KplLoad {
    private static final int KEYS = 262_144;
    /** More outstanding records make the KPL slower, not faster. */
    private static final int WINDOW = 50_000;

    /** Arguments: the port of the HTTPS server, the stream, how many records. */
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        String stream = arguments[1];
        int count = Integer.parseInt(arguments[2]);
        KinesisProducer producer = new KinesisProducer(new KinesisProducerConfiguration()
                .setKinesisEndpoint("127.0.0.1")
                .setKinesisPort(port)
                .setVerifyCertificate(false)
                .setRegion("us-east-1")
                .setCredentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("any", "any")))
                // The engine's limits are off, and so are everybody's own.
                .setRateLimit(100_000)
                .setMetricsLevel("none")
                .setLogLevel("warning"));
        byte[] data = new byte[100];
        for (int index = 0; index < data.length; index++) {
            data[index] = (byte) (index * 37);
        }
        ArrayDeque<ListenableFuture<UserRecordResult>> window = new ArrayDeque<>();
        // The native program is up and the code is compiled before anything is measured.
        put(producer, stream, window, data, 0, count / 4);
        double cpu = cpuSeconds();
        long began = System.nanoTime();
        put(producer, stream, window, data, count / 4, count + count / 4);
        double seconds = (System.nanoTime() - began) / 1e9;
        System.out.printf("result java-kpl %d %.3f %.3f %.1f%n", count, seconds, cpuSeconds() - cpu, peakMebibytes());
        producer.destroy();
    }

    private static void put(
            KinesisProducer producer,
            String stream,
            ArrayDeque<ListenableFuture<UserRecordResult>> window,
            byte[] data,
            int from,
            int to)
            throws Exception {
        for (long number = from; number < to; number++) {
            String key = String.format("customer-%011d", Long.remainderUnsigned(number * 0x9E3779B97F4A7C15L, KEYS));
            window.add(producer.addUserRecord(stream, key, ByteBuffer.wrap(data)));
            while (window.size() > WINDOW) {
                settle(window);
            }
        }
        producer.flush();
        while (!window.isEmpty()) {
            settle(window);
        }
    }

    private static void settle(ArrayDeque<ListenableFuture<UserRecordResult>> window) throws Exception {
        if (!window.remove().get().isSuccessful()) {
            throw new IllegalStateException("a record failed");
        }
    }

    /** The most memory of this process and of the native one, together. */
    private static double peakMebibytes() {
        ProcessHandle self = ProcessHandle.current();
        return Stream.concat(Stream.of(self), self.descendants()).mapToDouble(KplLoad::peakMebibytes).sum();
    }

    private static double peakMebibytes(ProcessHandle process) {
        try (Stream<String> lines = Files.lines(Path.of("/proc/" + process.pid() + "/status"))) {
            // As in "VmHWM:    12345 kB".
            return lines.filter(line -> line.startsWith("VmHWM:"))
                    .mapToDouble(line -> Double.parseDouble(line.replaceAll("[^0-9]", "")) / 1024)
                    .sum();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Of this process and of the native one. */
    private static double cpuSeconds() {
        ProcessHandle self = ProcessHandle.current();
        Duration own = self.info().totalCpuDuration().orElse(Duration.ZERO);
        Duration native_ = self.descendants()
                .map(process -> process.info().totalCpuDuration().orElse(Duration.ZERO))
                .reduce(Duration.ZERO, Duration::plus);
        return own.plus(native_).toNanos() / 1e9;
    }
}
