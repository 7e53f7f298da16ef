-- Claims touched keys for a flush: those that are due, or the given ones as soon as their last flush is long enough ago.
-- Sent twice, the second claims what is left; what the first claimed is due again when its lease ends.
--
-- KEYS[1]   due     as in touch.lua
-- KEYS[2]   states  as in touch.lua
-- ARGV[1]   owner
-- ARGV[2]   delay   between two flushes of a key, in ms
-- ARGV[3]   lease   in ms
-- ARGV[4]   limit   how many at the most
-- ARGV[n]   per key two: key, touch: not if a flush has seen that touch. None: all that are due
-- returns   { in how many ms to ask again, or -1 for nothing known; per claimed key two: key, touch }
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, delayMs, leaseMs, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local given = #ARGV > 4
local reply, n = { -1 }, 1
local nextMs = nil

local function later(atMs)
  if not nextMs or atMs < nextMs then nextMs = atMs end
end

local function claim(key, touch, first)
  redis.call('HSET', KEYS[2], key, string.format('%s|%d|%s|%s|%s', touch, nowMs + delayMs, owner, touch, first))
  redis.call('ZADD', KEYS[1], nowMs + leaseMs, key)
  reply[n + 1], reply[n + 2] = key, touch
  n = n + 2
end

local function see(key, score, wanted)
  local state = redis.call('HGET', KEYS[2], key)
  local touch, allowed, holder, first
  if state then touch, allowed, holder, first = string.match(state, '^(%d+)|(%d+)|(.*)|%d+|(%d+)$') end
  if wanted and first and tonumber(wanted) < tonumber(first) then return end
  if not touch then
    redis.call('ZREM', KEYS[1], key)
  elseif touch == '0' then
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

if given then
  for i = 5, #ARGV, 2 do
    local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if score then see(ARGV[i], tonumber(score), ARGV[i + 1]) end
  end
else
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', nowMs, 'LIMIT', 0, limit)) do see(key, nowMs) end
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
  if first then later(tonumber(first)) end
end
if nextMs then reply[1] = math.max(0, math.ceil(nextMs - nowMs)) end
return reply
