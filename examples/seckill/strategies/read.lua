-- Reads what an order needs to be decided, and shuts out every smaller token.
--
-- KEYS[1]   numbers: hash { total, left, fence }
-- KEYS[2]   orders: hash { order id = quantity:buyer }
-- KEYS[3]   buyers: hash { buyer = units }
-- ARGV[1]   token, or '' to check none
-- ARGV[2]   order id
-- ARGV[3]   buyer
-- returns   left, the order ('' if unknown), units of the buyer; nothing if the SKU is not on sale; 'stale'
local fence = redis.call('HGET', KEYS[1], 'fence')
if not fence then return {} end
if ARGV[1] ~= '' then
  if ARGV[1] < fence then return { 'stale' } end
  redis.call('HSET', KEYS[1], 'fence', ARGV[1])
end
return {
  redis.call('HGET', KEYS[1], 'left'),
  redis.call('HGET', KEYS[2], ARGV[2]) or '',
  redis.call('HGET', KEYS[3], ARGV[3]) or '0',
}
