-- Reads what is recorded under some order ids.
--
-- KEYS[1]  orders  hash { order id = record }; see sale.lua
-- ARGV     ids     at most 1,000 order ids
-- returns  { the time in ms, one record per id, or nil where there is none }
return { math.floor(nowMs), redis.call('HMGET', KEYS[1], unpack(ARGV)) }
