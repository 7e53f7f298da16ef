-- Carries out commands on locks, in order, in the layout of Redisson's RLock and RFencedLock. Each may be sent twice, and
-- one that fails harms no other.
--
-- KEYS[n]   per command four, unless ARGV names them: the lock, a hash { holder = 1 } with a TTL; its fencing counter, from
--           whose name that of the channel follows, where releases are told;
--           the latch of this front, 'upTo:ended': all claims up to that number are withdrawn, and that hold was released
--           last; the front of a claim that waits and was refused not long ago
-- ARGV[1]   front, the first half of a holder's name
-- ARGV[2]   how long a fencing counter that is not used is kept, in ms; 0 for ever
-- ARGV[3]   how many names of keys follow here, for a client that would put its prefix before those in KEYS
-- ARGV[n]   per command four: verb, number (the second half), ttlMs, and by verb
--           acquire, next, try: how many fencing tokens the grant takes; next is refused if others are to go before it, and
--           who tries does not wait
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

-- Why a holder could not be looked for; where something else lies at the key, it is simply not there.
local function trouble(reply)
  local why = failure(reply)
  return why and not match(why, 'WRONGTYPE') and why
end

local function withdrawn(latch, number)
  return latch and tonumber(number) <= (tonumber(match(latch, '^%d+')) or 0)
end

local function release(lock, counter, latch, waiting, number, known)
  local told, freed = 0, attempt('HDEL', lock, front .. ':' .. number)
  if trouble(freed) then return -1, trouble(freed) end
  if freed == 1 then
    -- It is free, whatever fails from here on.
    local channel = 'redisson_lock__channel' .. string.sub(counter, #'redisson_lock_token' + 1)
    told = failure(attempt('PUBLISH', channel, '0')) or 0
    if known == '-1' then contended = true
    elseif known ~= '' then
      local listed, claimant = attempt('PUBSUB', 'NUMSUB', channel), attempt('GET', waiting)
      local listening = failure(listed) and 0 or listed[2]
      others = math.max(listening - known, type(claimant) == 'string' and claimant ~= front and 1 or 0)
      contended = others > 0
    end
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

local function acquire(verb, lock, counter, latch, waiting, number, ttlMs, tokens)
  local holder = front .. ':' .. number
  local leftMs = call('PTTL', lock)
  if leftMs == -2 then
    local claims = call('MGET', latch, waiting)
    if withdrawn(claims[1], number) then return 2, 0 end
    if verb == 'next' and contended then return 3, others end
    local last = call('INCRBY', counter, tokens)
    keepCounter(counter, ttlMs)
    call('HSET', lock, holder, 1)
    local unbounded = failure(attempt('PEXPIRE', lock, ttlMs))
    if unbounded then
      attempt('HDEL', lock, holder)
      return -1, unbounded
    end
    if claims[2] == front and verb ~= 'try' then attempt('DEL', waiting) end
    return 1, last - tokens + 1
  end
  if call('HEXISTS', lock, holder) == 1 then
    call('PEXPIRE', lock, ttlMs)
    return 1, (tonumber(call('GET', counter)) or tokens) - tokens + 1
  end
  if withdrawn(call('GET', latch), number) then return 2, 0 end
  -- A lock has a TTL, and its fields are holders with a count: 'id:number'; 'mode' and 'id:number:write' in a Redisson's
  -- read-write lock.
  local field, value = unpack(call('HRANDFIELD', lock, 1, 'WITHVALUES'))
  local isHolder = match(field, ':%d+$') or match(field, ':%d+:write$')
  if leftMs < 0 or not (field == 'mode' or isHolder and match(value, '^%d+$')) then
    return -1, 'its key holds a hash that is not a lock; redisLock can be given a prefix of its own'
  end
  if verb == 'try' then return 0, leftMs end
  local claimant = call('GET', waiting)
  if not claimant or claimant == front then attempt('SET', waiting, front, 'PX', waitingMs) end
  return 4, leftMs
end

local function carryOut(i)
  local lock, counter, latch, waiting = names[4 * i - 3], names[4 * i - 2], names[4 * i - 1], names[4 * i]
  local at = named + 4 * i
  local verb, number = ARGV[at], ARGV[at + 1]
  if verb == 'release' then return release(lock, counter, latch, waiting, number, ARGV[at + 3]) end
  local ttlMs = tonumber(ARGV[at + 2])
  if verb ~= 'renew' then return acquire(verb, lock, counter, latch, waiting, number, ttlMs, tonumber(ARGV[at + 3])) end
  local held = attempt('HEXISTS', lock, front .. ':' .. number)
  if trouble(held) then return -1, trouble(held) end
  if held ~= 1 then return 0, 0 end
  call('PEXPIRE', lock, ttlMs)
  keepCounter(counter, ttlMs)
  return 1, 0
end

local reply = {}
for i = 1, #names / 4 do
  local done, code, value = pcall(carryOut, i)
  if not done then code, value = -1, failure(code) or tostring(code) end
  reply[2 * i - 1], reply[2 * i] = code, value
end
return reply
