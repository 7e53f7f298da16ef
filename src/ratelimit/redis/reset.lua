-- Forgets buckets, once.
--
-- KEYS[1]   marker of this call: a client that lost the reply sends the script again
-- KEYS[n]   bucket
-- ARGV[1]   for how many milliseconds the marker is kept
-- returns   1, or 0 if the call had been made before
if not redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1]) then return 0 end
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
