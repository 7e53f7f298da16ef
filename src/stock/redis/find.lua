-- Reads what is recorded under some order ids.
--
-- KEYS[1]  orders  hash { order id = record }; see sale.lua
-- KEYS[2]  placed  of a shard, hash { order id = 'shard version' }; see sale.lua
-- ARGV     ids     at most 1,000 order ids
-- returns  { the time in ms, one record per id, or of a shard its place, or nil where there is none }
local found = redis.call('HMGET', KEYS[1], unpack(ARGV))
if KEYS[2] then
  local placed = redis.call('HMGET', KEYS[2], unpack(ARGV))
  for i = 1, #ARGV do found[i] = found[i] or placed[i] end
end
return { math.floor(nowMs), found }
