-- Reads a sale, and on request lets the caller say sold out by itself for a while.
--
-- KEYS[1]  stock   hash { epoch, total, available, held, leased, sold, late }
-- KEYS[2]  orders  hash { order id = record }
-- KEYS[3]  closed  lives for as long as some process may say sold out by itself
-- ARGV[1]  below   close if fewer units than this are left; 0 only reads
-- ARGV[2]  forMs   for how long
-- returns  { epoch, total, available, held, leased, sold, recorded orders, closed 0|1 }, or {} when it is not on sale
local stock = redis.call('HMGET', KEYS[1], 'epoch', 'total', 'available', 'held', 'leased', 'sold', 'late')
if not stock[1] then return {} end
local closed = 0
if tonumber(stock[3]) < tonumber(ARGV[1]) then
  local leftMs = redis.call('PTTL', KEYS[3])
  -- Units that came back wait for this key to go, so it is not prolonged while they do.
  if leftMs <= 0 and stock[7] ~= '0' then
    redis.call('HSET', KEYS[1], 'late', 0)
    stock[7] = '0'
  end
  if stock[7] == '0' then
    closed = 1
    if leftMs < tonumber(ARGV[2]) then redis.call('SET', KEYS[3], 1, 'PX', ARGV[2]) end
  end
end
stock[7] = redis.call('HLEN', KEYS[2])
stock[8] = closed
return stock
