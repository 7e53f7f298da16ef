-- Changes a sale: opens it, adds or takes away unsold units, or ends it. Sent twice, it changes things once.
--
-- KEYS[1]  stock     hash { epoch, total, available, held, leased, sold, late }
-- KEYS[2]  orders    hash { order id = record }
-- KEYS[3]  buyers    hash { buyer id = units }
-- KEYS[4]  restocks  set of the ids of restocks that were applied
-- KEYS[5]  closed    lives for as long as some process may say sold out by itself; outlives the sale
-- ARGV[1]  kind      'open', 'restock' or 'remove'
-- ARGV[2]  id        open and remove: the sale's epoch; restock: its own id
-- ARGV[3]  quantity  units; below 0 they are taken away
-- returns  { outcome 'done' | 'refused' | 'not-open', available, ms until added units are on sale }
local kind, id, quantity = ARGV[1], ARGV[2], tonumber(ARGV[3])
local stock = redis.call('HMGET', KEYS[1], 'epoch', 'total', 'available', 'late')
local epoch, available = stock[1], tonumber(stock[3]) or 0
local closedMs = math.max(0, redis.call('PTTL', KEYS[5]))

if kind == 'remove' then
  if epoch ~= id then return { 'done', available, 0 } end
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  return { 'done', 0, 0 }
end

if kind == 'open' then
  if epoch then return { epoch == id and 'done' or 'refused', available, closedMs } end
  redis.call('HSET', KEYS[1], 'epoch', id, 'total', quantity, 'available', quantity, 'held', 0, 'leased', 0, 'sold', 0,
    'late', closedMs > 0 and quantity or 0)
  return { 'done', quantity, closedMs }
end

if not epoch then return { 'not-open', 0, 0 } end
local waitMs = quantity > 0 and closedMs or 0
if redis.call('SISMEMBER', KEYS[4], id) == 1 then return { 'done', available, waitMs } end
local total = tonumber(stock[2]) + quantity
available = available + quantity
if available < 0 or total > 9007199254740991 then return { 'refused', available - quantity, 0 } end
local late = 0
if closedMs > 0 then late = math.min(math.max(0, tonumber(stock[4]) + quantity), available) end
redis.call('SADD', KEYS[4], id)
redis.call('HSET', KEYS[1], 'total', total, 'available', available, 'late', late)
return { 'done', available, waitMs }
