-- Turns a cart into a receipt, once per key of a sale, if it is still the cart that the buyer was shown.
--
-- KEYS[1]  the cart: a hash with its version in v
-- KEYS[2]  the keys of changes that were made: a sorted set by time in milliseconds
-- KEYS[3]  the receipts of the session: a hash by key of the sale
-- ARGV[1]  key of this sale
-- ARGV[2]  version of the cart
-- ARGV[3]  the receipt
-- ARGV[4]  milliseconds that a change is known after the sale
-- ARGV[5]  milliseconds that an unchanged cart is kept
-- ARGV[6]  milliseconds that receipts are kept
--
-- returns  sold or replayed with the receipt, or changed

local known = redis.call('HGET', KEYS[3], ARGV[1])
if known then return { 'replayed', known } end
if (redis.call('HGET', KEYS[1], 'v') or '0') ~= ARGV[2] then return { 'changed' } end

redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', ARGV[2] + 1)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', nowMs - ARGV[4])
return { 'sold', ARGV[3] }
