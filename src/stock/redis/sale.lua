-- What the scripts of a sale have in common; it stands before each of them. It reads a sale, with the units of ended holds
-- on sale again, and writes it back if an order changed it. Where nothing changes nothing is written, so that what needs no
-- write is answered where Redis takes none.
--
-- stock   hash { epoch, total, available, held, sold, late, version, frozen, ended, shards, … }. late: units that came back, not on
--         sale until `closed` ends. version: grows with every change, so an older state shows. frozen: a lease of whoever
--         reconciles the sale, also when it has ended; else missing. ended: holds that ended by then
--         are no longer counted; missing before the first did. shards: over how many the SKU is spread, missing for 1; each
--         shard is a sale with keys of its own. What more it has then: move.lua
-- orders  hash { order id = record }: 's2 ann' 2 sold to ann, 'h1 1700000000000' 1 held until then for nobody by name;
--         'c' cancelled, 'r' refunded
-- buyers  hash { buyer id = units bought, and units held until when }: '3', '1 2@1700000000000'
-- holds   sorted set, one member for each moment at which holds end: 'units end' = end. So as many holds as end together
--         cost one step when they do, and none of their records is touched.
-- closed  'until forMs': until when some process may say sold out by itself, in microseconds, and how long that was when it
--         was granted; outlives the sale
-- placed  of a shard, hash { order id = 'shard version' }: orders that belong here by their id, and are recorded in the
--         shard where their buyer is counted. The shard is a letter, 'A' for the first; version: see sell.lua
--
-- A lease is 'token until forMs'. All other moments are milliseconds of the server's clock; those that are stored are whole.
--
-- returns nothing; the script behind it does
local time = redis.call('TIME')
local nowUs = time[1] * 1000000 + time[2]
local nowMs = nowUs / 1000

local function text(number)
  return string.format('%.0f', number)
end

-- When a hold of that length ends, by the time of its sale. Holds of 2,048 ms and more end together with those near them,
-- at most a thousandth later, so that a SKU has few such moments.
local never = 9007199254740991
local function endOf(sale, holdMs)
  local found = sale.ends[holdMs]
  if not found then
    local _, exponent = math.frexp(holdMs)
    local grainMs = 2 ^ math.max(0, exponent - 11)
    local endMs = math.min(never, math.ceil((sale.nowMs + holdMs) / grainMs) * grainMs)
    found = { ms = endMs, text = ' ' .. text(endMs) }
    sale.ends[holdMs] = found
  end
  return found
end

-- The SET that lets some process say sold out by itself for so long.
local function closing(sale, forMs)
  return 'SET', sale.closedKey, text(nowUs + forMs * 1000) .. ' ' .. text(forMs), 'PX', forMs
end

-- Until when some process may say sold out by itself, as milliseconds from now. Where more seems to be left than was granted,
-- the server's clock was set back.
local function closedForMs(sale)
  if not sale.closedMs then
    local untilUs, grantedMs = string.match(redis.call('GET', sale.closedKey) or '', '^(%d+) (%d+)$')
    local leftMs = untilUs and math.ceil(math.max(0, untilUs - nowUs) / 1000) or 0
    sale.closedMs = math.min(leftMs, tonumber(grantedMs) or 0)
    if sale.closedMs < leftMs then redis.pcall(closing(sale, sale.closedMs)) end
  end
  return sale.closedMs
end

-- Who has a lease, and whether it lasts. One with far more left than it was given is over: the server's clock was set back.
local function leaseOf(lease)
  local token, untilMs, forMs = string.match(lease or '', '^(%S+) (%d+) ?(%d*)$')
  local leftMs = token and untilMs - nowMs
  return token, token and leftMs > 0 and leftMs <= 2 * (tonumber(forMs) or 0)
end

local function leaseFor(token, forMs)
  return token .. ' ' .. text(math.floor(nowMs + forMs)) .. ' ' .. text(forMs)
end

