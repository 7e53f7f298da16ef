-- Notes that keys were touched: each is due once a delay has passed, counted from the first touch, or from the start of its
-- last flush if that is not so long ago. Sent twice, it may cause one flush more.
--
-- KEYS[1]   due     zset { key = when somebody has to see to it, in ms }
-- KEYS[2]   states  hash { key = 'touch|allowed|owner|claimed|first': number of the newest touch, 0 if all were flushed; not
--           to be flushed before, in ms; who flushes it now, and the touch that it had then; number of the first touch that no
--           flush has seen }
-- KEYS[3]   touches counter
-- ARGV[1]   delay   in ms
-- ARGV[2...] keys
-- returns   { in how many ms the first of them is due, number of this touch }
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local delayMs = tonumber(ARGV[1])
local touch = string.format('%d', redis.call('INCR', KEYS[3]))
local firstMs = nowMs + delayMs

for i = 2, #ARGV do
  local key = ARGV[i]
  local state = redis.call('HGET', KEYS[2], key)
  local last, allowed, owner, claimed, first
  if state then last, allowed, owner, claimed, first = string.match(state, '^(%d+)|(%d+)|(.*)|(%d+)|(%d+)$') end
  if not last or (last == '0' and tonumber(allowed) <= nowMs) then
    redis.call('ZADD', KEYS[1], nowMs + delayMs, key)
    redis.call('HSET', KEYS[2], key, touch .. '|0||0|' .. touch)
  else
    if last == '0' then first = touch end
    redis.call('HSET', KEYS[2], key, table.concat({ touch, allowed, owner, claimed, first }, '|'))
    firstMs = math.min(firstMs, tonumber(redis.call('ZSCORE', KEYS[1], key)) or firstMs)
  end
end
return { math.max(0, math.ceil(firstMs - nowMs)), touch }
