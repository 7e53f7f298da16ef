-- Decides orders of one SKU, one after the other. An id that is recorded sells nothing more, so it is safe to send twice.
--
-- KEYS[1]  stock       hash { available, sold, late, … }
-- KEYS[2]  orders      hash { order id = record }: state, quantity, and the buyer if one was named: 's1', 's2 ann'
-- KEYS[3]  buyers      hash { buyer id = units }
-- KEYS[4]  closed      lives for as long as some process may say sold out by itself
-- ARGV[1]  ids         JSON array of order ids, at most 1,000
-- ARGV[2]  quantities  JSON array, or '' when every order is for one unit
-- ARGV[3]  buyers      JSON array of buyer ids, '' for none; or '' when no order names one
-- ARGV[4]  limits      JSON array of units per buyer; or ''
-- returns  { units for sale before the first order as text, one letter per order }, or {} when it is not on sale; or the
--          error NOTASALE, and nothing was sold
--          o sold, r sold before, s sold out, b buyer's limit, q known with another quantity, y known with another
--          buyer, x what is stored for the order or its buyer was not written here
local stock = redis.call('HMGET', KEYS[1], 'available', 'sold', 'late', 'epoch')
if not (stock[1] or stock[4]) and redis.call('EXISTS', KEYS[1]) == 0 then return {} end
for i = 1, 3 do
  if not (stock[4] and stock[i] and string.find(stock[i], '^%d+$')) then
    return redis.error_reply('NOTASALE ' .. KEYS[1])
  end
end
local ids = cjson.decode(ARGV[1])
local quantities = ARGV[2] ~= '' and cjson.decode(ARGV[2])
local buyers = ARGV[3] ~= '' and cjson.decode(ARGV[3])
local limits = buyers and cjson.decode(ARGV[4])
local records = redis.call('HMGET', KEYS[2], unpack(ids))

local late = 0
if stock[3] ~= '0' and redis.call('EXISTS', KEYS[4]) == 1 then late = tonumber(stock[3]) end
local first = tonumber(stock[1]) - late
local left = first

local bought = {}
if buyers then
  local units = redis.call('HMGET', KEYS[3], unpack(buyers))
  -- false where it is no number
  for i = 1, #buyers do bought[buyers[i]] = string.find(units[i] or '0', '^%d+$') and tonumber(units[i] or 0) end
end

local function recorded(record, quantity, buyer)
  local units, by = string.match(record, '^s(%d+)(.*)$')
  if not units or not (by == '' or string.find(by, '^ .')) then return 'x' end
  by = string.sub(by, 2)
  if tonumber(units) ~= quantity then return 'q' end
  if by ~= '' and buyer ~= '' and by ~= buyer then return 'y' end
  return 'r'
end

local outcomes, made, new, sums = {}, {}, {}, {}
for i = 1, #ids do
  local id = ids[i]
  local quantity = quantities and quantities[i] or 1
  local buyer = buyers and buyers[i] or ''
  local record = records[i] or made[id]
  if record then
    outcomes[i] = recorded(record, quantity, buyer)
  elseif quantity > left then
    outcomes[i] = 's'
  elseif buyer ~= '' and not bought[buyer] then
    outcomes[i] = 'x'
  elseif buyer ~= '' and bought[buyer] + quantity > limits[i] then
    outcomes[i] = 'b'
  else
    outcomes[i] = 'o'
    left = left - quantity
    record = quantity == 1 and 's1' or string.format('s%.0f', quantity)
    if buyer ~= '' then
      record = record .. ' ' .. buyer
      bought[buyer] = bought[buyer] + quantity
      sums[buyer] = bought[buyer]
    end
    made[id] = record
    new[#new + 1] = id
    new[#new + 1] = record
  end
end

if left < first then
  redis.call('HSET', KEYS[2], unpack(new))
  redis.call('HSET', KEYS[1], 'available', left + late, 'sold', tonumber(stock[2]) + first - left)
end
if next(sums) then
  local pairs_ = {}
  for buyer, units in pairs(sums) do
    pairs_[#pairs_ + 1] = buyer
    pairs_[#pairs_ + 1] = units
  end
  redis.call('HSET', KEYS[3], unpack(pairs_))
end
return { string.format('%.0f', first), table.concat(outcomes) }
