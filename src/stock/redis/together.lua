-- Decides baskets one after the other: all orders of a basket are taken, or none. Ids that are recorded take nothing more,
-- so it is safe to send twice.
--
-- KEYS     stock, orders, buyers, holds, closed of each SKU; see sale.lua
-- ARGV[1]  baskets  JSON: [hold in ms or 0, [[index of the SKU from 0, order id, quantity, buyer or '', limit], …]] of each
-- ARGV[2]  seen     JSON: 'epoch version' of the sale of each SKU, or ''
-- returns  { { letter, index of the order that the letter is about from 0, units of its SKU for sale, … }, three per basket,
--          the units as text }, { epoch, version, … } of each SKU, '' where it is not on sale }. Letter: 'o' taken (some or all of it now), 'r' all of it known, 'n' not on sale, or as
--          `decide` answers. Or the error NOTASALE or FROZEN, and nothing was changed
local baskets, seen = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local sales = {}
for i = 0, #KEYS / 5 - 1 do
  local sale, damaged = readSale(KEYS, i * 5 + 1, seen[i + 1])
  if damaged then return redis.error_reply('NOTASALE ' .. damaged) end
  if sale and sale.frozen then return redis.error_reply('FROZEN ' .. sale.stockKey) end
  sales[i] = sale
end

local ids, names = {}, {}
for i in pairs(sales) do ids[i], names[i] = {}, {} end
for _, basket in ipairs(baskets) do
  for _, order in ipairs(basket[2]) do
    local of, buyers = ids[order[1]], names[order[1]]
    if of then
      of[#of + 1] = order[2]
      if order[4] ~= '' then buyers[#buyers + 1] = order[4] end
    end
  end
end
for i, sale in pairs(sales) do
  readRecords(sale, ids[i])
  if #names[i] > 0 then readBuyers(sale, names[i]) end
end

-- The first conflict comes before the first refusal.
local isConflict = { q = true, y = true, d = true, h = true, x = true }
local function decideBasket(holdMs, orders)
  local letter, about, known = 'r', 0, {}
  for i, order in ipairs(orders) do
    local sale = sales[order[1]]
    local outcome = sale and decide(sale, order[2], order[3], order[4], order[5], holdMs) or 'n'
    known[i] = outcome == 'r'
    if isConflict[outcome] then return outcome, i - 1 end
    if letter == 'r' or letter == 'o' then
      if outcome ~= 'r' then letter = outcome end
      if outcome ~= 'r' and outcome ~= 'o' then about = i - 1 end
    end
  end
  if letter ~= 'o' then return letter, about end
  for i, order in ipairs(orders) do
    if not known[i] then take(sales[order[1]], order[2], order[3], order[4], holdMs) end
  end
  return 'o', 0
end

local reply = {}
for _, basket in ipairs(baskets) do
  local letter, about = decideBasket(basket[1], basket[2])
  local sale = sales[basket[2][about + 1][1]]
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = letter, about, text(sale and left(sale) or 0)
end
local states = {}
for i = 0, #KEYS / 5 - 1 do
  local sale = sales[i]
  if sale then writeSale(sale) end
  states[2 * i + 1], states[2 * i + 2] = sale and sale.epoch or '', sale and text(sale.version) or ''
end
return { reply, states }
