-- Takes the turns of keys that have nothing fresh, and reads their entries once more in the same step. Sent twice, it takes
-- the same turns. What is not an entry, or not a turn, counts as absent.
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
local headBytes = 54
local reply, n = { nowMs }, 1

-- Returns the entry, when it began and when it expires, or false. `readEntry` in entry.ts makes the same checks.
local function read(name)
  local entry = redis.pcall('GET', name)
  if type(entry) ~= 'string' or #entry < headBytes then return false end
  local format, kind, since, expires, staleMs, loadMs, count, _, tagBytes = struct.unpack('<BBdddddc8I4', entry)
  local valid = format == 1 and kind <= 1 and headBytes + tagBytes <= #entry
    and since >= 0 and expires >= 0 and staleMs >= 0 and loadMs >= 0 and count >= 0
  if not valid then return false end
  return entry, since, expires
end

-- Returns the id, the numbers and the kind of the turn that somebody has. Only what was not written here has no TTL.
local function turnOf(name)
  local record = redis.pcall('GET', name)
  if type(record) ~= 'string' or #record > 200 then return nil end
  local holder, number, stored, how = string.match(record, '^([^|]+)|(%d+)|(%d+)|([s01])$')
  if not holder or #number > 15 or tonumber(stored) > tonumber(number) or redis.call('PTTL', name) < 0 then return nil end
  return holder, number, stored, how
end

local function take(place, name, replaces)
  local id = prefix .. place
  local holder, number, stored, how = turnOf(name)
  -- It was taken when this script was sent for the first time.
  if holder == id then return id, 1 end
  if holder and holder ~= replaces then
    if shared then
      number = string.format('%d', number + 1)
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
  local over, replaces = tonumber(ARGV[2 * i + 2]), ARGV[2 * i + 3]
  local entry, since, expires = read(KEYS[2 * i - 1])
  local fresh = entry and expires > nowMs and not (over and since <= over)
  local id, number = false, false
  if not fresh then id, number = take(i, KEYS[2 * i], replaces) end
  reply[n + 1], reply[n + 2], reply[n + 3] = entry, id, number
  n = n + 3
end
return reply
