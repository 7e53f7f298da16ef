-- Puts tokens back into buckets, never above capacity, once.
--
-- KEYS[1]   marker of this call: a client that lost the reply sends the script again
-- KEYS[n]   bucket: per quota three doubles (tokens, atUs, tokensPerUs)
-- ARGV[1]   nowUs, '' in production: the server's clock; set only by the model tests
-- ARGV[2]   for how many milliseconds the marker is kept
-- ARGV[3]   how many quotas; ARGV[4...] per quota: capacity, tokensPerUs, initial
-- ARGV[n]   then per bucket: tokens to put back
-- returns   1, or 0 if the call had been made before
local nowUs = tonumber(ARGV[1])
if not nowUs then
  local time = redis.call('TIME')
  nowUs = time[1] * 1000000 + time[2]
end
local floor, max, min = math.floor, math.max, math.min
if not redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[2]) then return 0 end

local quotas = tonumber(ARGV[3])
local format = '<' .. string.rep('d', 3 * quotas)

local function earned(perUs, us)
  return us > 0 and floor(us * perUs) or 0
end

for i = 2, #KEYS do
  local value = redis.call('GET', KEYS[i])
  local fields = value and #value == 24 * quotas and { struct.unpack(format, value) }
  local back = tonumber(ARGV[2 + 3 * quotas + i])
  local state, keepMs = {}, 0
  for q = 1, quotas do
    local capacity, rate, initial = tonumber(ARGV[1 + 3 * q]), tonumber(ARGV[2 + 3 * q]), tonumber(ARGV[3 + 3 * q])
    local tokens, sinceUs = initial, 0
    if fields then
      tokens, sinceUs = fields[3 * q - 2], nowUs - fields[3 * q - 1]
      if fields[3 * q] ~= rate then
        tokens = tokens + earned(fields[3 * q], sinceUs)
        sinceUs = min(0, sinceUs)
      end
      if tokens + earned(rate, sinceUs) >= capacity then tokens, sinceUs = capacity, 0 end
    end
    tokens = min(capacity, tokens + back)
    local full = tokens + earned(rate, sinceUs) >= capacity
    local fullMs = full and 0 or ((capacity - tokens) / rate - sinceUs) / 1000 + 1
    keepMs = max(keepMs, initial < capacity and fullMs + 86400000 or fullMs)
    state[3 * q - 2], state[3 * q - 1], state[3 * q] = tokens, nowUs - sinceUs, rate
  end
  if keepMs > 0 then
    redis.call('SET', KEYS[i], struct.pack(format, unpack(state)), 'PX', min(math.ceil(keepMs), 1e15))
  else
    redis.call('DEL', KEYS[i])
  end
end
return 1
