import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.retry.ExponentialBackoffRetry;

/**
 * Locks with Curator as it is told by lines of "thread lock verb argument", and answers each with "thread word". Locks are
 * mutex, read and write; a thread does one thing at a time; "end" ends it. Arguments: address, path of the mutex, path of
 * the read-write lock.
 */
public final class CuratorLock {
  private static final Map<String, ExecutorService> threads = new HashMap<>();
  private static final Map<String, InterProcessLock> locks = new HashMap<>();

  public static void main(String[] args) throws Exception {
    CuratorFramework client =
        CuratorFrameworkFactory.newClient(args[0], 10_000, 10_000, new ExponentialBackoffRetry(100, 5));
    client.start();
    client.blockUntilConnected();
    InterProcessReadWriteLock shared = new InterProcessReadWriteLock(client, args[2]);
    locks.put("mutex", new InterProcessMutex(client, args[1]));
    locks.put("read", shared.readLock());
    locks.put("write", shared.writeLock());
    System.out.println("ready");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); !line.equals("end"); line = lines.readLine()) {
      String[] words = line.split(" ");
      threads.computeIfAbsent(words[0], name -> Executors.newSingleThreadExecutor()).execute(() -> obey(words));
    }
    client.close();
    System.exit(0);
  }

  private static void obey(String[] words) {
    try {
      System.out.println(words[0] + " " + answer(words));
    } catch (Exception error) {
      System.out.println(words[0] + " failed: " + error);
    }
  }

  private static String answer(String[] words) throws Exception {
    InterProcessLock lock = locks.get(words[1]);
    switch (words[2]) {
      case "acquire":
        lock.acquire();
        return "acquired";
      case "try":
        return lock.acquire(Long.parseLong(words[3]), TimeUnit.MILLISECONDS) ? "acquired" : "refused";
      case "release":
        lock.release();
        return "released";
      case "count":
        for (int i = Integer.parseInt(words[3]); i > 0; i--) count(lock, Path.of(words[4]));
        return "counted";
      default:
        throw new IllegalArgumentException(words[2]);
    }
  }

  /** Reads, lets others run, writes: exact only if nobody else does so at the same time. */
  private static void count(InterProcessLock lock, Path file) throws Exception {
    lock.acquire();
    try {
      int seen = Integer.parseInt(Files.readString(file));
      Thread.yield();
      Files.writeString(file, Integer.toString(seen + 1));
    } finally {
      lock.release();
    }
  }
}
