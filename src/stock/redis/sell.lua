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
-- returns  { units for sale before the first order, one letter per order }, or {} when the SKU is not on sale
--          o sold, r sold before, s sold out, b buyer's limit, q known with another quantity, y known with another buyer
local stock = redis.call('HMGET', KEYS[1], 'available', 'sold', 'late')
if not stock[1] then return {} end
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
  for i = 1, #buyers do bought[buyers[i]] = tonumber(units[i] or 0) end
end

local function recorded(record, quantity, buyer)
  local units, by = string.match(record, '^s(%d+) ?(.*)$')
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
return { first, table.concat(outcomes) }