-- keys: of stock, orders, buyers, holds and closed. seen: 'shards epoch version' that the caller knows the sale by, or
-- 'shards'. A sale that is older than that lost changes in a failover: it is frozen, also for whoever reconciles it, who
-- may have recorded some of what was lost. Returns nil and, where something else is stored, the error to answer: NOTASALE
-- and its key, or SHARDS, how many there are, and the key of the sale.
local nobody = 'nobody 0'
local function readSale(keys, first, seen)
  local stockKey, ordersKey, buyersKey, holdsKey, closedKey = unpack(keys, first, first + 4)
  local stock = redis.call('HMGET', stockKey, 'epoch', 'total', 'available', 'held', 'sold', 'late', 'version', 'frozen',
    'ended', 'shards')
  local present, whole = stock[1], stock[1]
  for i = 2, 6 do
    present = present or stock[i]
    whole = whole and stock[i] and string.find(stock[i], '^%d+$')
  end
  if not present and redis.call('EXISTS', stockKey) == 0 then return nil end
  if not whole then return nil, 'NOTASALE ' .. stockKey end
  local shards, epoch, version = string.match(seen, '^(%d+) ?(%S*) ?(%d*)$')
  if (stock[10] or '1') ~= shards then return nil, 'SHARDS ' .. (stock[10] or '1') .. ' ' .. stockKey end
  local sale = {
    stockKey = stockKey, ordersKey = ordersKey, buyersKey = buyersKey, holdsKey = holdsKey, closedKey = closedKey,
    epoch = stock[1], total = tonumber(stock[2]), available = tonumber(stock[3]), held = tonumber(stock[4]),
    sold = tonumber(stock[5]), late = tonumber(stock[6]), version = tonumber(stock[7]) or 0, frozen = stock[8],
    records = {}, newRecords = {}, buyerTexts = {}, buyers = {}, changedBuyers = {}, changedEnds = {}, ends = {},
    -- The server's clock may have been set back, or be another's since a failover. No hold that has ended begins again.
    nowMs = math.max(nowMs, tonumber(stock[9]) or 0),
  }
  sale.ended = redis.call('ZRANGEBYSCORE', holdsKey, '-inf', sale.nowMs)
  for _, member in ipairs(sale.ended) do
    local units = tonumber(string.match(member, '^(%d+) %d+$'))
    if not units then return nil, 'NOTASALE ' .. holdsKey end
    sale.held, sale.available = sale.held - units, sale.available + units
  end
  -- A part may have been evicted: without its orders ids would sell again, without its holds units would never come back.
  if sale.sold + sale.held > 0 and redis.call('EXISTS', ordersKey) == 0 then
    return nil, 'NOTASALE ' .. ordersKey
  end
  if sale.held < 0 or sale.held > 0 and redis.call('EXISTS', holdsKey) == 0 then
    return nil, 'NOTASALE ' .. holdsKey
  end
  if sale.late > 0 and closedForMs(sale) == 0 then sale.late = 0 end
  sale.seen = epoch == sale.epoch and tonumber(version) or 0
  if sale.version < sale.seen and sale.frozen ~= nobody then
    sale.frozen = nobody
    redis.pcall('HSET', stockKey, 'frozen', sale.frozen)
  end
  return sale
end

-- Whether somebody else is to reconcile the sale.
local function isFrozenFor(sale, token)
  return sale.frozen and leaseOf(sale.frozen) ~= token
end

-- Units that can be sold now.
local function left(sale)
  return sale.available - sale.late
end

local function readRecords(sale, ids)
  local records = redis.call('HMGET', sale.ordersKey, unpack(ids))
  for i = 1, #ids do
    if records[i] then sale.records[ids[i]] = records[i] end
  end
end

local function readBuyers(sale, names)
  local found = redis.call('HMGET', sale.buyersKey, unpack(names))
  for i = 1, #names do sale.buyerTexts[names[i]] = found[i] or '0' end
end

