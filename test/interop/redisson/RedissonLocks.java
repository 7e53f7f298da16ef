import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.redisson.Redisson;
import org.redisson.api.RFencedLock;
import org.redisson.api.RLock;
import org.redisson.api.RMap;
import org.redisson.api.RedissonClient;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.Config;

/**
 * Redisson's locks, told what to do line by line: "thread verb key more...". Every thread that is named is one of its own,
 * as Redisson locks by thread, and answers "thread verb result" when it is done.
 */
public final class RedissonLocks {
    private final RedissonClient redisson;
    private final Map<String, ExecutorService> threads = new ConcurrentHashMap<>();

    private RedissonLocks(String url) {
        Config config = new Config();
        config.useSingleServer().setAddress(url).setConnectionMinimumIdleSize(2).setSubscriptionConnectionMinimumIdleSize(1);
        redisson = Redisson.create(config);
    }

    public static void main(String[] args) throws Exception {
        RedissonLocks locks = new RedissonLocks(args[0]);
        print("ready");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            locks.threads.computeIfAbsent(words[0], name -> Executors.newSingleThreadExecutor()).execute(() -> locks.answer(words));
        }
        Runtime.getRuntime().halt(0);
    }

    private static synchronized void print(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private void answer(String[] words) {
        String result;
        try {
            result = String.valueOf(carryOut(words));
        } catch (Exception error) {
            result = "failed: " + error;
        }
        print(words[0] + " " + words[1] + " " + result);
    }

    private Object carryOut(String[] words) throws InterruptedException {
        String key = words[2];
        RLock lock = redisson.getLock(key);
        RFencedLock fenced = redisson.getFencedLock(key);
        switch (words[1]) {
            case "lock":
                lock.lock();
                return "done";
            case "lease":
                lock.lock(Long.parseLong(words[3]), TimeUnit.MILLISECONDS);
                return "done";
            case "try":
                return lock.tryLock();
            case "fenced":
                return fenced.lockAndGetToken();
            case "try-fenced":
                // Without arguments it waits, for as long as it takes.
                return fenced.tryLockAndGetToken(0, TimeUnit.MILLISECONDS);
            case "unlock":
                lock.unlock();
                return "done";
            case "force":
                return lock.forceUnlock();
            case "count":
                return count(lock, key, words[3], Integer.parseInt(words[4]));
            case "count-fenced":
                return countFenced(fenced, words[3], Integer.parseInt(words[4]));
            default:
                throw new IllegalArgumentException(words[1]);
        }
    }

    /** Adds one at a time, by a read and a write that nothing but the lock protects. */
    private int count(RLock lock, String key, String counter, int total) {
        RMap<String, String> map = redisson.getMap(counter, StringCodec.INSTANCE);
        for (int mine = 0; ; mine++) {
            lock.lock();
            try {
                int value = Integer.parseInt(map.getOrDefault("value", "0"));
                if (value >= total) return mine;
                map.fastPut("value", String.valueOf(value + 1));
            } finally {
                lock.unlock();
            }
        }
    }

    private int countFenced(RFencedLock lock, String counter, int total) {
        RMap<String, String> map = redisson.getMap(counter, StringCodec.INSTANCE);
        for (int mine = 0; ; mine++) {
            long token = lock.lockAndGetToken();
            try {
                int value = Integer.parseInt(map.getOrDefault("value", "0"));
                long last = Long.parseLong(map.getOrDefault("token", "0"));
                if (token <= last) throw new IllegalStateException("token " + token + " after " + last);
                if (value >= total) return mine;
                map.fastPut("value", String.valueOf(value + 1));
                map.fastPut("token", String.valueOf(token));
            } finally {
                lock.unlock();
            }
        }
    }
}
