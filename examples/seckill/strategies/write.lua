-- Writes back what a holder of the lock made of the numbers, with the order. Writes the same when it is sent twice.
--
-- KEYS[1]   numbers: hash { total, left, fence }
-- KEYS[2]   orders: hash { order id = quantity:buyer }
-- KEYS[3]   buyers: hash { buyer = units }
-- ARGV[1]   token, or '' to check none
-- ARGV[2]   left
-- ARGV[3]   order id
-- ARGV[4]   order as quantity:buyer
-- ARGV[5]   buyer
-- ARGV[6]   units of the buyer
-- returns   1, or 0 if the token is not that of the last read, or the SKU is not on sale
local fence = redis.call('HGET', KEYS[1], 'fence')
if not fence or (ARGV[1] ~= '' and ARGV[1] ~= fence) then return 0 end
redis.call('HSET', KEYS[1], 'left', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[3], ARGV[5], ARGV[6])
return 1
