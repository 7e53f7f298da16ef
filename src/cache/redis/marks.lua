-- Tells where the marks stand, and makes one if asked. Sent twice, with the same ids, it makes one.
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
-- returns   { epoch, count, cleared, floor, per tag asked for its mark or 0 }
local most = 10000
local marks, zset, verb, marked = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[5])
local record = redis.call('GET', marks)
local epoch, count, cleared, floor = string.match(record or '', '^(.-)|(%d+)|(%d+)|(%d+)$')
if not epoch then
  epoch = ARGV[2]
  redis.call('DEL', zset)
end
count, cleared, floor = tonumber(count) or 0, tonumber(cleared) or 0, tonumber(floor) or 0

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
      floor = tonumber(gone[#gone])
    end
  end
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
if verb ~= 'read' or not record then
  redis.call('SET', marks, string.format('%s|%d|%d|%d', epoch, count, cleared, floor))
end

local reply = { epoch, count, cleared, floor }
for i = 6 + marked, #ARGV do reply[#reply + 1] = tonumber(redis.call('ZSCORE', zset, ARGV[i]) or 0) end
return reply
