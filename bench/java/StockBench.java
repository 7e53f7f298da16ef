import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.redisson.Redisson;
import org.redisson.api.RAtomicLong;
import org.redisson.api.RLock;
import org.redisson.api.RSemaphore;
import org.redisson.api.RPermitExpirableSemaphore;
import org.redisson.api.RedissonClient;
import org.redisson.client.codec.StringCodec;
import org.redisson.config.Config;

/**
 * Sells units of one stock for some seconds from some threads, and prints what came of it as JSON. Arguments: lock (lock,
 * read, decrement), semaphore (one script), or permit (a permit with a lease, then without an end); address, key, threads,
 * seconds. It says "ready", and begins when a line comes in.
 */
public final class StockBench {
  interface Seller {
    boolean sell() throws Exception;
  }

  public static void main(String[] args) throws Exception {
    int threads = Integer.parseInt(args[3]);
    double seconds = Double.parseDouble(args[4]);
    Config config = new Config();
    config.setCodec(StringCodec.INSTANCE).useSingleServer().setAddress(args[1]).setTimeout(30_000);
    RedissonClient redisson = Redisson.create(config);
    Seller seller = seller(redisson, args[0], args[2]);

    // Long enough for the compiler of the virtual machine to have done its work.
    rush(seller, threads, 2);
    System.out.println("ready");
    System.in.read();
    long started = System.nanoTime();
    long orders = rush(seller, threads, seconds);
    double perSecond = orders / ((System.nanoTime() - started) / 1e9);
    System.out.printf("{\"orders\":%d,\"perSecond\":%.1f}%n", orders, perSecond);
    redisson.getKeys().delete(args[2]);
    System.exit(0);
  }

  private static long rush(Seller seller, int threads, double seconds) throws Exception {
    long until = System.nanoTime() + (long) (seconds * 1e9);
    AtomicLong orders = new AtomicLong();
    Thread[] all = new Thread[threads];
    for (int i = 0; i < threads; i++) {
      all[i] = new Thread(() -> {
        try {
          while (System.nanoTime() < until) {
            if (!seller.sell()) throw new IllegalStateException("the bench is refused what it should get");
            orders.incrementAndGet();
          }
        } catch (Exception error) {
          error.printStackTrace();
          System.exit(1);
        }
      });
      all[i].start();
    }
    for (Thread thread : all) thread.join();
    return orders.get();
  }

  private static Seller seller(RedissonClient redisson, String way, String key) {
    if (way.equals("lock")) {
      RLock lock = redisson.getLock(key + ":lock");
      RAtomicLong count = redisson.getAtomicLong(key);
      count.set(1_000_000_000_000L);
      return () -> {
        lock.lock();
        try {
          if (count.get() < 1) return false;
          count.decrementAndGet();
          return true;
        } finally {
          lock.unlock();
        }
      };
    }
    if (way.equals("semaphore")) {
      RSemaphore units = redisson.getSemaphore(key);
      units.trySetPermits(Integer.MAX_VALUE);
      return units::tryAcquire;
    }
    RPermitExpirableSemaphore units = redisson.getPermitExpirableSemaphore(key);
    units.trySetPermits(Integer.MAX_VALUE);
    return () -> {
      String permit = units.tryAcquire(0, 60, TimeUnit.SECONDS);
      return permit != null && units.updateLeaseTime(permit, Integer.MAX_VALUE, TimeUnit.DAYS);
    };
  }
}