-- What a buyer has: the units bought, or a table of those, the units held until when, and their sum; nil where what is
-- stored was not written here.
local function buyerOf(sale, name)
  local buyer = sale.buyers[name]
  if buyer then return buyer end
  local found = sale.buyerTexts[name]
  if string.find(found, '^%d+$') then
    buyer = tonumber(found)
  else
    local units, held = string.match(found, '^(%d+)(.*)$')
    if not units then return nil end
    buyer = { bought = tonumber(units), sum = tonumber(units), holds = {} }
    local rest = string.gsub(held, ' (%d+)@(%d+)', function(count, endMs)
      count, endMs = tonumber(count), tonumber(endMs)
      if endMs > sale.nowMs then
        buyer.holds[endMs] = count
        buyer.sum = buyer.sum + count
      end
      return ''
    end)
    if rest ~= '' then return nil end
  end
  sale.buyers[name] = buyer
  return buyer
end

local function unitsOf(buyer)
  return type(buyer) == 'number' and buyer or buyer.sum
end

-- State, units, buyer and end of a record. State: 's' sold, 'h' held, 'e' expired, 'c' cancelled, 'r' refunded, 'x' not
-- written here.
local function parsed(sale, record)
  if record == 's1' then return 's', 1, '' end
  if record == 'c' or record == 'r' then return record end
  local state, units, endMs, rest = 'h', string.match(record, '^h(%d+) (%d+)(.*)$')
  if not units then
    state = 's'
    units, rest = string.match(record, '^s(%d+)(.*)$')
  end
  if not units or not (rest == '' or string.find(rest, '^ .')) then return 'x' end
  endMs = tonumber(endMs)
  if endMs and endMs <= sale.nowMs then
    sale.metEnd = true
    return 'e'
  end
  return state, tonumber(units), string.sub(rest, 2), endMs
end

-- What is to be done with an order: 'o' take it, 'r' known already; 's' sold out, 'b' buyer's limit, 'p' spent; 'q' known
-- with another quantity, 'y' with another buyer, 'd' sold and not held, 'h' held and not sold; 'x' what is stored for it or
-- its buyer was not written here. Records and buyers have been read. buyer: '' for none; holdMs: 0 to sell.
local function decide(sale, id, quantity, buyer, limit, holdMs)
  local record = sale.records[id]
  if record then
    local state, units, by = parsed(sale, record)
    if state == 'x' then return 'x' end
    if state ~= 's' and state ~= 'h' then return 'p' end
    if state == 's' and holdMs > 0 then return 'd' end
    if state == 'h' and holdMs == 0 then return 'h' end
    if units ~= quantity then return 'q' end
    return by ~= '' and buyer ~= '' and by ~= buyer and 'y' or 'r'
  end
  if quantity > sale.available - sale.late then return 's' end
  if buyer == '' then return 'o' end
  local has = buyerOf(sale, buyer)
  if not has then return 'x' end
  return unitsOf(has) + quantity > limit and 'b' or 'o'
end

local function writeRecord(sale, id, record)
  sale.records[id] = record
  local new = sale.newRecords
  local n = #new
  new[n + 1], new[n + 2] = id, record
end

-- Adds units to what a buyer holds until endMs, or bought if that is nil. Below 0 they are given back.
local function addToBuyer(sale, name, units, endMs)
  local buyer = sale.buyers[name]
  if type(buyer) == 'number' then
    if not endMs then
      buyer = buyer + units
      sale.buyers[name], sale.changedBuyers[name] = buyer, buyer
      return
    end
    buyer = { bought = buyer, sum = buyer, holds = {} }
    sale.buyers[name] = buyer
  end
  buyer.sum = buyer.sum + units
  if endMs then
    buyer.holds[endMs] = (buyer.holds[endMs] or 0) + units
  else
    buyer.bought = buyer.bought + units
  end
  sale.changedBuyers[name] = buyer
end

local function addToHolds(sale, units, endMs)
  sale.held = sale.held + units
  sale.changedEnds[endMs] = (sale.changedEnds[endMs] or 0) + units
end

