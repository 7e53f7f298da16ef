-- Carries out commands on locks, in order, in the layout of Redisson's RLock and RFencedLock. Each may be sent twice.
--
-- KEYS[n]   per command four: the lock, a hash { holder = 1 } with a TTL; its channel; its fencing counter; the latch of
--           this front, 'upTo:ended': all claims up to that number are withdrawn, and that hold was released last
-- ARGV[1]   front, the first half of a holder's name
-- ARGV[n]   per command four: verb, number (the second half), ttlMs, and by verb
--           acquire, next: how many fencing tokens the grant takes; next is refused if the release before it woke others
--           renew: nothing
--           release: how many subscribers of the channel are of this process, or -1 if that cannot be compared
-- returns   per command two: 1 yes, 0 no, 2 withdrawn, 3 after others, or -1 failed;
--           then the first token of a grant, the PTTL of a refusal, how many others there are if that is known, the message
--           of a failure
local call, pcall, match = redis.call, redis.pcall, string.match
local latchMs = 20000
local reply, n = {}, 0
local contended, others = false, 0

local function withdrawn(latch, number)
  local upTo = match(call('GET', latch) or '0', '^%d+')
  return tonumber(number) <= tonumber(upTo)
end

for i = 1, #KEYS / 4 do
  local lock, channel, counter, latch = KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i]
  local verb, number, ttlMs, extra = ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i], ARGV[4 * i + 1]
  local holder = ARGV[1] .. ':' .. number
  local code, value = 0, 0

  if verb == 'release' then
    if pcall('HDEL', lock, holder) == 1 then
      code = 1
      local subscribers = call('PUBLISH', channel, '0')
      contended = extra == '-1' or subscribers > tonumber(extra)
      others = extra == '-1' and 0 or subscribers - extra
      local before = call('SET', latch, number .. ':' .. number, 'PX', latchMs, 'GET')
      local upTo = before and match(before, '^%d+')
      if upTo and tonumber(upTo) > tonumber(number) then
        call('SET', latch, upTo .. ':' .. number, 'PX', latchMs)
      end
    else
      local upTo, ended = match(call('GET', latch) or '0:0', '^(%d+):(%d+)$')
      code = ended == number and 1 or 0
      contended = tonumber(number) <= tonumber(upTo)
      if not contended then call('SET', latch, number .. ':' .. ended, 'PX', latchMs) end
    end
  elseif verb == 'renew' then
    if pcall('HEXISTS', lock, holder) == 1 then
      call('PEXPIRE', lock, ttlMs)
      code = 1
    end
  elseif call('EXISTS', lock) == 0 then
    if withdrawn(latch, number) then
      code = 2
    elseif verb == 'next' and contended then
      code, value = 3, others
    else
      local last = pcall('INCRBY', counter, extra)
      if type(last) == 'table' then
        code, value = -1, last.err
      else
        call('HSET', lock, holder, 1)
        call('PEXPIRE', lock, ttlMs)
        code, value = 1, last - extra + 1
      end
    end
  else
    local held = pcall('HEXISTS', lock, holder)
    if type(held) == 'table' then
      code, value = -1, held.err
    elseif held == 1 then
      call('PEXPIRE', lock, ttlMs)
      code, value = 1, (tonumber(call('GET', counter)) or extra) - extra + 1
    elseif withdrawn(latch, number) then
      code = 2
    else
      value = call('PTTL', lock)
    end
  end
  reply[n + 1], reply[n + 2] = code, value
  n = n + 2
end
return reply
