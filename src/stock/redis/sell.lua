-- Decides orders of one SKU, one after the other. An id that is recorded takes nothing more, so it is safe to send twice.
--
-- KEYS     stock, orders, buyers, holds, closed; see sale.lua
-- KEYS[6]  placed      of a shard; see sale.lua
-- ARGV[1]  seen        what the caller knows the sale by, as `readSale` takes it
-- ARGV[2]  ids         JSON array of order ids, at most 1,000
-- ARGV[3]  quantities  JSON array, or '' when every order is for one unit
-- ARGV[4]  buyers      JSON array of buyer ids, '' for none; or '' when no order names one
-- ARGV[5]  limits      JSON array of units per buyer; or ''
-- ARGV[6]  holds       JSON array of milliseconds to hold, 0 to sell; or '' when every order is to be sold
-- ARGV[7]  token       of the caller that reconciles the sale, or ''
-- ARGV[8]  homes       of a shard, for each order the shard where its buyer is counted, if not here; '.' if here or if it
--                      names none; '!' if the order was sent here for what it is placed by, whatever its buyer; else ''
-- ARGV[9]  epoch       the sale to decide in, or '' for whichever is on sale
-- returns  { units for sale before the first order as text, one letter per order as `decide` answers, or of a shard the
--          shard that decides it, epoch, version }, or {} when it is not on sale; or the error NOTASALE, SHARDS or FROZEN, and
--          nothing was changed
local sale, fault = readSale(KEYS, 1, ARGV[1])
if fault then return redis.error_reply(fault) end
if not sale or ARGV[9] ~= '' and ARGV[9] ~= sale.epoch then return {} end
if isFrozenFor(sale, ARGV[7]) then return redis.error_reply('FROZEN ' .. sale.stockKey) end
local ids = cjson.decode(ARGV[2])
local quantities = ARGV[3] ~= '' and cjson.decode(ARGV[3])
local buyers = ARGV[4] ~= '' and cjson.decode(ARGV[4])
local limits = buyers and cjson.decode(ARGV[5])
local holds = ARGV[6] ~= '' and cjson.decode(ARGV[6])
readRecords(sale, ids)
if buyers then readBuyers(sale, buyers) end

-- What the application knows to be sold is sold, also where only its hold is recorded, or the end of that. 's' if there are
-- too few units: then what is recorded stays.
local function forgetUnsold(id, quantity)
  local record = sale.records[id]
  if not record then return end
  local state, units, buyer, endMs = parsed(sale, record)
  if state == 's' or state == 'x' then return end
  if quantity > left(sale) + (state == 'h' and units or 0) then return 's' end
  if state == 'h' then
    addToHolds(sale, -units, endMs)
    sale.available = sale.available + units
    if buyer ~= '' then
      if not sale.buyerTexts[buyer] then readBuyers(sale, { buyer }) end
      if buyerOf(sale, buyer) then addToBuyer(sale, buyer, -units, endMs) end
    end
    writeRecord(sale, id, 'c')
  end
  sale.records[id] = nil
end

-- What the application knows to be sold needs no unit that is for sale to others.
if sale.frozen then sale.late = 0 end
local first = text(left(sale))

-- An order whose buyer is counted in another shard is placed there, so that its id has one shard whatever comes later. While
-- more than one attempt may be on its way there, a refused one must not forget the place: it has version 0.
local homes, places, isPlaced = ARGV[8], {}, {}
local placed = homes ~= '' and redis.call('HMGET', KEYS[6], unpack(ids))
local function placeOf(i)
  if sale.records[ids[i]] then return nil end
  local home = string.sub(homes, i, i)
  if home == '!' then return 'y' end
  local id, known = ids[i], placed[i] or isPlaced[ids[i]]
  local place = known and string.sub(known, 1, 1) or home
  if place == '.' then return nil end
  isPlaced[id] = place .. ' ' .. (known and '0' or text(sale.version + 1))
  local n = #places
  places[n + 1], places[n + 2] = id, isPlaced[id]
  return place
end

local outcomes = {}
for i = 1, #ids do
  local quantity, buyer = quantities and quantities[i] or 1, buyers and buyers[i] or ''
  local holdMs = holds and holds[i] or 0
  local place = placed and placeOf(i)
  local outcome = place or sale.frozen and forgetUnsold(ids[i], quantity) or decide(sale, ids[i], quantity, buyer, limits and limits[i], holdMs)
  if outcome == 'o' then take(sale, ids[i], quantity, buyer, holdMs) end
  outcomes[i] = outcome
end
writeSale(sale, KEYS[6], places)
return { first, table.concat(outcomes), sale.epoch, text(sale.version) }
