-- Sets and deletes entries, takes the turns of their loads away, and tells it on the bus. Sent twice, or late, it undoes
-- nothing that is newer.
--
-- KEYS[n]   per change two: the entry, as in end.lua; the turn
-- ARGV[1]   channel of the bus
-- ARGV[2]   what to say on it
-- ARGV[n]   per change ten: verb 'set' or 'delete'; the time, by this server's clock, at which it was asked for, or '' if it
--           comes last in any case; and for set: freshMs, staleMs, loadMs, count, epoch, tags, kind, body
-- returns   { now in ms, why Redis refused to publish, or '', per change 1, or 0 if something newer was there }
local deletedMs = 60000
local longestMs = 1e15
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = { nowMs, '' }

-- When the entry began or was deleted. What is not an entry counts as absent.
local function sinceOf(name)
  local head = redis.pcall('GETRANGE', name, 0, 9)
  if type(head) ~= 'string' or #head < 10 then return nil end
  local format, kind, since = struct.unpack('<BBd', head)
  return format == 1 and kind <= 2 and since >= 0 and since or nil
end

for i = 1, #KEYS / 2 do
  local name, turn, at = KEYS[2 * i - 1], KEYS[2 * i], 10 * i - 7
  local done = true
  local asOf = tonumber(ARGV[at + 1])
  -- The order in which changes were asked for decides, and not the order in which they arrive.
  local changedMs = math.min(asOf or nowMs, nowMs)
  local sinceMs = sinceOf(name)
  -- What was changed in the future was changed before this server's clock went back.
  if sinceMs and sinceMs <= nowMs then
    done = not asOf or sinceMs <= asOf
    changedMs = math.max(changedMs, sinceMs)
  end
  if ARGV[at] == 'delete' then
    -- It is remembered for a while that there was a change.
    if done then redis.call('SET', name, struct.pack('<BBd', 1, 2, changedMs), 'PX', deletedMs) end
  else
    local keptMs = tonumber(ARGV[at + 2]) + tonumber(ARGV[at + 3])
    -- What was deleted or set since then may be forgotten.
    if asOf and asOf < nowMs - math.max(1000, math.min(deletedMs, keptMs / 2)) then done = false end
    if done then
      local freshMs, staleMs = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
      local tags = ARGV[at + 7]
      local entry = struct.pack(
        '<BBdddddc8I4', 1, tonumber(ARGV[at + 8]), changedMs, nowMs + freshMs, staleMs, tonumber(ARGV[at + 4]),
        tonumber(ARGV[at + 5]), ARGV[at + 6], #tags
      ) .. tags .. ARGV[at + 9]
      if keptMs < longestMs then
        redis.call('SET', name, entry, 'PX', math.max(1, math.ceil(keptMs)))
      else
        redis.call('SET', name, entry)
      end
    end
  end
  if done then redis.call('DEL', turn) end
  reply[i + 2] = done and 1 or 0
end
-- The changes are made all the same.
local told = redis.pcall('PUBLISH', ARGV[1], ARGV[2])
if type(told) == 'table' then reply[2] = told.err end
return reply
