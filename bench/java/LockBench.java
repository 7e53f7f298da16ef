import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/**
 * Takes and frees one lock for some seconds from some threads, and prints what came of it as JSON. Arguments: redisson or
 * curator, address, key ("own" gives each thread a key of its own), threads, seconds. It says "ready", and begins when a
 * line comes in.
 */
public final class LockBench {
  interface Held {
    void release() throws Exception;
  }

  interface Locker {
    Held acquire(String key) throws Exception;
  }

  public static void main(String[] args) throws Exception {
    String address = args[1];
    String key = args[2];
    int threads = Integer.parseInt(args[3]);
    long nanos = (long) (Double.parseDouble(args[4]) * 1e9);
    RedissonClient redisson = args[0].equals("redisson") ? redisson(address) : null;
    CuratorFramework curator = redisson == null ? curator(address) : null;
    Locker locker = redisson != null ? redissonLocker(redisson) : curatorLocker(curator);

    warmUp(locker, threads);
    System.out.println("ready");
    System.in.read();

    long until = System.nanoTime() + nanos;
    long[] counts = new long[threads];
    List<long[]> waits = new ArrayList<>();
    Thread[] all = new Thread[threads];
    for (int i = 0; i < threads; i++) {
      int place = i;
      all[i] = new Thread(() -> {
        long[] mine = new long[1 << 20];
        int n = 0;
        try {
          for (long now = System.nanoTime(); now < until; now = System.nanoTime()) {
            Held held = locker.acquire(key.equals("own") ? "own-" + place : key);
            mine[n++ % mine.length] = System.nanoTime() - now;
            held.release();
          }
        } catch (Exception error) {
          error.printStackTrace();
          System.exit(1);
        }
        counts[place] = n;
        synchronized (waits) {
          waits.add(Arrays.copyOf(mine, Math.min(n, mine.length)));
        }
      });
    }
    long started = System.nanoTime();
    for (Thread thread : all) thread.start();
    for (Thread thread : all) thread.join();
    double seconds = (System.nanoTime() - started) / 1e9;
    long[] sorted = waits.stream().flatMapToLong(Arrays::stream).sorted().toArray();
    double p99 = sorted.length == 0 ? 0 : sorted[(int) (sorted.length * 0.99)] / 1e6;
    System.out.printf(
        "{\"perSecond\":%.1f,\"most\":%d,\"fewest\":%d,\"p99Ms\":%.3f}%n",
        Arrays.stream(counts).sum() / seconds,
        Arrays.stream(counts).max().getAsLong(),
        Arrays.stream(counts).min().getAsLong(),
        p99);
    if (redisson != null) redisson.shutdown(0, 1, TimeUnit.SECONDS);
    if (curator != null) curator.close();
    System.exit(0);
  }

  /** Long enough for the compiler of the virtual machine to have done its work. */
  private static void warmUp(Locker locker, int threads) throws Exception {
    long until = System.nanoTime() + 2_000_000_000L;
    while (System.nanoTime() < until) locker.acquire("warm-up-" + ProcessHandle.current().pid()).release();
  }

  private static RedissonClient redisson(String address) {
    Config config = new Config();
    config.useSingleServer().setAddress(address);
    return Redisson.create(config);
  }

  private static Locker redissonLocker(RedissonClient redisson) {
    return key -> {
      RLock lock = redisson.getLock(key);
      lock.lock();
      return lock::unlock;
    };
  }

  private static CuratorFramework curator(String address) {
    CuratorFramework curator =
        CuratorFrameworkFactory.newClient(address, 10_000, 5_000, new ExponentialBackoffRetry(100, 3));
    curator.start();
    return curator;
  }

  private static Locker curatorLocker(CuratorFramework curator) {
    return key -> {
      InterProcessMutex mutex = new InterProcessMutex(curator, "/bench/" + key);
      mutex.acquire();
      return mutex::release;
    };
  }
}
