-- Reads what is recorded under some order ids.
--
-- KEYS[1]  orders  hash { order id = record }
-- ARGV     ids     at most 1,000 order ids
-- returns  one record per id, or nil where there is none
return redis.call('HMGET', KEYS[1], unpack(ARGV))
