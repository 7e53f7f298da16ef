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
--           acquire, next: how many fencing tokens the grant takes; next is refused if others are to go before it. 'try '
--           before it says that the claim does not wait
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

local function withdrawn(latch, number)
  return latch and tonumber(number) <= (tonumber(match(latch, '^%d+')) or 0)
end

local function keepCounter(counter, ttlMs)
  if counterMs > 0 then attempt('PEXPIRE', counter, math.max(counterMs, ttlMs)) end
end

-- One function: each that a script defines costs as much as a fifth of a command, at every call of the script.
local function carryOut(i)
  local lock, counter, latch, waiting = names[4 * i - 3], names[4 * i - 2], names[4 * i - 1], names[4 * i]
  local at = named + 4 * i
  local verb, number, ttlMs, extra = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local holder, waits = front .. ':' .. number, verb == 'acquire' or verb == 'next'

  if verb == 'release' or verb == 'renew' then
    local held = attempt(verb == 'release' and 'HDEL' or 'HEXISTS', lock, holder)
    -- Where something else lies at the key, it is simply not held.
    if failure(held) and not match(failure(held), 'WRONGTYPE') then return -1, failure(held) end
    if verb == 'renew' then
      if held ~= 1 then return 0, 0 end
      call('PEXPIRE', lock, ttlMs)
      keepCounter(counter, ttlMs)
      return 1, 0
    elseif held ~= 1 then
      if call('GET', waiting) == front then call('DEL', waiting) end
      local upTo, ended = match(call('GET', latch) or '0:0', '^(%d+):(%d+)$')
      contended = tonumber(number) <= tonumber(upTo)
      if not contended then call('SET', latch, number .. ':' .. ended, 'PX', latchMs) end
      return ended == number and 1 or 0, 0
    end
    -- It is free, whatever fails from here on.
    local channel = 'redisson_lock__channel' .. string.sub(counter, #'redisson_lock_token' + 1)
    local heard = attempt('PUBLISH', channel, '0')
    if extra == '-1' then
      contended = true
    elseif extra ~= '' then
      local claimant = attempt('GET', waiting)
      others = claimant and not failure(claimant) and claimant ~= front and 1 or 0
      -- Those who listen by a pattern have heard it too, and do not count.
      if failure(heard) or heard > tonumber(extra) then
        local listed = attempt('PUBSUB', 'NUMSUB', channel)
        if not failure(listed) then others = math.max(others, listed[2] - extra) end
      end
      contended = others > 0
    end
    local before = attempt('SET', latch, number .. ':' .. number, 'PX', latchMs, 'GET')
    local upTo = not failure(before) and before and match(before, '^%d+')
    if upTo and tonumber(upTo) > tonumber(number) then
      attempt('SET', latch, upTo .. ':' .. number, 'PX', latchMs)
    end
    return 1, failure(heard) or 0
  end

  local leftMs = call('PTTL', lock)
  if leftMs == -2 then
    local claims = call('MGET', latch, waiting)
    if withdrawn(claims[1], number) then return 2, 0 end
    if contended and (verb == 'next' or verb == 'try next') then return 3, others end
    local last = call('INCRBY', counter, extra)
    keepCounter(counter, ttlMs)
    call('HSET', lock, holder, 1)
    local unbounded = failure(attempt('PEXPIRE', lock, ttlMs))
    if unbounded then
      attempt('HDEL', lock, holder)
      return -1, unbounded
    end
    if claims[2] == front and waits then attempt('DEL', waiting) end
    return 1, last - extra + 1
  elseif call('HEXISTS', lock, holder) == 1 then
    call('PEXPIRE', lock, ttlMs)
    return 1, (tonumber(call('GET', counter)) or extra) - extra + 1
  elseif withdrawn(call('GET', latch), number) then
    return 2, 0
  end
  -- A lock has a TTL, and its fields are holders with a count: 'id:number'; 'mode' and 'id:number:write' in a Redisson's
  -- read-write lock.
  local field, value = unpack(call('HRANDFIELD', lock, 1, 'WITHVALUES'))
  local isHolder = match(field, ':%d+$') or match(field, ':%d+:write$')
  if leftMs < 0 or not (field == 'mode' or isHolder and match(value, '^%d+$')) then
    return -1, 'its key holds a hash that is not a lock; redisLock can be given a prefix of its own'
  end
  if not waits then return 0, leftMs end
  local claimant = call('GET', waiting)
  if not claimant or claimant == front then attempt('SET', waiting, front, 'PX', waitingMs) end
  return 4, leftMs
end

local reply = {}
for i = 1, #names / 4 do
  local done, code, value = pcall(carryOut, i)
  if not done then code, value = -1, failure(code) or tostring(code) end
  reply[2 * i - 1], reply[2 * i] = code, value
end
return reply
