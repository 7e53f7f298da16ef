/** What a user of Redis has to be allowed, as docs/guides/stock.md names it. */
export const stockCommands = [
  ...['evalsha', 'eval', 'exists', 'get', 'hdel', 'hget', 'hlen', 'hmget', 'hscan', 'hset', 'sadd', 'set', 'sismember'],
  ...['time', 'unlink', 'zadd', 'zrangebyscore', 'zremrangebyscore', 'info'],
]
