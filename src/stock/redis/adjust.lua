-- Changes a sale, one change after the other: opens it, adds or takes away unsold units, or ends it. Sent twice, it
-- changes things once.
--
-- KEYS[1]  stock     hash { epoch, total, available, held, sold, late }
-- KEYS[2]  orders    hash { order id = record }
-- KEYS[3]  buyers    hash { buyer id = units }
-- KEYS[4]  restocks  set of the ids of restocks that were applied
-- KEYS[5]  closed    lives for as long as some process may say sold out by itself; outlives the sale
-- ARGV[1]  kind      of all changes: 'open', 'restock' or 'remove'
-- ARGV[n]  id, quantity of each change. Id: the sale's epoch, or a restock's own id. Quantity: units; below 0 they are
--          taken away
-- returns  { outcome 'done' | 'refused' | 'not-open', available, ms until added units are on sale, … }, three per
--          change; or the error NOTASALE, and nothing was changed
local kind = ARGV[1]
local stock = redis.call('HMGET', KEYS[1], 'epoch', 'total', 'available', 'late', 'sold')
local epoch, total, available, late = stock[1], tonumber(stock[2]), tonumber(stock[3]) or 0, tonumber(stock[4])
local closedMs = math.max(0, redis.call('PTTL', KEYS[5]))

local whole = true
for i = 2, 5 do whole = whole and stock[i] and string.find(stock[i], '^%d+$') end
if epoch and not whole then return redis.error_reply('NOTASALE ' .. KEYS[1]) end
-- A sale begins with nothing. What is there without its counts (they may have been evicted) would make its ids sell
-- without counting, and its records cannot be thrown away unasked.
if not epoch then
  local names = kind == 'open' and { KEYS[1], KEYS[2], KEYS[3], KEYS[4] } or { KEYS[1] }
  for _, name in ipairs(names) do
    if redis.call('EXISTS', name) == 1 then return redis.error_reply('NOTASALE ' .. name) end
  end
end

local function open(id, quantity)
  if epoch then return epoch == id and 'done' or 'refused', available, closedMs end
  epoch, total, available, late = id, quantity, quantity, closedMs > 0 and quantity or 0
  redis.call('HSET', KEYS[1], 'epoch', id, 'total', quantity, 'available', quantity, 'held', 0, 'sold', 0,
    'late', late)
  return 'done', quantity, closedMs
end

local function restock(id, quantity)
  if not epoch then return 'not-open', 0, 0 end
  local waitMs = quantity > 0 and closedMs or 0
  if redis.call('SISMEMBER', KEYS[4], id) == 1 then return 'done', available, waitMs end
  if available + quantity < 0 or total + quantity > 9007199254740991 then return 'refused', available, 0 end
  total, available = total + quantity, available + quantity
  late = closedMs > 0 and math.min(math.max(0, late + quantity), available) or 0
  redis.call('SADD', KEYS[4], id)
  redis.call('HSET', KEYS[1], 'total', total, 'available', available, 'late', late)
  return 'done', available, waitMs
end

local function remove(id)
  if epoch ~= id then return 'done', available, 0 end
  redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
  epoch, available = false, 0
  return 'done', 0, 0
end

local change = ({ open = open, restock = restock, remove = remove })[kind]
local reply = {}
for i = 2, #ARGV, 2 do
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = change(ARGV[i], tonumber(ARGV[i + 1]))
  -- As text: clients round integers that are as large as they may be.
  reply[n + 2] = string.format('%.0f', reply[n + 2])
end
return reply
