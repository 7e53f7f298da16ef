-- Tells the time of the server that has the key.
--
-- KEYS[1]  some key: on a Cluster it chooses the server
-- returns  now in ms
local time = KEYS[1] and redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)
