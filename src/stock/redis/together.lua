-- Decides baskets one after the other: all orders of a basket are taken, or none. Ids that are recorded take nothing more,
-- so it is safe to send twice.
--
-- KEYS     stock, orders, buyers, holds, closed of each SKU; see sale.lua
-- ARGV[1]  seen        JSON: what `readSale` takes, of each SKU
-- ARGV[2]  counts      JSON array: how many orders each basket has, one basket after the other
-- ARGV[3]  holds       JSON array of milliseconds to hold each basket, 0 to sell; or '' when every basket is to be sold
-- ARGV[4]  skus        JSON array: the index of each order's SKU, from 1
-- ARGV[5]  ids         JSON array of order ids
-- ARGV[6]  quantities  JSON array, or '' when every order is for one unit
-- ARGV[7]  buyers      JSON array of buyer ids, '' for none; or '' when no order names one
-- ARGV[8]  limits      JSON array of units per buyer; or ''
-- returns  { { letter, index of the order that the letter is about from 0, units of its SKU for sale, … }, three per basket,
--          the units as text }, { epoch, version, … } of each SKU, '' where it is not on sale }. Letter: 'o' taken (some or
--          all of it now), 'r' all of it known, 'n' not on sale, or as `decide` answers. Or the error NOTASALE, SHARDS or FROZEN,
--          and nothing was changed
local function decoded(json)
  return json ~= '' and cjson.decode(json)
end
local seen, counts, holds, skus = cjson.decode(ARGV[1]), cjson.decode(ARGV[2]), decoded(ARGV[3]), cjson.decode(ARGV[4])
local ids, quantities, buyers, limits = cjson.decode(ARGV[5]), decoded(ARGV[6]), decoded(ARGV[7]), decoded(ARGV[8])
local sales, idsOf, buyersOf = {}, {}, {}
for i = 1, #KEYS / 5 do
  local sale, fault = readSale(KEYS, i * 5 - 4, seen[i])
  if fault then return redis.error_reply(fault) end
  if sale and sale.frozen then return redis.error_reply('FROZEN ' .. sale.stockKey) end
  sales[i], idsOf[i], buyersOf[i] = sale or false, {}, {}
end
for i = 1, #ids do
  local of, by = idsOf[skus[i]], buyersOf[skus[i]]
  of[#of + 1] = ids[i]
  if buyers and buyers[i] ~= '' then by[#by + 1] = buyers[i] end
end
for i, sale in ipairs(sales) do
  if sale then
    readRecords(sale, idsOf[i])
    if #buyersOf[i] > 0 then readBuyers(sale, buyersOf[i]) end
  end
end

-- The first conflict comes before the first refusal.
local isConflict = { q = true, y = true, d = true, h = true, x = true }
local outcomes = {}
local function decideBasket(first, last, holdMs)
  local letter, about = 'r', first
  for i = first, last do
    local sale = sales[skus[i]]
    local outcome = sale and decide(sale, ids[i], quantities and quantities[i] or 1, buyers and buyers[i] or '',
      limits and limits[i], holdMs) or 'n'
    outcomes[i] = outcome
    if outcome == 'o' then
      if letter == 'r' then letter = 'o' end
    elseif outcome ~= 'r' then
      if isConflict[outcome] then return outcome, i end
      if letter == 'r' or letter == 'o' then letter, about = outcome, i end
    end
  end
  if letter ~= 'o' then return letter, about end
  for i = first, last do
    if outcomes[i] == 'o' then
      take(sales[skus[i]], ids[i], quantities and quantities[i] or 1, buyers and buyers[i] or '', holdMs)
    end
  end
  return 'o', first
end

local reply, first = {}, 1
for i = 1, #counts do
  local letter, about = decideBasket(first, first + counts[i] - 1, holds and holds[i] or 0)
  local sale, n = sales[skus[about]], 3 * i
  reply[n - 2], reply[n - 1], reply[n] = letter, about - first, letter == 'o' and '0' or text(sale and left(sale) or 0)
  first = first + counts[i]
end
-- Where the user lacks a right, no SKU is written.
for _, sale in ipairs(sales) do
  if sale and #sale.newRecords > 0 then tryHolds(sale) end
end
local states = {}
for i, sale in ipairs(sales) do
  if sale then writeSale(sale) end
  states[2 * i - 1], states[2 * i] = sale and sale.epoch or '', sale and text(sale.version) or ''
end
return { reply, states }
