-- Reads a page of the recorded orders.
--
-- KEYS[1]  stock   hash { epoch, ended, shards, … }; see sale.lua
-- KEYS[2]  orders  hash { order id = record }; see sale.lua
-- ARGV[1]  cursor  '0' for the first page, then what the last reply said
-- ARGV[2]  count   about how many orders a page has
-- ARGV[3]  shards  over how many the caller spreads the SKU
-- returns  { epoch, next cursor ('0' after the last page), { order id, record, order id, record, … }, the time in ms by
--          which holds have ended }, or {} when the SKU is not on sale; or the error NOTASALE, or SHARDS and over how many
--          the SKU is spread
local epoch, ended, shards = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'ended', 'shards'))
if not epoch then
  if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
  return redis.error_reply('NOTASALE ' .. KEYS[1])
end
local page = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
return { epoch, page[1], page[2], math.floor(math.max(nowMs, tonumber(ended) or 0)) }
