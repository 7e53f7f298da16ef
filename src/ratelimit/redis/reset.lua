-- Forgets buckets. Sent twice it acts once.
--
-- KEYS[1]   latch: the number and the answer of the last call that changed something; calls of one latch follow each other
-- KEYS[n]   bucket
-- ARGV[1]   number of this call
-- returns   1, or nothing at all if a later call of the latch has been carried out
local number = tonumber(ARGV[1])
local stored = redis.call('GET', KEYS[1])
if stored then
  local last = struct.unpack('<d', stored)
  if last == number then return { 1 } end
  if last > number then return {} end
end
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('SET', KEYS[1], struct.pack('<d', number), 'PX', 20000)
return { 1 }
