-- Carries out commands on locks, in order, in the layout of Redisson's RLock and RFencedLock. Each may be sent twice, and
-- one that fails harms no other.
--
-- KEYS[n]   per command four, unless ARGV names them: the lock, a hash { holder = 1 } with a TTL; its fencing counter;
--           the latch of this front, 'upTo:ended': all claims up to that number are withdrawn, and that hold was released
--           last; the front of a claim that waits and was refused not long ago
-- ARGV[1]   front, the first half of a holder's name
-- ARGV[2]   how long a fencing counter that is not used is kept, in ms; 0 for ever
-- ARGV[3]   how many names of keys follow here, for a client that would put its prefix before those in KEYS
-- ARGV[n]   per command six: verb, number (the second half), ttlMs, channel, 1 if the claim waits, and by verb
--           acquire, next: how many fencing tokens the grant takes; next is refused if others are to go before it
--           release: how many subscribers of the channel do not count as others, -1 if that cannot be known, or '' if it
--           does not matter
-- returns   per command two: 1 yes, 0 no, 2 withdrawn, 3 after others, 4 no, but it is known to wait, or -1 failed;
--           then the first token of a grant, the PTTL of a refusal, how many others there are if that is known, the message
--           of a failure; of a release, 0 or why its waiters could not be told
local call, attempt, match = redis.call, redis.pcall, string.match
local latchMs, waitingMs = 20000, 2000
local front, counterMs, named = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local names = KEYS
if named > 0 then
  names = {}
  for i = 1, named do names[i] = ARGV[3 + i] end
end
local contended, others = false, 0

local function failure(reply)
  return type(reply) == 'table' and reply.err
end

-- Something else lies at the key, so it is not held.
local function isOther(reply)
  return failure(reply) and match(failure(reply), 'WRONGTYPE')
end

local function withdrawn(latch, number)
  local upTo = match(call('GET', latch) or '0', '^%d+')
  return tonumber(number) <= (tonumber(upTo) or 0)
end

-- A lock has a TTL, and its fields are holders with a count: 'id:number'; 'mode' and 'id:number:write' in a Redisson's
-- read-write lock.
local function isLock(lock, leftMs)
  local field, value = unpack(call('HRANDFIELD', lock, 1, 'WITHVALUES'))
  if leftMs < 0 then return false end
  return field == 'mode' or (match(field, ':%d+$') or match(field, ':%d+:write$')) and match(value, '^%d+$')
end

local function count(channel, waiting, known)
  local listed, claimant = attempt('PUBSUB', 'NUMSUB', channel), attempt('GET', waiting)
  local listening = failure(listed) and 0 or listed[2]
  others = math.max(listening - known, type(claimant) == 'string' and claimant ~= front and 1 or 0)
  contended = others > 0
end

local function release(lock, latch, waiting, channel, number, known)
  local told, freed = 0, attempt('HDEL', lock, front .. ':' .. number)
  if failure(freed) and not isOther(freed) then return -1, failure(freed) end
  if freed == 1 then
    -- It is free, whatever fails from here on.
    told = failure(attempt('PUBLISH', channel, '0')) or 0
    if known == '-1' then contended = true
    elseif known ~= '' then count(channel, waiting, tonumber(known)) end
    local before = attempt('SET', latch, number .. ':' .. number, 'PX', latchMs, 'GET')
    local upTo = type(before) == 'string' and match(before, '^%d+')
    if upTo and tonumber(upTo) > tonumber(number) then
      attempt('SET', latch, upTo .. ':' .. number, 'PX', latchMs)
    end
    return 1, told
  end
  if call('GET', waiting) == front then call('DEL', waiting) end
  local upTo, ended = match(call('GET', latch) or '0:0', '^(%d+):(%d+)$')
  contended = tonumber(number) <= tonumber(upTo)
  if not contended then call('SET', latch, number .. ':' .. ended, 'PX', latchMs) end
  return ended == number and 1 or 0, told
end

local function keepCounter(counter, ttlMs)
  if counterMs > 0 then attempt('PEXPIRE', counter, math.max(counterMs, ttlMs)) end
end

local function grant(lock, counter, waiting, number, ttlMs, tokens, waits)
  local last = call('INCRBY', counter, tokens)
  keepCounter(counter, ttlMs)
  call('HSET', lock, front .. ':' .. number, 1)
  local unbounded = failure(attempt('PEXPIRE', lock, ttlMs))
  if unbounded then
    attempt('HDEL', lock, front .. ':' .. number)
    return -1, unbounded
  end
  if waits and attempt('GET', waiting) == front then attempt('DEL', waiting) end
  return 1, last - tokens + 1
end

local function acquire(lock, counter, latch, waiting, number, ttlMs, tokens, waits, yields)
  if call('EXISTS', lock) == 0 then
    if withdrawn(latch, number) then return 2, 0 end
    if yields then return 3, others end
    return grant(lock, counter, waiting, number, ttlMs, tokens, waits)
  end
  if call('HEXISTS', lock, front .. ':' .. number) == 1 then
    call('PEXPIRE', lock, ttlMs)
    return 1, (tonumber(call('GET', counter)) or tokens) - tokens + 1
  end
  if withdrawn(latch, number) then return 2, 0 end
  local leftMs = call('PTTL', lock)
  if not isLock(lock, leftMs) then
    return -1, 'its key holds a hash that is not a lock; redisLock can be given a prefix of its own'
  end
  if not waits then return 0, leftMs end
  local claimant = call('GET', waiting)
  if not claimant or claimant == front then attempt('SET', waiting, front, 'PX', waitingMs) end
  return 4, leftMs
end

local function carryOut(i)
  local lock, counter, latch, waiting = names[4 * i - 3], names[4 * i - 2], names[4 * i - 1], names[4 * i]
  local at = named + 6 * i - 2
  local verb, number, ttlMs, channel = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local waits, extra = ARGV[at + 4] == '1', ARGV[at + 5]
  if verb == 'release' then return release(lock, latch, waiting, channel, number, extra) end
  if verb == 'renew' then
    local held = attempt('HEXISTS', lock, front .. ':' .. number)
    if failure(held) and not isOther(held) then return -1, failure(held) end
    if held ~= 1 then return 0, 0 end
    call('PEXPIRE', lock, ttlMs)
    keepCounter(counter, ttlMs)
    return 1, 0
  end
  return acquire(lock, counter, latch, waiting, number, ttlMs, tonumber(extra), waits, verb == 'next' and contended)
end

local reply = {}
for i = 1, #names / 4 do
  local done, code, value = pcall(carryOut, i)
  if not done then code, value = -1, failure(code) or tostring(code) end
  reply[2 * i - 1], reply[2 * i] = code, value
end
return reply
