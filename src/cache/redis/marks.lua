-- Tells where the marks stand, and makes one if asked. Sent twice, with the same ids, it makes one. What is not a record of
-- marks counts as absent, and marks that were lost come back under another epoch.
--
-- KEYS[1]   marks  'epoch|count|cleared|floor'
-- KEYS[2]   tags   zset { tag = the count of its last mark }, the newest 10,000 of them
-- KEYS[n]   per id of the mark one: whether it was made
-- ARGV[1]   verb   'read', 'tags' or 'clear'
-- ARGV[2]   epoch  of the marks, if there are none yet
-- ARGV[3]   channel of the bus
-- ARGV[4]   what to say on it
-- ARGV[5]   how many of the tags that follow get a mark
-- ARGV[6...] tags: those, and those that are asked for
-- returns   { epoch, count, cleared, floor, why Redis refused to publish, or '', per tag asked for its mark or 0 }
local most = 10000
local marks, zset, verb, marked = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[5])
local record = redis.pcall('GET', marks)
local refused = ''

-- `readMarks` in entry.ts makes the same checks.
local epoch, count, cleared, floor
if type(record) == 'string' and #record <= 64 then
  epoch, count, cleared, floor = string.match(record, '^(' .. string.rep('[0-9a-f]', 8) .. ')|(%d+)|(%d+)|(%d+)$')
  if epoch and (#count > 15 or #cleared > 15 or #floor > 15) then epoch = nil end
end
count, cleared, floor = tonumber(count), tonumber(cleared), tonumber(floor)
if not epoch or cleared > count or floor > count then
  epoch, count, cleared, floor, record = ARGV[2], 0, 0, 0, ''
  redis.call('DEL', zset)
end

local kind = redis.call('TYPE', zset).ok
if kind ~= 'zset' then
  -- A Redis that is read-only refuses even to delete what is not there.
  if kind ~= 'none' then redis.call('DEL', zset) end
  -- If a tag has been marked since the last clear, the marks of all tags are lost.
  if count > cleared then floor = count end
end

local known = 0
for i = 3, #KEYS do
  if not redis.call('SET', KEYS[i], '1', 'NX', 'PX', 60000) then known = known + 1 end
end
if known > 0 and known == #KEYS - 2 then verb = 'read' end

if verb ~= 'read' then
  count = count + 1
  if verb == 'clear' then
    cleared = count
    redis.call('DEL', zset)
  else
    for i = 6, 5 + marked do redis.call('ZADD', zset, count, ARGV[i]) end
    local extra = redis.call('ZCARD', zset) - most
    if extra > 0 then
      local gone = redis.call('ZPOPMIN', zset, extra)
      floor = math.max(floor, math.min(count, tonumber(gone[#gone])))
    end
  end
end
local now = string.format('%s|%d|%d|%d', epoch, count, cleared, floor)
if now ~= record then redis.call('SET', marks, now) end
if verb ~= 'read' then
  -- The mark is made all the same.
  local told = redis.pcall('PUBLISH', ARGV[3], ARGV[4])
  if type(told) == 'table' then refused = told.err end
end

local reply = { epoch, count, cleared, floor, refused }
for i = 6 + marked, #ARGV do
  reply[#reply + 1] = math.min(count, math.max(floor, tonumber(redis.call('ZSCORE', zset, ARGV[i]) or 0)))
end
return reply
