-- Decides orders of one SKU, one after the other. An id that is recorded takes nothing more, so it is safe to send twice.
--
-- KEYS     stock, orders, buyers, holds, closed; see sale.lua
-- ARGV[1]  ids         JSON array of order ids, at most 1,000
-- ARGV[2]  quantities  JSON array, or '' when every order is for one unit
-- ARGV[3]  buyers      JSON array of buyer ids, '' for none; or '' when no order names one
-- ARGV[4]  limits      JSON array of units per buyer; or ''
-- ARGV[5]  holds       JSON array of milliseconds to hold, 0 to sell; or '' when every order is to be sold
-- returns  { units for sale before the first order as text, one letter per order as `decide` answers }, or {} when it is
--          not on sale; or the error NOTASALE, and nothing was changed
local sale, damaged = readSale(KEYS, 1)
if damaged then return redis.error_reply('NOTASALE ' .. damaged) end
if not sale then return {} end
local ids = cjson.decode(ARGV[1])
local quantities = ARGV[2] ~= '' and cjson.decode(ARGV[2])
local buyers = ARGV[3] ~= '' and cjson.decode(ARGV[3])
local limits = buyers and cjson.decode(ARGV[4])
local holds = ARGV[5] ~= '' and cjson.decode(ARGV[5])
readRecords(sale, ids)
if buyers then readBuyers(sale, buyers) end

local first = text(left(sale))
local outcomes = {}
for i = 1, #ids do
  local quantity, buyer = quantities and quantities[i] or 1, buyers and buyers[i] or ''
  local holdMs = holds and holds[i] or 0
  local outcome = decide(sale, ids[i], quantity, buyer, limits and limits[i], holdMs)
  if outcome == 'o' then take(sale, ids[i], quantity, buyer, holdMs) end
  outcomes[i] = outcome
end
writeSale(sale)
return { first, table.concat(outcomes) }
