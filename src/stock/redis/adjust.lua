-- Changes a sale, one change after the other: opens it, adds or takes away unsold units, freezes it for whoever reconciles
-- it, or ends it. Sent twice, it changes things once.
--
-- KEYS     stock, orders, buyers, holds, closed: see sale.lua; restocks: set of the ids of restocks that were applied; of a
--          shard also placed: see sale.lua
-- ARGV[1]  seen      what the caller knows the sale by, as `readSale` takes it
-- ARGV[2]  kind      of all changes: 'open', 'restock', 'freeze', 'keep-frozen', 'thaw' or 'remove'
-- ARGV[3]  thaws     of a freeze of a shard: the highest number of thaws that a shard of the SKU has; else 0
-- ARGV[n]  id, quantity, milliseconds of each change. Id: the sale's epoch, a restock's own id, or the token of who
--          reconciles. Quantity: units; below 0 they are taken away; of a freeze, what to open with where nothing is on sale,
--          or 0. Milliseconds: how long a freeze is kept from others
-- returns  { { outcome 'done' | 'refused' | 'not-open', available as text, ms until added units are on sale (of a freeze:
--          until no process may say sold out by itself), … }, epoch, version }, three per change; or the error NOTASALE or
--          SHARDS, and nothing was changed
local stockKey, _, _, holdsKey, closedKey, restocksKey = unpack(KEYS)
local kind, thaws = ARGV[2], tonumber(ARGV[3])
local sale, fault = readSale(KEYS, 1, ARGV[1])
local parts = {}
for i, name in ipairs(KEYS) do
  if name ~= closedKey then parts[#parts + 1] = name end
end
-- A sale begins with nothing. What is there without its counts (they may have been evicted) would make its ids sell
-- without counting, and its records cannot be thrown away unasked.
if not sale and not fault and (kind == 'open' or kind == 'freeze') then
  for _, name in ipairs(parts) do
    if redis.call('EXISTS', name) == 1 then fault = 'NOTASALE ' .. name end
  end
end
if fault then return redis.error_reply(fault) end

local function open(id, quantity)
  if sale then return sale.epoch == id and 'done' or 'refused', sale.available, closedForMs(sale) end
  sale = {
    epoch = id, total = quantity, available = quantity, held = 0, sold = 0, late = 0, version = 0, seen = 0,
    ended = {}, changedEnds = {}, nowMs = nowMs,
    stockKey = stockKey, holdsKey = holdsKey, closedKey = closedKey,
  }
  if closedForMs(sale) > 0 then sale.late = quantity end
  redis.call('HSET', stockKey, 'epoch', id)
  local shards = string.match(ARGV[1], '^%d+')
  if shards ~= '1' then redis.call('HSET', stockKey, 'shards', shards) end
  writeStock(sale)
  return 'done', quantity, closedForMs(sale)
end

local function restock(id, quantity)
  if not sale then return 'not-open', 0, 0 end
  local waitMs = quantity > 0 and closedForMs(sale) or 0
  if redis.call('SISMEMBER', restocksKey, id) == 1 then return 'done', sale.available, waitMs end
  if sale.available + quantity < 0 or sale.total + quantity > 9007199254740991 then
    return 'refused', sale.available, 0
  end
  sale.total, sale.available = sale.total + quantity, sale.available + quantity
  local late = closedForMs(sale) > 0 and math.max(0, sale.late + quantity) or 0
  sale.late = math.min(late, sale.available)
  tryHolds(sale)
  redis.call('SADD', restocksKey, id)
  writeHolds(sale)
  writeStock(sale)
  sale.ended = {}
  return 'done', sale.available, waitMs
end

-- Versions begin anew in the next range of 2^32, above all that anybody has seen of a state that was lost.
local function beginVersions()
  local range = 2 ^ 32
  sale.version = (math.floor(math.max(sale.version, sale.seen, thaws * range) / range) + 1) * range
  redis.call('HSET', stockKey, 'version', sale.version)
end

-- Keeps everybody else from selling until the thaw, and everybody else from freezing for a while. Versions begin anew, so
-- that a loss during the reconciliation shows, and what others have seen of a state that was lost before does not stop it.
-- They need not where another's reconciliation has not ended: its versions are new, and no range is lost to each try.
local function freeze(token, quantity, forMs)
  if not sale then
    if quantity == 0 then return 'not-open', 0, 0 end
    open(token, quantity)
  end
  local by, lasts = leaseOf(sale.frozen)
  if by ~= token and lasts then return 'refused', sale.available, 0 end
  if not by or sale.frozen == nobody or sale.version < thaws * 2 ^ 32 then beginVersions() end
  sale.frozen = leaseFor(token, forMs)
  redis.call('HSET', stockKey, 'frozen', sale.frozen)
  return 'done', sale.available, closedForMs(sale)
end

local function keepFrozen(token, _, forMs)
  if not sale or leaseOf(sale.frozen) ~= token then return 'refused', 0, 0 end
  return freeze(token, 0, forMs)
end

local function thaw(token)
  if not sale then return 'not-open', 0, 0 end
  if isFrozenFor(sale, token) then return 'refused', sale.available, 0 end
  if sale.frozen then
    sale.frozen = false
    redis.call('HDEL', stockKey, 'frozen')
    beginVersions()
  end
  return 'done', sale.available, 0
end

local function remove(id)
  if not sale then return 'done', 0, 0 end
  if sale.epoch ~= id then return 'done', sale.available, 0 end
  redis.call('UNLINK', unpack(parts))
  sale = nil
  return 'done', 0, 0
end

local change = ({ open = open, restock = restock, freeze = freeze, thaw = thaw, remove = remove, ['keep-frozen'] = keepFrozen })[kind]
local reply = {}
for i = 4, #ARGV, 3 do
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = change(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
  -- As text: clients round integers that are as large as they may be.
  reply[n + 2] = text(reply[n + 2])
end
return { reply, sale and sale.epoch or '', sale and text(sale.version) or '' }
