-- Ends turns, or lets them go on. Sent twice, it does no more. What is not a turn counts as absent.
--
-- An entry is a string: a byte 1; a byte for its kind: 0 value, 1 'there is none', 2 deleted; five doubles: since, expires,
-- staleMs, loadMs, count; the epoch, 8 bytes; the length of the tags, 4 bytes; the tags as JSON; the body. Of a deleted one
-- there is no more than since.
--
-- KEYS[n]   per turn two: the entry; the turn, as in read.lua
-- ARGV[1]   channel of the bus
-- ARGV[n]   per turn fourteen: verb 'fill', 'forget', 'release' or 'renew'; id; number; 1 if loads share it;
--           what to say on the bus if somebody waits; and by verb
--           fill: since, freshMs, staleMs, loadMs, count, epoch, tags, kind, body
--           renew: ms from now
-- returns   { why Redis refused to publish, or '', per turn 1, or 0 if it was there no more }
local channel = ARGV[1]
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local longestMs = 1e15
local reply = { '' }

-- As in take.lua.
local function turnOf(name)
  local record = redis.pcall('GET', name)
  if type(record) ~= 'string' or #record > 200 then return nil end
  local holder, number, stored, how = string.match(record, '^([^|]+)|(%d+)|(%d+)|([s01])$')
  if not holder or #number > 15 or tonumber(stored) > tonumber(number) or redis.call('PTTL', name) < 0 then return nil end
  return holder, number, stored, how
end

local function fill(name, at)
  local since, freshMs, staleMs = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local tags = ARGV[at + 6]
  local entry = struct.pack(
    '<BBdddddc8I4', 1, tonumber(ARGV[at + 7]), since, nowMs + freshMs, staleMs, tonumber(ARGV[at + 3]),
    tonumber(ARGV[at + 4]), ARGV[at + 5], #tags
  ) .. tags .. ARGV[at + 8]
  local keptMs = freshMs + staleMs
  if keptMs < longestMs then
    redis.call('SET', name, entry, 'PX', math.max(1, math.ceil(keptMs)))
  else
    redis.call('SET', name, entry)
  end
end

for i = 1, #KEYS / 2 do
  local name, turn, at = KEYS[2 * i - 1], KEYS[2 * i], 14 * i - 12
  local verb, id, mine, shared = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3] == '1'
  local holder, number, stored, how = turnOf(turn)
  local ok = holder == id
  if ok and verb == 'renew' then
    redis.call('PEXPIRE', turn, math.max(tonumber(ARGV[at + 5]), redis.call('PTTL', turn)))
  elseif ok then
    if verb ~= 'release' then
      ok = mine >= tonumber(stored)
      if ok and verb == 'fill' then fill(name, at + 5)
      elseif ok then redis.call('DEL', name) end
    end
    if not shared then
      redis.call('DEL', turn)
    elseif ok and verb ~= 'release' then
      redis.call('SET', turn, id .. '|' .. number .. '|' .. string.format('%d', mine) .. '|' .. how, 'KEEPTTL')
    end
    if how == '1' then
      -- The turn has ended all the same.
      local told = redis.pcall('PUBLISH', channel, ARGV[at + 4])
      if type(told) == 'table' then reply[1] = told.err end
    end
  end
  reply[i + 1] = ok and 1 or 0
end
return reply
