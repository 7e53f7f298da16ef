-- Carries out commands on permits (semaphores, read-write locks), in order, by the server's clock. Each may be sent twice.
--
-- KEYS[n]   per command five: until, zset { holder = when its time is over, in ms };
--           permits, hash { holder = 'permits:token'; used; wanted; wantedUntil }; its channel; its fencing counter;
--           the latch of its claim, 1 or 0 once it is withdrawn: whether it held until then
-- ARGV[1]   front, the first half of a holder's name
-- ARGV[n]   per command seven: verb, number (the second half), ttlMs, permits, how many there are, and by verb
--           acquire, next: how many fencing tokens the grant takes, and 1 if the claim waits; next is refused if the
--           release before it woke others
--           renew: nothing
--           release: how many subscribers of the channel are of this process, or -1 if that cannot be compared
-- returns   per command two: 1 yes, 0 no, 2 withdrawn, 3 after others, 4 no, but others keep away for a while, or
--           -1 failed; then the first token of a grant, after how many ms trying again may help, or the message
local latchMs, wantedMs = 20000, 2000
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local contended = false

local function forget(untils, permits, holder)
  local held = string.match(redis.call('HGET', permits, holder) or '', '^%d+')
  if held then redis.call('HINCRBY', permits, 'used', -held) end
  redis.call('HDEL', permits, holder)
  redis.call('ZREM', untils, holder)
end

-- What is over is forgotten by whoever comes next, and by a TTL when nobody does.
local function keep(untils, permits)
  local last = redis.call('ZREVRANGE', untils, 0, 0, 'WITHSCORES')[2]
  local wantedUntil = redis.call('HGET', permits, 'wantedUntil')
  local untilMs = math.max(tonumber(last) or 0, tonumber(wantedUntil) or 0)
  redis.call('PEXPIREAT', untils, untilMs)
  redis.call('PEXPIREAT', permits, untilMs)
end

local function carryOut(i)
  local untils, permits, channel, counter = KEYS[5 * i - 4], KEYS[5 * i - 3], KEYS[5 * i - 2], KEYS[5 * i - 1]
  local latch, at = KEYS[5 * i], 7 * i - 5
  local verb, ttlMs, count, of = ARGV[at], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local extra, waits = tonumber(ARGV[at + 5]), ARGV[at + 6] == '1'
  local holder = ARGV[1] .. ':' .. ARGV[at + 1]

  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', untils, '-inf', nowMs)) do forget(untils, permits, gone) end
  local known = redis.call('HMGET', permits, holder, 'used', 'wanted', 'wantedUntil')
  local held, used, wantedUntil = known[1], tonumber(known[2]) or 0, tonumber(known[4]) or 0
  local wanted = wantedUntil > nowMs and known[3]

  if verb == 'renew' then
    if held then redis.call('ZADD', untils, nowMs + ttlMs, holder) end
    return held and 1 or 0, 0
  elseif verb == 'release' then
    local before = redis.call('GET', latch)
    local gaveUp = wanted == holder
    contended = before and true
    if gaveUp then redis.call('HDEL', permits, 'wanted', 'wantedUntil') end
    if held then forget(untils, permits, holder) end
    if held or gaveUp then
      local subscribers = redis.call('PUBLISH', channel, '0')
      contended = extra < 0 or subscribers > extra
    end
    if not before then redis.call('SET', latch, held and 1 or 0, 'PX', latchMs) end
    return (before or held and '1') == '1' and 1 or 0, 0
  elseif held then
    redis.call('ZADD', untils, nowMs + ttlMs, holder)
    return 1, tonumber(string.match(held, '%d+$'))
  elseif redis.call('EXISTS', latch) == 1 then
    return 2, 0
  elseif verb == 'next' and contended then
    return 3, 0
  elseif used + count <= of and (not wanted or wanted == holder) then
    local token = redis.call('INCRBY', counter, extra) - extra + 1
    if wanted then
      redis.call('HDEL', permits, 'wanted', 'wantedUntil')
      -- Who stood back may have what is left.
      if used + count < of then redis.call('PUBLISH', channel, '0') end
    end
    redis.call('HINCRBY', permits, 'used', count)
    redis.call('HSET', permits, holder, count .. ':' .. string.format('%.0f', token))
    redis.call('ZADD', untils, nowMs + ttlMs, holder)
    return 1, token
  end
  -- Whoever wants many permits would never find them free together: the others let it go first.
  local mine = waits and count > 1 and (not wanted or wanted == holder)
  if mine then redis.call('HSET', permits, 'wanted', holder, 'wantedUntil', nowMs + wantedMs) end
  local first = tonumber(redis.call('ZRANGE', untils, 0, 0, 'WITHSCORES')[2]) or math.huge
  if mine then first = math.min(first, nowMs + wantedMs / 2)
  elseif wanted then first = math.min(first, wantedUntil) end
  return mine and 4 or 0, math.max(1, first - nowMs)
end

local reply = {}
for i = 1, #KEYS / 5 do
  local done, code, value = pcall(carryOut, i)
  if done then
    keep(KEYS[5 * i - 4], KEYS[5 * i - 3])
  else
    code, value = -1, type(code) == 'table' and code.err or tostring(code)
  end
  reply[2 * i - 1], reply[2 * i] = code, value
end
return reply
