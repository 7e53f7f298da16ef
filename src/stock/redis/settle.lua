-- Confirms or cancels holds, or refunds sales, one after the other. What is settled stays so, so it is safe to send twice.
--
-- KEYS     stock, orders, buyers, holds, closed; see sale.lua
-- KEYS[6]  placed      of a shard; see sale.lua
-- ARGV[1]  seen        what the caller knows the sale by, as `readSale` takes it
-- ARGV[2]  kind        'confirm', 'cancel' or 'refund'
-- ARGV[3]  ids         JSON array of order ids, at most 1,000
-- ARGV[4]  quantities  JSON array of units to confirm, 0 for all; or '' when all are
-- returns  { ms until units that came back are on sale, one letter per id, epoch, version }, or {} when it is not on sale;
--          or the error NOTASALE, SHARDS or FROZEN, and nothing was changed
--          d done, w done and units came back, a done before, e expired, c cancelled, f confirmed, u unknown, q sold with
--          another quantity, m more than is held, x what is stored for the order or its buyer was not written here; or of a
--          shard the one where the order is placed
local sale, fault = readSale(KEYS, 1, ARGV[1])
if fault then return redis.error_reply(fault) end
if not sale then return {} end
if sale.frozen then return redis.error_reply('FROZEN ' .. sale.stockKey) end
local kind, ids = ARGV[2], cjson.decode(ARGV[3])
local quantities = ARGV[4] ~= '' and cjson.decode(ARGV[4])
readRecords(sale, ids)
local names = {}
for _, record in pairs(sale.records) do
  local _, _, buyer = parsed(sale, record)
  if buyer and buyer ~= '' then names[#names + 1] = buyer end
end
if #names > 0 then readBuyers(sale, names) end

-- The answers where the record is not in the state that the settlement needs.
local answers = ({
  confirm = { s = 'a', c = 'c', r = 'c' },
  cancel = { s = 'f', c = 'a', r = 'a' },
  refund = { h = 'u', c = 'c', r = 'a' },
})[kind]
answers.e, answers.x = 'e', 'x'

-- What a buyer has bought, or holds until endMs; fewer than any units where what is stored was not written here.
local function boughtOrHeld(buyer, endMs)
  if not buyer then return -1 end
  if type(buyer) == 'number' then return endMs and 0 or buyer end
  return endMs and (buyer.holds[endMs] or 0) or buyer.bought
end

local function giveBack(units)
  sale.available = sale.available + units
  if closedForMs(sale) > 0 then sale.late = sale.late + units end
end

local placed = KEYS[6] and redis.call('HMGET', KEYS[6], unpack(ids))
local function settle(i)
  local id, quantity = ids[i], quantities and quantities[i] or 0
  local record = sale.records[id]
  if not record then return placed and placed[i] and string.sub(placed[i], 1, 1) or 'u' end
  local state, units, buyer, endMs = parsed(sale, record)
  local answer = answers[state]
  if answer then return answer == 'a' and state == 's' and quantity > 0 and quantity ~= units and 'q' or answer end
  if quantity > units then return 'm' end
  if buyer ~= '' and boughtOrHeld(buyerOf(sale, buyer), endMs) < units then return 'x' end
  local kept = kind == 'confirm' and (quantity > 0 and quantity or units) or 0
  if state == 'h' then addToHolds(sale, -units, endMs) else sale.sold = sale.sold - units end
  sale.sold = sale.sold + kept
  if units > kept then giveBack(units - kept) end
  if buyer ~= '' then
    addToBuyer(sale, buyer, -units, endMs)
    if kept > 0 then addToBuyer(sale, buyer, kept) end
  end
  if kept > 0 then
    writeRecord(sale, id, 's' .. text(kept) .. (buyer ~= '' and ' ' .. buyer or ''))
  else
    writeRecord(sale, id, kind == 'cancel' and 'c' or 'r')
  end
  return units > kept and 'w' or 'd'
end

local outcomes = {}
for i = 1, #ids do outcomes[i] = settle(i) end
writeSale(sale)
return { sale.closedMs or 0, table.concat(outcomes), sale.epoch, text(sale.version) }
