-- Reads a sale, and on request lets the caller say sold out by itself for a while. Where Redis takes no writes at the
-- moment (it is full, or a replica) it still reads.
--
-- KEYS[1]  stock   hash { epoch, total, available, held, sold, late }
-- KEYS[2]  orders  hash { order id = record }
-- KEYS[3]  closed  lives for as long as some process may say sold out by itself
-- ARGV[1]  below   close if fewer units than this are left; 0 only reads
-- ARGV[2]  forMs   for how long
-- returns  { epoch, total, available, held, sold, recorded orders, closed 0|1 }, or {} when it is not on sale;
--          or the error NOTASALE
local stock = redis.call('HMGET', KEYS[1], 'epoch', 'total', 'available', 'held', 'sold', 'late')
local present, whole = false, true
for i = 1, 6 do
  present = present or stock[i]
  whole = whole and stock[i] and (i == 1 or string.find(stock[i], '^%d+$'))
end
if not present and redis.call('EXISTS', KEYS[1]) == 0 then return {} end
if not whole then return redis.error_reply('NOTASALE ' .. KEYS[1]) end
local recorded = redis.call('HLEN', KEYS[2])

local function isDone(...)
  local reply = redis.pcall(...)
  return not (type(reply) == 'table' and reply.err)
end

local closed = 0
if tonumber(stock[3]) < tonumber(ARGV[1]) then
  local leftMs = redis.call('PTTL', KEYS[3])
  local noneLate = stock[6] == '0'
  -- Units that came back wait for this key to go, so it is not prolonged while they do.
  if not noneLate and leftMs <= 0 then noneLate = isDone('HSET', KEYS[1], 'late', 0) end
  if noneLate and (leftMs >= tonumber(ARGV[2]) or isDone('SET', KEYS[3], 1, 'PX', ARGV[2])) then closed = 1 end
end
stock[6] = recorded
stock[7] = closed
return stock
