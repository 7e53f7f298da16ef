-- Carries out runs on buckets, in order: takes tokens for equal requests, all or nothing over the bucket's quotas, or
-- puts tokens back. Sent twice it acts once.
--
-- KEYS[1]   latch: the number and the answer of the last call that changed something; calls of one latch follow each other
-- KEYS[n]   bucket of run n - 1: per quota three doubles (tokens, atUs, tokensPerUs), then those of quotas that the writer
--           did not have; a key may come again
-- ARGV[1]   number of this call
-- ARGV[2]   nowUs, '' in production: the server's clock; set only by the model tests
-- ARGV[3]   how many quotas; ARGV[4...] per quota: capacity, tokensPerUs, initial
-- ARGV[n]   then sections of runs of one kind, in the order of KEYS: cost (0 looks, -1 puts back), 1 or 0 for at most,
--           withinUs or Infinity, how many runs; then for each run how many requests, or how many tokens to put back and
--           per quota fullAtUs or Infinity
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

-- The bucket at hand: what these quotas hold by it and, where quotas of other rates wrote it, what is stored, which of it
-- each quota goes on with, and what is left over.
local tokens, sinceUs = {}, {}
local held, heldTokens, heldAtUs, heldRate = 0, {}, {}, {}
local from, others = none, none

local function read(value)
  held = #value / 24
  if held < 1 or held % 1 > 0 or held > max(64, quotas) then return false end
  for h = 1, held do
    local left, atUs, perUs = unpackAt('<ddd', value, 24 * h - 23)
    local sound = left % 1 == 0 and left > -9e15 and left < 9e15 and atUs % 1 == 0 and atUs >= 0
    if not (sound and atUs < nowUs + dayUs and perUs > 0 and perUs < huge) then return false end
    heldTokens[h], heldAtUs[h], heldRate[h] = left, atUs, perUs
  end
  return true
end

-- Each quota goes on with what was stored at the rate that is closest to its own; see `assign` in bucket.ts.
local function assign()
  local found, used, rest = {}, {}, {}
  for _ = 1, min(held, quotas) do
    local least, own, other
    for q = 1, quotas do
      for h = 1, held do
        local apart = max(heldRate[h] / rate[q], rate[q] / heldRate[h])
        if not found[q] and not used[h] and (not least or apart < least) then least, own, other = apart, q, h end
      end
    end
    found[own], used[other] = other, true
  end
  for h = 1, held do
    if not used[h] then rest[#rest + 1] = h end
  end
  return found, rest
end

-- Looks at a bucket that quotas of these rates wrote, and answers how many tokens there are within some time; nothing
-- if others wrote it.
local function lookAtOwn(value, withinUs)
  local room, at = huge, 1
  for q = 1, quotas do
    local left, atUs, perUs
    left, atUs, perUs, at = unpackAt('<ddd', value, at)
    if perUs ~= rate[q] then return nil end
    local since = nowUs - atUs
    if left + earned(perUs, since) >= capacity[q] then left, since = capacity[q], 0 end
    tokens[q], sinceUs[q] = left, since
    room = min(room, left + earned(perUs, since + withinUs))
  end
  return room
end

-- The same for one that is unused, that others wrote, or that cannot be read. The last is empty: it must open no door.
local function lookAtOther(value, withinUs)
  local readable = value and read(value)
  local room = huge
  from, others = none, none
  if readable then from, others = assign() end
  for q = 1, quotas do
    local h, left, since = from[q], value and not readable and 0 or initial[q], 0
    if h then
      local perUs = heldRate[h]
      left, since = heldTokens[h], nowUs - heldAtUs[h]
      if perUs ~= rate[q] then
        local gained = earned(perUs, since)
        left, since = left + gained, since > 0 and floor((since * perUs - gained) / rate[q] + 0.5) or since
      end
      if left + earned(rate[q], since) >= capacity[q] then left, since = capacity[q], 0 end
    end
    tokens[q], sinceUs[q] = left, since
    room = min(room, left + earned(rate[q], since + withinUs))
  end
  return room
end

-- Whether a refusal leaves the bucket as it is; see `staysRefused` in bucket.ts.
local function stays(wanted, withinUs)
  for q = 1, quotas do
    local h = from[q]
    if h and heldRate[h] == rate[q] and tokens[q] + earned(rate[q], sinceUs[q] + withinUs) < wanted then return true end
  end
  return false
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
    for _, h in ipairs(others) do
      local there = heldTokens[h] + earned(heldRate[h], nowUs - heldAtUs[h])
      state = state .. pack('<ddd', heldTokens[h] - max(0, min(taken, there)), heldAtUs[h], heldRate[h])
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
    if value == nil then
      -- MGET does not tell a key of another type from none.
      value = stored[run] or call('EXISTS', key) == 1 and ''
    end
    local room = value and #value == size and lookAtOwn(value, withinUs)
    local own = room
    if own then others = none else room = lookAtOther(value, withinUs) end
    n = n + 1
    reply[n] = 0
    local takenAt = n
    for q = 1, quotas do
      reply[n + 1], reply[n + 2] = tokens[q], sinceUs[q]
      n = n + 2
    end

    if cost < 0 then
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
      elseif not own and not stays(atMost and 1 or cost, withinUs) then
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
