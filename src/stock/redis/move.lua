-- Moves units of a SKU between its shards, and does what else only shards need. A transfer is taken from the giving shard,
-- then added to the receiving one, then noted as received by the giving one; each step applies once however often it is
-- sent, and whoever finds a transfer under way can finish it. Between two shards one transfer in each direction is under
-- way at a time, and they are numbered, so the receiving shard needs to know its last one alone.
--
-- In `stock` of sale.lua a shard has, besides the rest:
-- given:n    'number units' of the last transfer to shard n, counted from 1; no units once they are received
-- got:n      number of the last transfer from shard n
-- moved      units received less units given, of the first shard: total - moved was opened and restocked in all
-- ready      1, of the first shard: all shards are there. One that is missing then was lost
-- collector  a lease, of the first shard: who collects units, so that two do not take them from each other for ever
--
-- KEYS     stock, orders, buyers, holds, closed; see sale.lua
-- KEYS[6]  placed; see sale.lua
-- ARGV[1]  seen   what the caller knows the sale by, as `readSale` takes it
-- ARGV[2]  epoch  of the sale; nothing is done to another
-- ARGV[3]  step   'give' to shard n up to some units, as the holder of a token or '', with a number above that of the last
--                 transfer that n knows: returns number and units of the transfer that is under way now
--                 'receive' from shard n: number and units; 'received' by shard n: number
--                 'collect' as the holder of a token, for so many ms; 0 ends it: returns 1, or 0 while another collects
--                 'ready'
--                 'correct' the total, while `moved` is as given, by so many units, as the holder of a token
--                 'adopt' another epoch
--                 'forget' orders that were placed and then refused: id, place, id, place, …
-- ARGV[n]  of the step
-- returns  { epoch, version, what the step returns }, numbers as text; epoch '' where that sale is not here; or the error
--          NOTASALE, SHARDS or FROZEN, and nothing was changed
local sale, fault = readSale(KEYS, 1, ARGV[1])
if fault then return redis.error_reply(fault) end
if not sale or sale.epoch ~= ARGV[2] then return { '', '0' } end

local function set(field, value)
  redis.call('HSET', sale.stockKey, field, value)
end

local function add(units)
  tryHolds(sale)
  sale.total, sale.available = sale.total + units, sale.available + units
  sale.late = math.min(sale.late, sale.available)
  set('moved', text(tonumber(redis.call('HGET', sale.stockKey, 'moved') or '0') + units))
  writeHolds(sale)
  writeStock(sale)
end

local function transferTo(shard)
  local number, units = string.match(redis.call('HGET', sale.stockKey, 'given:' .. shard) or '0 0', '^(%d+) (%d+)$')
  return tonumber(number), tonumber(units)
end

local steps = {}

function steps.give(shard, most, token, above)
  if isFrozenFor(sale, token) then return redis.error_reply('FROZEN ' .. sale.stockKey) end
  local number, units = transferTo(shard)
  if units > 0 then return number, units end
  if sale.frozen then sale.late = 0 end
  units = math.min(tonumber(most), left(sale))
  if units <= 0 then return number, 0 end
  number = math.max(number, tonumber(above)) + 1
  add(-units)
  set('given:' .. shard, text(number) .. ' ' .. text(units))
  return number, units
end

function steps.receive(shard, number, units)
  local last = tonumber(redis.call('HGET', sale.stockKey, 'got:' .. shard) or '0')
  if tonumber(number) <= last then return end
  add(tonumber(units))
  set('got:' .. shard, number)
end

function steps.received(shard, number)
  local given, units = transferTo(shard)
  if units > 0 and given == tonumber(number) then set('given:' .. shard, number .. ' 0') end
end

function steps.collect(token, forMs)
  local by, lasts = leaseOf(redis.call('HGET', sale.stockKey, 'collector'))
  if by ~= token and lasts then return 0 end
  set('collector', leaseFor(token, tonumber(forMs)))
  return 1
end

function steps.ready()
  set('ready', 1)
end

function steps.correct(moved, units, token)
  if isFrozenFor(sale, token) then return redis.error_reply('FROZEN ' .. sale.stockKey) end
  if moved ~= (redis.call('HGET', sale.stockKey, 'moved') or '0') then return end
  add(math.max(tonumber(units), -sale.available))
end

function steps.adopt(epoch)
  set('epoch', epoch)
end

function steps.forget(...)
  local given = { ... }
  for i = 1, #given, 2 do
    if redis.call('HGET', KEYS[6], given[i]) == given[i + 1] then redis.call('HDEL', KEYS[6], given[i]) end
  end
end

local one, other = steps[ARGV[3]](unpack(ARGV, 4))
if type(one) == 'table' then return one end
return { sale.epoch, text(sale.version), one and text(one) or '0', other and text(other) or '0' }
