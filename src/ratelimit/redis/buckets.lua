-- Carries out runs on buckets, in order: takes tokens for equal requests, all or nothing over the bucket's quotas, or
-- puts tokens back or takes them away whether or not they are there. Sent twice it acts once.
--
-- KEYS[1]   latch: the number and the answer of the last call that changed something; calls of one latch follow each other
-- KEYS[n]   bucket of run n - 1: per quota three doubles (tokens, atUs, tokensPerUs), then those of quotas that the writer
--           did not have; a key may come again
-- ARGV[1]   number of this call
-- ARGV[2]   nowUs, '' in production: the server's clock; set only by the model tests
-- ARGV[3]   how many quotas; ARGV[4...] per quota: capacity, tokensPerUs, initial
-- ARGV[n]   then sections of runs of one kind, in the order of KEYS: cost (0 looks, -1 adjusts), 1 or 0 for at most,
--           withinUs or Infinity, how many runs; then for each run how many requests, or how many tokens to put back
--           (below 0: to take away) and per quota fullAtUs or Infinity
-- returns   nowUs, then per run: tokens taken, and per quota tokens and sinceUs from before the run; nothing at all if a
--           later call of the latch has been carried out
local call, pcall = redis.call, redis.pcall
local floor, ceil, max, min, huge = math.floor, math.ceil, math.max, math.min, math.huge
local pack, unpackAt = struct.pack, struct.unpack
local latchMs, dayUs = 20000, 86400000000

local number = tonumber(ARGV[1])
local stored = call('MGET', unpack(KEYS))
if stored[1] then
  local last = unpackAt('<d', stored[1])
  if last == number then return cmsgpack.unpack(string.sub(stored[1], 9)) end
  if last > number then return {} end
end

