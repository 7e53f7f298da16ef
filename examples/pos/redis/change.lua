-- Changes a cart, once per key of a change.
--
-- KEYS[1]  the cart: a hash of v, its version, and of :ID = "PLACE QUANTITY" for every product in it
-- KEYS[2]  the keys of changes that were made: a sorted set by time in milliseconds
-- ARGV[1]  key of this change
-- ARGV[2]  add, set or clear
-- ARGV[3]  id of the product
-- ARGV[4]  quantity
-- ARGV[5]  most pieces of one product
-- ARGV[6]  most lines
-- ARGV[7]  most changes
-- ARGV[8]  milliseconds that an unchanged cart is kept
--
-- returns  changed, replayed or too-many, and then the fields and values of the cart

local function answer(outcome)
  local reply = redis.call('HGETALL', KEYS[1])
  table.insert(reply, 1, outcome)
  return reply
end

if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return answer('replayed') end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[7]) then return answer('too-many') end

local version = tonumber(redis.call('HGET', KEYS[1], 'v') or 0) + 1
if ARGV[2] == 'clear' then
  redis.call('DEL', KEYS[1])
else
  local field = ':' .. ARGV[3]
  local place, quantity = string.match(redis.call('HGET', KEYS[1], field) or '', '^(%d+) (%d+)$')
  local wanted = tonumber(ARGV[4])
  if ARGV[2] == 'add' then wanted = wanted + tonumber(quantity or 0) end
  if wanted > tonumber(ARGV[5]) then return answer('too-many') end
  if wanted <= 0 then
    redis.call('HDEL', KEYS[1], field)
  else
    -- One field of the hash is its version.
    if not place and redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then return answer('too-many') end
    redis.call('HSET', KEYS[1], field, (place or version) .. ' ' .. wanted)
  end
end
redis.call('HSET', KEYS[1], 'v', version)

local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.call('PEXPIRE', KEYS[2], ARGV[8])
return answer('changed')
