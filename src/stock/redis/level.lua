-- Reads a sale, and on request lets the caller say sold out by itself for a while. Where Redis takes no writes at the
-- moment (it is full, or a replica) it still reads.
--
-- KEYS     stock, orders, buyers, holds, closed; see sale.lua
-- ARGV[1]  seen   what the caller knows the sale by, as `readSale` takes it
-- ARGV[2]  below  close if fewer units than this are left; 0 only reads
-- ARGV[3]  forMs  for how long
-- ARGV[4]  shards  over how many shards the SKU is spread
-- returns  { epoch, version, total, available, held, sold, recorded orders, for how many ms it is closed or 0, frozen or not
--          1|0 }, counts as text; of a shard behind them { late, moved, ready 1|0, last transfer to each shard 'number
--          units', number of the last from each shard }, see move.lua; or {} when it is not on sale; or the error NOTASALE or
--          SHARDS
local sale, fault = readSale(KEYS, 1, ARGV[1])
if fault then return redis.error_reply(fault) end
if not sale then return {} end
-- As in sell.lua: what the application knows to be sold needs no unit that is for sale to others.
if sale.frozen then sale.late = 0 end

local function isDone(...)
  local reply = redis.pcall(...)
  return not (type(reply) == 'table' and reply.err)
end

-- Units that came back wait for `closed` to end, so it is not prolonged while they do; then their count begins anew. Those
-- of ended holds do not wait, so nobody may say sold out for longer than the next hold lasts.
local function close(forMs)
  if sale.late > 0 then return false end
  if closedForMs(sale) >= forMs then return true end
  return isDone('HSET', sale.stockKey, 'late', 0) and isDone(closing(sale, forMs))
end

local grantedMs = 0
if sale.available < tonumber(ARGV[2]) and not sale.frozen then
  local nextEnd = redis.call('ZRANGEBYSCORE', sale.holdsKey, '(' .. text(math.floor(sale.nowMs)), '+inf', 'LIMIT', 0, 1)[1]
  local nextEndMs = nextEnd and tonumber(string.match(nextEnd, '^%d+ (%d+)$'))
  if nextEnd and not nextEndMs then return redis.error_reply('NOTASALE ' .. sale.holdsKey) end
  local untilEndMs = nextEnd and math.floor(nextEndMs - sale.nowMs) or never
  local forMs = math.min(tonumber(ARGV[3]), untilEndMs)
  if forMs > 0 and close(forMs) then grantedMs = forMs end
end
local reply = {
  sale.epoch, text(sale.version), text(sale.total), text(sale.available), text(sale.held), text(sale.sold),
  redis.call('HLEN', sale.ordersKey), grantedMs, sale.frozen and 1 or 0,
}
local shards = tonumber(ARGV[4])
if shards > 1 then
  local names = { 'moved', 'ready' }
  for i = 1, shards do
    names[i + 2], names[i + 2 + shards] = 'given:' .. i, 'got:' .. i
  end
  local found = redis.call('HMGET', sale.stockKey, unpack(names))
  local moves = { text(sale.late), found[1] or '0', found[2] or '0' }
  for i = 1, shards do
    moves[i + 3], moves[i + 3 + shards] = found[i + 2] or '0 0', found[i + 2 + shards] or '0'
  end
  reply[10] = moves
end
return reply
