-- Takes tokens for runs of equal requests, each from one bucket, all or nothing over the bucket's quotas.
--
-- KEYS[n]   bucket of the n-th run: per quota three doubles (tokens, atUs, tokensPerUs); a key may come again
-- ARGV[1]   nowUs, '' in production: the server's clock; set only by the model tests
-- ARGV[2]   how many quotas; ARGV[3...] per quota: capacity, tokensPerUs, initial
-- ARGV[n]   then sections of runs of one kind, in the order of KEYS: cost (0 looks), 1 or 0 for at most, withinUs or Infinity,
--           how many runs, and for each run how many requests
-- returns   per run: tokens taken, then per quota tokens and sinceUs from before the run
local nowUs = tonumber(ARGV[1])
if not nowUs then
  local time = redis.call('TIME')
  nowUs = time[1] * 1000000 + time[2]
end
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local pack, read, call = struct.pack, struct.unpack, redis.call

local quotas = tonumber(ARGV[2])
local capacity, rate, initial, rememberMs = {}, {}, {}, {}
for q = 1, quotas do
  capacity[q] = tonumber(ARGV[3 * q])
  rate[q] = tonumber(ARGV[3 * q + 1])
  initial[q] = tonumber(ARGV[3 * q + 2])
  rememberMs[q] = initial[q] < capacity[q] and 86400000 or 0
end
local size = 24 * quotas

local stored = call('MGET', unpack(KEYS))
local written = {}
local reply, n = {}, 0
local tokens, sinceUs = {}, {}

local function earned(perUs, us)
  return us > 0 and floor(us * perUs) or 0
end

local run, arg = 1, 3 + 3 * quotas
while run <= #KEYS do
  local cost, atMost = tonumber(ARGV[arg]), ARGV[arg + 1] == '1'
  local withinUs, runs = tonumber(ARGV[arg + 2]) or math.huge, tonumber(ARGV[arg + 3])
  for i = 1, runs do
    local key = KEYS[run]
    local value = written[key] or stored[run]
    local known = value and #value == size
    local room, asStored, at = math.huge, known, 1
    for q = 1, quotas do
      local left, since = initial[q], 0
      if known then
        local atUs, perUs
        left, atUs, perUs, at = read('<ddd', value, at)
        since = nowUs - atUs
        if perUs ~= rate[q] then
          left = left + earned(perUs, since)
          since = min(0, since)
          asStored = false
        end
        if left + earned(rate[q], since) >= capacity[q] then
          left, since = capacity[q], 0
        end
      end
      tokens[q], sinceUs[q] = left, since
      room = min(room, left + earned(rate[q], since + withinUs))
    end

    local taken = 0
    if cost > 0 and room > 0 then
      local count = tonumber(ARGV[arg + 3 + i])
      taken = atMost and min(room, cost * count) or min(count, floor(room / cost)) * cost
    end

    n = n + 1
    reply[n] = taken
    for q = 1, quotas do
      reply[n + 1], reply[n + 2] = tokens[q], sinceUs[q]
      n = n + 2
    end

    if taken > 0 or (cost > 0 and not asStored) then
      local keepMs, state = 1, ''
      for q = 1, quotas do
        local left, since = tokens[q] - taken, sinceUs[q]
        -- A millisecond more than it needs: a key must not expire before its bucket is full.
        local fullMs = max(0, ((capacity[q] - left) / rate[q] - since) / 1000) + 1
        keepMs = max(keepMs, fullMs + rememberMs[q])
        state = state .. pack('<ddd', left, nowUs - since, rate[q])
      end
      call('SET', key, state, 'PX', min(ceil(keepMs), 1e15))
      written[key] = state
    end
    run = run + 1
  end
  arg = arg + 4 + runs
end
return reply
