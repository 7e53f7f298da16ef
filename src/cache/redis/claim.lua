-- Claims touched keys for a flush: those that are due, or the given ones as soon as their last flush is long enough ago.
-- Sent twice, it answers with the same claims.
--
-- KEYS[1]   due     as in touch.lua
-- KEYS[2]   states  as in touch.lua
-- KEYS[3]   touches as in touch.lua
-- KEYS[4]   last    claim of this owner: 'id|when it ends'
-- ARGV[1]   owner
-- ARGV[2]   id      of this claim
-- ARGV[3]   delay   between two flushes of a key, in ms
-- ARGV[4]   lease   in ms
-- ARGV[5]   limit   how many at the most
-- ARGV[n]   per key two: key, touch: not if a flush has seen that touch. None: all that are due
-- returns   { in how many ms to ask again, or -1 for nothing known; per claimed key two: key, touch }
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, delayMs, leaseMs, limit = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local given = #ARGV > 5
local untilMs = math.ceil(nowMs + leaseMs)
local reply, n = { -1 }, 1
local nextMs = nil

-- What is there and is not of its type is a stranger's.
for name, kind in pairs({ [KEYS[1]] = 'zset', [KEYS[2]] = 'hash' }) do
  local is = redis.call('TYPE', name).ok
  if is ~= 'none' and is ~= kind then redis.call('DEL', name) end
end
-- A key that has a state is due some time. Where the times were lost, they are due now.
if redis.call('ZCARD', KEYS[1]) < redis.call('HLEN', KEYS[2]) then
  for _, key in ipairs(redis.call('HKEYS', KEYS[2])) do redis.call('ZADD', KEYS[1], 'NX', nowMs, key) end
end

-- As in touch.lua.
local function nextTouch()
  local n = redis.pcall('INCR', KEYS[3])
  if type(n) ~= 'number' or n < 1e15 or n > 9e15 then
    n = time[1] * 1000000 + time[2]
    redis.call('SET', KEYS[3], string.format('%d', n))
  end
  return string.format('%d', n)
end

local function stateOf(key)
  local state = redis.call('HGET', KEYS[2], key)
  if not state then return nil end
  return string.match(state, '^(%d+)|(%d+)|([^|]*)|(%d+)|(%d+)$')
end

local function later(atMs)
  if not nextMs or atMs < nextMs then nextMs = atMs end
end

local function add(key, touch)
  reply[n + 1], reply[n + 2] = key, touch
  n = n + 2
end

local function claim(key, touch, first)
  redis.call('HSET', KEYS[2], key, string.format('%s|%d|%s|%s|%s', touch, math.ceil(nowMs + delayMs), owner, touch, first))
  redis.call('ZADD', KEYS[1], untilMs, key)
  add(key, touch)
end

local function see(key, score, wanted)
  local touch, allowed, holder, _, first = stateOf(key)
  if not touch then
    -- Its state was lost: nobody knows whether a flush has seen it.
    if score > nowMs then return later(score) end
    touch = nextTouch()
    allowed, holder, first = '0', '', touch
  end
  if wanted and tonumber(wanted) < tonumber(first) then return end
  if touch == '0' then
    if tonumber(allowed) <= nowMs then
      redis.call('ZREM', KEYS[1], key)
      redis.call('HDEL', KEYS[2], key)
    end
  elseif holder ~= '' and score > nowMs then
    later(score)
  elseif tonumber(allowed) > nowMs then
    later(tonumber(allowed))
    redis.call('ZADD', KEYS[1], allowed, key)
  elseif n < 2 * limit then
    claim(key, touch, first)
  else
    later(nowMs)
  end
end

local record = redis.pcall('GET', KEYS[4])
local last, lastUntil
if type(record) == 'string' then last, lastUntil = string.match(record, '^(.+)|(%d+)$') end
if last == ARGV[2] then
  -- The reply of the first time was lost. Of one score and one owner are the keys of one claim.
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], lastUntil, lastUntil)) do
    local _, _, holder, claimed = stateOf(key)
    if holder == owner then add(key, claimed) end
  end
  later(nowMs)
elseif given then
  for i = 6, #ARGV, 2 do
    local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if score then see(ARGV[i], tonumber(score), ARGV[i + 1]) end
  end
else
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', nowMs, 'LIMIT', 0, limit)) do see(key, nowMs) end
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
  if first then later(tonumber(first)) end
end
if n > 1 and last ~= ARGV[2] then
  redis.call('SET', KEYS[4], string.format('%s|%d', ARGV[2], untilMs), 'PX', math.ceil(leaseMs))
end
if nextMs then reply[1] = math.max(0, math.ceil(nextMs - nowMs)) end
return reply
