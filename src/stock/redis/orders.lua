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
if (shards or '1') ~= ARGV[3] then return redis.error_reply('SHARDS ' .. (shards or '1')) end
-- HSCAN counts places in a hash table, which has another order in every process of Redis. So a cursor names the process, and
-- in another one, after a failover or a restart, the pages begin anew. Without the right to INFO none is named.
local info = redis.pcall('INFO', 'server')
local process = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local cursor, of = string.match(ARGV[1], '^(%d+)%.?(%x*)$')
if of ~= process then cursor = '0' end
local page = redis.call('HSCAN', KEYS[2], cursor, 'COUNT', ARGV[2])
local follows = page[1] == '0' and '0' or page[1] .. '.' .. process
return { epoch, follows, page[2], math.floor(math.max(nowMs, tonumber(ended) or 0)) }
