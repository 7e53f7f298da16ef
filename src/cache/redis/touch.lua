-- Notes that keys were touched: each is due once a delay has passed, counted from the first touch, or from the start of its
-- last flush if that is not so long ago. Sent twice, it may cause one flush more.
--
-- KEYS[1]   due     zset { key = when somebody has to see to it, in ms }
-- KEYS[2]   states  hash { key = 'touch|allowed|owner|claimed|first': number of the newest touch, 0 if all were flushed; not
--           to be flushed before, in ms; who flushes it now, and the touch that it had then; number of the first touch that no
--           flush has seen }. A key that is due and has no such state was touched, and its state was lost.
-- KEYS[3]   touches counter, which begins at the microseconds since 1970, so that it never goes back when it is lost
-- ARGV[1]   delay   in ms
-- ARGV[2...] keys
-- returns   { in how many ms the first of them is due, number of this touch }
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local delayMs = tonumber(ARGV[1])
local firstMs = nowMs + delayMs

-- What is there and is not of its type is a stranger's.
for name, kind in pairs({ [KEYS[1]] = 'zset', [KEYS[2]] = 'hash' }) do
  local is = redis.call('TYPE', name).ok
  if is ~= 'none' and is ~= kind then redis.call('DEL', name) end
end

local function nextTouch()
  local n = redis.pcall('INCR', KEYS[3])
  if type(n) ~= 'number' or n < 1e15 or n > 9e15 then
    n = time[1] * 1000000 + time[2]
    redis.call('SET', KEYS[3], string.format('%d', n))
  end
  return string.format('%d', n)
end

local touch = nextTouch()
for i = 2, #ARGV do
  local key = ARGV[i]
  local state = redis.call('HGET', KEYS[2], key)
  local last, allowed, owner, claimed, first
  if state then last, allowed, owner, claimed, first = string.match(state, '^(%d+)|(%d+)|([^|]*)|(%d+)|(%d+)$') end
  if last == '0' and tonumber(allowed) <= nowMs then
    redis.call('ZADD', KEYS[1], nowMs + delayMs, key)
    last = nil
  else
    redis.call('ZADD', KEYS[1], 'NX', nowMs + delayMs, key)
    firstMs = math.min(firstMs, tonumber(redis.call('ZSCORE', KEYS[1], key)))
  end
  if not last then allowed, owner, claimed, first = '0', '', '0', touch end
  if last == '0' then first = touch end
  redis.call('HSET', KEYS[2], key, table.concat({ touch, allowed, owner, claimed, first }, '|'))
end
return { math.max(0, math.ceil(firstMs - nowMs)), touch }
