-- Reads what is recorded under some order ids.
--
-- KEYS[1]    stock   hash { epoch, ended, shards, … }; see sale.lua
-- KEYS[2]    orders  hash { order id = record }; see sale.lua
-- KEYS[3]    placed  of a shard, hash { order id = 'shard version' }; see sale.lua
-- ARGV[1]    shards  over how many the caller spreads the SKU
-- ARGV[2...] ids     at most 1,000 order ids
-- returns    { the time in ms by which holds have ended, one record per id, or of a shard its place, or nil where there is
--            none }; or the error SHARDS and over how many the SKU is spread
local epoch, ended, shards = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'ended', 'shards'))
if epoch and (shards or '1') ~= ARGV[1] then return redis.error_reply('SHARDS ' .. (shards or '1')) end
local ids = { unpack(ARGV, 2) }
local found = redis.call('HMGET', KEYS[2], unpack(ids))
if KEYS[3] then
  local placed = redis.call('HMGET', KEYS[3], unpack(ids))
  for i = 1, #ids do found[i] = found[i] or placed[i] end
end
return { math.floor(math.max(nowMs, tonumber(ended) or 0)), found }
