-- Ends turns, or lets them go on. Sent twice, it does no more.
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
-- returns   { per turn 1, or 0 if it was there no more }
local channel = ARGV[1]
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local longestMs = 1e15
local reply = {}

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
  local record = redis.call('GET', turn)
  local holder, number, stored, how
  if record then holder, number, stored, how = string.match(record, '^(.-)|(%d+)|(%d+)|(.)$') end
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
    if how == '1' then redis.call('PUBLISH', channel, ARGV[at + 4]) end
  end
  reply[i] = ok and 1 or 0
end
return reply
