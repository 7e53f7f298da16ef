-- Carries out commands on permits (semaphores, read-write locks), in order, by the server's clock. Each may be sent twice,
-- and one that fails harms no other.
--
-- KEYS[n]   per command four: until, zset { holder = when its time is over, in ms };
--           permits, hash { holder = 'permits:token'; used; wanted, wantedUntil: the claim that others keep away for;
--           waiting, waitingUntil: the front of a claim that waits and was refused not long ago };
--           its fencing counter, from whose name that of the channel follows, where releases are told;
--           the latch of its claim, 1 or 0 once it is withdrawn: whether it held until then
-- ARGV[1]   front, the first half of a holder's name
-- ARGV[2]   how long a fencing counter that is not used is kept, in ms; 0 for ever
-- ARGV[n]   per command six: verb, number (the second half), ttlMs, and by verb
--           acquire, next: how many fencing tokens the grant takes; next is refused if others are to go before it. 'try '
--           before it says that the claim does not wait
--           release: how many subscribers of the channel do not count as others, -1 if that cannot be known, or '' if it
--           does not matter
--           and the permits of the claim, and how many there are
-- returns   per command two: 1 yes, 0 no, 2 withdrawn, 3 after others, 4 no, but it is known to wait, or -1 failed; then
--           the first token of a grant, after how many ms trying again may help, how many others there are if that is
--           known, the message of a failure; of a release, 0 or why its waiters could not be told
local call, attempt, match = redis.call, redis.pcall, string.match
local latchMs, wantedMs, waitingMs = 20000, 2000, 2000
local front, counterMs = ARGV[1], tonumber(ARGV[2])
local time = call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local contended, others = false, 0

local function failure(reply)
  return type(reply) == 'table' and reply.err
end

local function forget(untils, permits, holder)
  local held = match(call('HGET', permits, holder) or '', '^%d+')
  -- In this order: a Redis that is full lets a script write only after a command that frees memory.
  call('HDEL', permits, holder)
  call('ZREM', untils, holder)
  if held then attempt('HINCRBY', permits, 'used', -held) end
end

-- What is over is forgotten by whoever comes next, and by a TTL when nobody does.
local function keep(untils, permits)
  local last = attempt('ZREVRANGE', untils, 0, 0, 'WITHSCORES')
  local claims = attempt('HMGET', permits, 'wantedUntil', 'waitingUntil')
  -- Somebody else's data stay.
  if failure(last) or failure(claims) then return end
  local untilMs = 0
  for _, ms in ipairs({ last[2] or 0, claims[1] or 0, claims[2] or 0 }) do untilMs = math.max(untilMs, tonumber(ms) or 0) end
  if untilMs <= nowMs then return attempt('DEL', untils, permits) end
  attempt('PEXPIREAT', untils, untilMs)
  attempt('PEXPIREAT', permits, untilMs)
end

local function keepCounter(counter, ttlMs)
  if counterMs > 0 then attempt('PEXPIRE', counter, math.max(counterMs, ttlMs)) end
end

local function count(channel, heard, claimant, known)
  others = claimant and claimant ~= front and 1 or 0
  -- Those who listen by a pattern have heard it too, and do not count.
  if failure(heard) or heard > known then
    local listed = attempt('PUBSUB', 'NUMSUB', channel)
    if not failure(listed) then others = math.max(others, listed[2] - known) end
  end
  contended = others > 0
end

local function carryOut(i)
  local untils, permits, counter, latch = KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i]
  local at = 6 * i - 3
  local verb, ttlMs, extra = ARGV[at], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local mine, of = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local holder, waits = front .. ':' .. ARGV[at + 1], verb == 'acquire' or verb == 'next'
  local channel = string.gsub(counter, ':token$', ':channel')

  for _, gone in ipairs(call('ZRANGEBYSCORE', untils, '-inf', nowMs)) do forget(untils, permits, gone) end
  local known = call('HMGET', permits, holder, 'used', 'wanted', 'wantedUntil', 'waiting', 'waitingUntil')
  local held, used, wantedUntil = known[1], tonumber(known[2]) or 0, tonumber(known[4]) or 0
  local wanted = wantedUntil > nowMs and known[3]
  local claimant = (tonumber(known[6]) or 0) > nowMs and known[5]

  if verb == 'renew' then
    if not held then return 0, 0 end
    -- A Redis that is full takes this, and then the ZADD.
    call('PEXPIREAT', untils, nowMs + ttlMs)
    call('ZADD', untils, nowMs + ttlMs, holder)
    keepCounter(counter, ttlMs)
    return 1, 0
  elseif verb == 'release' then
    local before, told = call('GET', latch), 0
    local gaveUp = wanted == holder
    contended = before and true
    if not held and claimant == front then call('HDEL', permits, 'waiting', 'waitingUntil') end
    if gaveUp then call('HDEL', permits, 'wanted', 'wantedUntil') end
    if held then forget(untils, permits, holder) end
    -- They are free, whatever fails from here on.
    local heard = (held or gaveUp) and attempt('PUBLISH', channel, '0')
    told = failure(heard) or 0
    if held and extra == '-1' then contended = true
    elseif held and extra ~= '' then count(channel, heard, claimant, tonumber(extra)) end
    if not before then attempt('SET', latch, held and 1 or 0, 'PX', latchMs) end
    return (before or held and '1') == '1' and 1 or 0, told
  elseif held then
    call('ZADD', untils, nowMs + ttlMs, holder)
    return 1, tonumber(match(held, '%d+$')) or 0
  elseif call('EXISTS', latch) == 1 then
    return 2, 0
  elseif (verb == 'next' or verb == 'try next') and contended then
    return 3, others
  elseif used + mine <= of and (not wanted or wanted == holder) then
    local token = call('INCRBY', counter, extra) - extra + 1
    keepCounter(counter, ttlMs)
    call('ZADD', untils, nowMs + ttlMs, holder)
    local now = string.format('%.0f', used + mine)
    call('HSET', permits, 'used', now, holder, mine .. ':' .. string.format('%.0f', token))
    if waits and claimant == front then attempt('HDEL', permits, 'waiting', 'waitingUntil') end
    if wanted then
      attempt('HDEL', permits, 'wanted', 'wantedUntil')
      -- Those that kept away may have what is left.
      if used + mine < of then attempt('PUBLISH', channel, '0') end
    end
    return 1, token
  end
  -- Whoever wants many permits would never find them free together: the others let it go first.
  local wants = waits and mine > 1 and (not wanted or wanted == holder)
  if wants then attempt('HSET', permits, 'wanted', holder, 'wantedUntil', nowMs + wantedMs) end
  if waits and (not claimant or claimant == front) then
    attempt('HSET', permits, 'waiting', front, 'waitingUntil', nowMs + waitingMs)
  end
  local first = tonumber(call('ZRANGE', untils, 0, 0, 'WITHSCORES')[2]) or math.huge
  if wants then first = math.min(first, nowMs + wantedMs / 2)
  elseif wanted then first = math.min(first, wantedUntil) end
  return waits and 4 or 0, math.max(1, first - nowMs)
end

local reply = {}
for i = 1, #KEYS / 4 do
  local done, code, value = pcall(carryOut, i)
  if not done then code, value = -1, failure(code) or tostring(code) end
  keep(KEYS[4 * i - 3], KEYS[4 * i - 2])
  reply[2 * i - 1], reply[2 * i] = code, value
end
return reply
