-- Takes the turns of keys that have nothing fresh, and reads their entries once more in the same step. Sent twice, it takes
-- the same turns.
--
-- KEYS[n]   per key two: the entry, as in end.lua; the turn, 'id|number|newest number stored|how', where how is s if loads
--           share it, else 1 if somebody waits for its end, else 0
-- ARGV[1]   first part of the ids of the turns that are taken; the place of the key is the second
-- ARGV[2]   ms that a turn lasts
-- ARGV[3]   1 if loads share a turn, 0 if others wait for its end
-- ARGV[n]   per key two: takes the turn also over an entry that is no newer than this time, if it is not empty;
--           and from the turn with this id, if it is not empty
-- returns   { now in ms, per key three: the entry; the id of the turn, or '' if another has it, or false; and the number
--           of the turn, or the ms that the other has left, or false }
local prefix, leaseMs, shared = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local deleted = 2
local reply, n = { nowMs }, 1

local function take(place, name, replaces)
  local id = prefix .. place
  local record = redis.call('GET', name)
  local holder, number, stored, how
  if record then holder, number, stored, how = string.match(record, '^(.-)|(%d+)|(%d+)|(.)$') end
  if holder and holder ~= id and holder ~= replaces then
    if shared then
      number = number + 1
      local lastMs = math.max(leaseMs, redis.call('PTTL', name))
      redis.call('SET', name, holder .. '|' .. number .. '|' .. stored .. '|' .. how, 'PX', lastMs)
      return holder, number
    elseif how ~= 's' then
      if how == '0' then redis.call('SET', name, holder .. '|' .. number .. '|' .. stored .. '|1', 'KEEPTTL') end
      return '', redis.call('PTTL', name)
    end
  end
  redis.call('SET', name, id .. '|1|0|' .. (shared and 's' or '0'), 'PX', leaseMs)
  return id, 1
end

for i = 1, #KEYS / 2 do
  local entry, over, replaces = redis.call('GET', KEYS[2 * i - 1]), tonumber(ARGV[2 * i + 2]), ARGV[2 * i + 3]
  if entry and string.byte(entry, 2) == deleted then entry = false end
  local fresh = entry and struct.unpack('<d', entry, 11) > nowMs
  if fresh and over then fresh = struct.unpack('<d', entry, 3) > over end
  local id, number = false, false
  if not fresh then id, number = take(i, KEYS[2 * i], replaces) end
  reply[n + 1], reply[n + 2], reply[n + 3] = entry, id, number
  n = n + 3
end
return reply
