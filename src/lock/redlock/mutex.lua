-- Carries out one command on the lock of one node. The lock is what every implementation of Redlock makes it, a string
-- with a TTL. Each command may be sent twice, and come late.
--
-- KEYS[1]  the lock: 'front:number:attempt' of its holder, or what another program has put there
-- KEYS[2]  the latch of this front, 'upTo:ended': all claims up to that number are withdrawn, and that hold was released
--          last
-- KEYS[3]  wanted: the front that was refused last and waits, for a while
-- ARGV[1]  verb: acquire; next, an acquire that is refused while others want the lock; undo, which takes back the
--          attempts of an acquire up to this one; renew; release
-- ARGV[2]  front, the first third of a holder's name
-- ARGV[3]  number, which names the claim
-- ARGV[4]  attempt: grows, so that what is late cannot touch what came after it
-- ARGV[5]  ttlMs
-- ARGV[6]  for how many ms a refused claim that waits is wanted, or 0
-- returns  3 yes (as many as there are KEYS, which is what the package counts as a vote for), 0 no, -1 withdrawn,
--          -2 after others, -3 what the lock's key holds has no TTL, so it is no lock; of a renewal 1: it was not held here, and is now, since nobody else held it
local lock, latch, wanted = KEYS[1], KEYS[2], KEYS[3]
local verb, front, number, attempt, ttlMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local latchMs = 20000
local claim = front .. ':' .. ARGV[3] .. ':'
local held = redis.call('GET', lock)
local mine = held and string.sub(held, 1, #claim) == claim and tonumber(string.sub(held, #claim + 1))

local function take()
  redis.call('SET', lock, claim .. ARGV[4], 'PX', ttlMs)
end

local function withdrawn()
  local upTo, ended = string.match(redis.call('GET', latch) or '0:0', '^(%d+):(%d+)$')
  return tonumber(upTo), tonumber(ended)
end

local function withdraw(upTo, ended)
  redis.call('SET', latch, string.format('%d:%d', upTo, ended), 'PX', latchMs)
end

if verb == 'acquire' or verb == 'next' then
  if mine then
    if mine > attempt then return 0 end
  elseif withdrawn() >= number then
    return -1
  elseif held then
    if redis.call('PTTL', lock) == -1 then return -3 end
    if ARGV[6] ~= '0' then redis.call('SET', wanted, front, 'PX', ARGV[6]) end
    return 0
  elseif verb == 'next' and (redis.call('GET', wanted) or front) ~= front then
    return -2
  end
  take()
  return 3
elseif verb == 'renew' then
  if mine then
    redis.call('PEXPIRE', lock, ttlMs)
    return 3
  elseif held or withdrawn() >= number then
    return 0
  end
  take()
  return 1
elseif verb == 'undo' then
  if mine and mine <= attempt then redis.call('DEL', lock) end
  return 3
end

local upTo, ended = withdrawn()
if mine then
  redis.call('DEL', lock)
  withdraw(math.max(upTo, number), number)
  return 3
end
if number > upTo then withdraw(number, ended) end
return number == ended and 3 or 0