-- MGET does not tell a key of another type from none.
local absent = {}
for i = 2, #KEYS do
  if not stored[i] then absent[#absent + 1] = KEYS[i] end
end
local hidden = absent[1] and call('EXISTS', unpack(absent)) > 0

local nowUs = tonumber(ARGV[2])
if not nowUs then
  local time = call('TIME')
  nowUs = time[1] * 1000000 + time[2]
end

local quotas = tonumber(ARGV[3])
local capacity, rate, initial, rememberMs, none, size = {}, {}, {}, {}, {}, 24 * quotas
for q = 1, quotas do
  capacity[q] = tonumber(ARGV[3 * q + 1])
  rate[q] = tonumber(ARGV[3 * q + 2])
  initial[q] = tonumber(ARGV[3 * q + 3])
  rememberMs[q] = initial[q] < capacity[q] and 86400000 or 0
end

local function earned(perUs, us)
  return us > 0 and floor(us * perUs) or 0
end

-- The bucket at hand: what these quotas hold by it, and what is stored of quotas that these are not.
local tokens, sinceUs = {}, {}
local others = none

-- Looks at a bucket that is unused or that quotas of these rates wrote, and answers how many tokens there are within some
-- time; nothing if others wrote it.
local function lookAtOwn(value, withinUs)
  local room, at = huge, 1
  others = none
  for q = 1, quotas do
    local left, since, atUs, perUs = initial[q], 0
    if value then
      left, atUs, perUs, at = unpackAt('<ddd', value, at)
      if perUs ~= rate[q] then return nil end
      since = nowUs - atUs
    end
    local gained = earned(rate[q], since)
    if left + gained >= capacity[q] then left, since, gained = capacity[q], 0, 0 end
    if withinUs > 0 then gained = earned(rate[q], since + withinUs) end
    if left + gained < room then room = left + gained end
    tokens[q], sinceUs[q] = left, since
  end
  return room
end

-- The same for one that others wrote, or that cannot be read; the last is empty, for it must open no door. Each quota goes
-- on with what was stored at the rate that is closest to its own; see `assign` in bucket.ts. Answers also whether a refusal
-- of so many tokens leaves the bucket as it is; see `staysRefused` there.
local function lookAtOther(value, withinUs, wanted)
  local held, from, readable = {}, {}, #value > 0 and #value % 24 == 0 and #value / 24 <= max(64, quotas)
  for at = 1, readable and #value or 0, 24 do
    local left, atUs, perUs = unpackAt('<ddd', value, at)
    local sound = left % 1 == 0 and left > -9e15 and left < 9e15 and atUs % 1 == 0 and atUs >= 0
    readable = readable and sound and atUs < nowUs + dayUs and perUs > 0 and perUs < huge
    held[#held + 1] = { left = left, atUs = atUs, rate = perUs }
  end
  others = readable and held or none
  for _ = 1, min(#others, quotas) do
    local least, own, other
    for q = 1, quotas do
      for h, one in ipairs(others) do
        local apart = max(one.rate / rate[q], rate[q] / one.rate)
        if not from[q] and (not least or apart < least) then least, own, other = apart, q, h end
      end
    end
    from[own] = table.remove(others, other)
  end
  local room, stays = huge, false
  for q = 1, quotas do
    local stored, left, since = from[q], readable and initial[q] or 0, 0
    if stored then
      left, since = stored.left, nowUs - stored.atUs
      if stored.rate ~= rate[q] then
        local gained = earned(stored.rate, since)
        left, since = left + gained, since > 0 and floor((since * stored.rate - gained) / rate[q] + 0.5) or since
      end
      if left + earned(rate[q], since) >= capacity[q] then left, since = capacity[q], 0 end
    end
    tokens[q], sinceUs[q] = left, since
    local there = left + earned(rate[q], since + withinUs)
    room = min(room, there)
    stays = stays or stored ~= nil and stored.rate == rate[q] and there < wanted
  end
  return room, stays
end

local written, changed = {}, false

local function write(key, taken, set)
  local keepMs, state = 0, ''
  for q = 1, quotas do
    local left, since = tokens[q] - taken, sinceUs[q]
    local fullMs = 0
    if taken > 0 or left + earned(rate[q], since) < capacity[q] then
      -- A millisecond more than it needs: a key must not expire before its bucket is full.
      fullMs = max(0, ((capacity[q] - left) / rate[q] - since) / 1000) + 1
    end
    keepMs = max(keepMs, fullMs + rememberMs[q])
    state = state .. pack('<ddd', left, nowUs - since, rate[q])
  end
  if others[1] then
    for _, other in ipairs(others) do
      local there = other.left + earned(other.rate, nowUs - other.atUs)
      state = state .. pack('<ddd', other.left - max(0, min(taken, there)), other.atUs, other.rate)
    end
    keepMs = max(keepMs, call('PTTL', key))
  end
  if keepMs == 0 then
    call('DEL', key)
    written[key] = false
  else
    set('SET', key, state, 'PX', min(ceil(keepMs), 1e15))
    written[key] = state
  end
end

local reply, n = { nowUs }, 1
local run, arg = 2, 4 + 3 * quotas
while run <= #KEYS do
  local cost, atMost = tonumber(ARGV[arg]), ARGV[arg + 1] == '1'
  local withinUs, runs = tonumber(ARGV[arg + 2]) or huge, tonumber(ARGV[arg + 3])
  arg = arg + 4
  for _ = 1, runs do
    local key = KEYS[run]
    local value = written[key]
    if value == nil then value = stored[run] or hidden and call('EXISTS', key) == 1 and '' end
    local room = (not value or #value == size) and lookAtOwn(value, withinUs)
    local stays = room and value
    if not room then room, stays = lookAtOther(value, withinUs, atMost and 1 or cost) end
    n = n + 1
    reply[n] = 0
    local takenAt = n
    for q = 1, quotas do
      reply[n + 1], reply[n + 2] = tokens[q], sinceUs[q]
      n = n + 2
    end

    if cost < 0 and tonumber(ARGV[arg]) < 0 then
      local away = -tonumber(ARGV[arg])
      for q = 1, quotas do
        -- Down to -capacity: `write` takes all of it away, so what is beyond that is added before.
        local most = max(0, tokens[q] + earned(rate[q], sinceUs[q]) + capacity[q])
        tokens[q] = tokens[q] + max(0, away - most)
      end
      changed = true
      write(key, away, call)
      arg = arg + 1 + quotas
    elseif cost < 0 then
      local back, worth = tonumber(ARGV[arg]), false
      for q = 1, quotas do
        local leftUs = (tonumber(ARGV[arg + q]) or huge) - nowUs
        if leftUs > 0 and (value or leftUs == huge) then
          worth = true
          if leftUs * rate[q] >= back then tokens[q] = tokens[q] + back else sinceUs[q] = sinceUs[q] + leftUs end
          if tokens[q] + earned(rate[q], sinceUs[q]) >= capacity[q] then tokens[q], sinceUs[q] = capacity[q], 0 end
        end
      end
      if worth then
        changed = true
        write(key, 0, call)
      end
      arg = arg + 1 + quotas
    elseif cost > 0 then
      local count, taken = tonumber(ARGV[arg]), 0
      if room > 0 then
        taken = atMost and min(room, cost * count) or min(count, floor(room / cost)) * cost
      end
      if taken > 0 then
        changed = true
        reply[takenAt] = taken
        write(key, taken, call)
      elseif not stays then
        -- A refusal is one also when Redis is full and cannot note it.
        write(key, 0, pcall)
      end
      arg = arg + 1
    else
      arg = arg + 1
    end
    run = run + 1
  end
end
if changed then call('SET', KEYS[1], pack('<d', number) .. cmsgpack.pack(reply), 'PX', latchMs) end
return reply
