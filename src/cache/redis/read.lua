-- Reads entries where MGET would do, if the client might send that to a replica.
--
-- KEYS      the entries, and the marks where they lie beside them
-- returns   { per key what is there, or false for nothing, or for what is no string }
return redis.call('MGET', unpack(KEYS))