-- Sells or holds what an order wants.
local function take(sale, id, quantity, buyer, holdMs)
  local record, endMs
  if holdMs > 0 then
    local holdEnd = endOf(sale, holdMs)
    endMs = holdEnd.ms
    record = (quantity == 1 and 'h1' or 'h' .. text(quantity)) .. holdEnd.text
    addToHolds(sale, quantity, endMs)
  else
    record = quantity == 1 and 's1' or 's' .. text(quantity)
    sale.sold = sale.sold + quantity
  end
  sale.available = sale.available - quantity
  if buyer ~= '' then
    record = record .. ' ' .. buyer
    addToBuyer(sale, buyer, quantity, endMs)
  end
  writeRecord(sale, id, record)
end

-- Changes nothing, and stops the script where the user may not do all that `writeHolds` is about to do.
local function tryHolds(sale)
  local adds = next(sale.changedEnds)
  if adds then redis.call('ZADD', sale.holdsKey, 'XX', 0, '') end
  if adds or #sale.ended > 0 then redis.call('ZREMRANGEBYSCORE', sale.holdsKey, 1, 0) end
end

local function writeHolds(sale)
  if #sale.ended > 0 then redis.call('ZREMRANGEBYSCORE', sale.holdsKey, '-inf', sale.nowMs) end
  for endMs, units in pairs(sale.changedEnds) do
    local at = text(endMs)
    local member = redis.call('ZRANGEBYSCORE', sale.holdsKey, at, at)[1]
    if member then
      units = units + tonumber(string.match(member, '^%d+'))
      redis.call('ZREMRANGEBYSCORE', sale.holdsKey, at, at)
    end
    if units > 0 then redis.call('ZADD', sale.holdsKey, at, text(units) .. ' ' .. at) end
  end
end

-- A buyer as it is stored; 0 where nothing is left.
local function packedBuyer(buyer)
  if type(buyer) == 'number' then return buyer end
  local held = ''
  for endMs, units in pairs(buyer.holds) do
    if units > 0 then held = held .. ' ' .. text(units) .. '@' .. text(endMs) end
  end
  return held == '' and buyer.bought or text(buyer.bought) .. held
end

-- The names and values of buyers to write, and the names of those who have nothing any more.
local function changesOfBuyers(sale)
  local changed, gone = {}, {}
  for name, buyer in pairs(sale.changedBuyers) do
    local value = packedBuyer(buyer)
    if value == 0 then
      gone[#gone + 1] = name
    else
      local n = #changed
      changed[n + 1], changed[n + 2] = name, value
    end
  end
  return changed, gone
end

local function writeStock(sale)
  sale.version = sale.version + 1
  redis.call('HSET', sale.stockKey, 'total', sale.total, 'available', sale.available, 'held', sale.held,
    'sold', sale.sold, 'late', sale.late, 'version', sale.version)
  if #sale.ended > 0 then redis.call('HSET', sale.stockKey, 'ended', math.floor(sale.nowMs)) end
end

-- Writes what has changed. HSET, which nobody can do without, comes last, and HDEL first: where the user lacks a right,
-- the script has then stopped before it wrote anything. places: ids and places to write to `placed`, or nil.
local function writeSale(sale, placedKey, places)
  local placed = places and #places > 0
  if #sale.newRecords == 0 and not placed then
    -- Whose hold has ended may have been told so. That stays true where the clock is set back.
    if sale.metEnd and #sale.ended > 0 then redis.pcall('HSET', sale.stockKey, 'ended', math.floor(sale.nowMs)) end
    return
  end
  local changed, gone = changesOfBuyers(sale)
  tryHolds(sale)
  if #gone > 0 then redis.call('HDEL', sale.buyersKey, unpack(gone)) end
  writeHolds(sale)
  if #changed > 0 then redis.call('HSET', sale.buyersKey, unpack(changed)) end
  if placed then redis.call('HSET', placedKey, unpack(places)) end
  if #sale.newRecords > 0 then redis.call('HSET', sale.ordersKey, unpack(sale.newRecords)) end
  writeStock(sale)
end
