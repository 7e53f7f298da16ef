-- Ends claims, or renews them. Sent twice, it does no more.
--
-- KEYS[1]   due     as in touch.lua
-- KEYS[2]   states  as in touch.lua
-- ARGV[1]   owner
-- ARGV[2]   verb    'done', 'failed' or 'renew'
-- ARGV[3]   ms      done: since the flush began; failed: until it may be tried again; renew: the lease
-- ARGV[4]   delay   between two flushes of a key, in ms
-- ARGV[n]   per claim two: key, touch
-- returns   { per claim 1, or 0 if it was another's by then }
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, verb, ms, delayMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local reply = {}

-- What is there and is not of its type is a stranger's.
for name, kind in pairs({ [KEYS[1]] = 'zset', [KEYS[2]] = 'hash' }) do
  local is = redis.call('TYPE', name).ok
  if is ~= 'none' and is ~= kind then redis.call('DEL', name) end
end

for i = 5, #ARGV, 2 do
  local key, mine = ARGV[i], ARGV[i + 1]
  local state = redis.call('HGET', KEYS[2], key)
  local touch, allowed, holder, claimed, first
  if state then touch, allowed, holder, claimed, first = string.match(state, '^(%d+)|(%d+)|([^|]*)|(%d+)|(%d+)$') end
  local ours = holder == owner and claimed == mine
  if ours and verb == 'renew' then
    redis.call('ZADD', KEYS[1], nowMs + ms, key)
  elseif ours then
    local atMs = tonumber(allowed)
    if verb == 'done' then
      atMs = math.max(atMs, nowMs - ms + delayMs)
      if touch == mine then touch = '0' end
      first = string.format('%d', mine + 1)
    else
      atMs = math.max(atMs, nowMs + ms)
    end
    if touch == '0' and atMs <= nowMs then
      redis.call('ZREM', KEYS[1], key)
      redis.call('HDEL', KEYS[2], key)
    else
      redis.call('HSET', KEYS[2], key, string.format('%s|%d||0|%s', touch, math.ceil(atMs), first))
      redis.call('ZADD', KEYS[1], math.ceil(atMs), key)
    end
  end
  reply[#reply + 1] = ours and 1 or 0
end
return reply
