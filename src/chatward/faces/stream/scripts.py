"""What happens on the server at once or not at all. A first line of ``#!lua`` lets Redis refuse a script before it has begun: where memory or disk are full, for one."""

from __future__ import annotations

from typing import Final

CREATE: Final = """#!lua
-- Make a group, and its stream. KEYS: stream. ARGV: group, where it begins. Another worker may have been quicker: that is no error.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
if made.err and not made.err:find('^BUSYGROUP') then return made end
"""

PROBE: Final = """#!lua
-- Find out whether a stream may be added to, by an id that no entry can have: rights and memory are looked at before that is refused.
local said = redis.pcall('XADD', KEYS[1], '0-0', 'a', 'b')
if not said.err:find('0%-0') then return said end
"""

FINISH: Final = """#!lua
-- Add an answer or a dead letter for each entry that is still this consumer's, and acknowledge it.
-- KEYS: stream, then those that are added to. ARGV: group, consumer, first and last id, the length of each of the others (0: any),
-- then for each entry: id, place of its stream in KEYS (1: only acknowledge), how many of the next are its fields and values.
-- Returns the ids that were no longer this consumer's.
local pending, done, others, failed = {}, {}, {}, nil
for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[4], 1000000, ARGV[2])) do
  pending[entry[1]] = true
end
local at = 4 + #KEYS
while at <= #ARGV and not failed do
  local id, place, last = ARGV[at], tonumber(ARGV[at + 1]), at + 2 + tonumber(ARGV[at + 2])
  if not pending[id] then
    others[#others + 1] = id
  else
    local added = ''
    if place > 1 then
      local length = ARGV[3 + place]
      if length == '0' then
        added = redis.pcall('XADD', KEYS[place], '*', unpack(ARGV, at + 3, last))
      else
        added = redis.pcall('XADD', KEYS[place], 'MAXLEN', '~', length, '*', unpack(ARGV, at + 3, last))
      end
    end
    -- What was added before something failed is acknowledged all the same, so that nothing is added twice.
    if type(added) == 'table' and added.err then failed = added else done[#done + 1] = id end
  end
  at = last + 1
end
if #done > 0 then redis.call('XACK', KEYS[1], ARGV[1], unpack(done)) end
return failed or others
"""

ADD: Final = """#!lua
-- Add entries to a stream. KEYS: the stream. ARGV: its length (0: any), then for each entry: how many of the next are its fields and values.
local at = 2
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  if ARGV[1] == '0' then
    redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
  else
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, at + 1, last))
  end
  at = last + 1
end
"""

TAKE: Final = """#!lua
-- Take over entries that were delivered and not acknowledged, as many as may be worked on together.
-- KEYS: stream. ARGV: group, consumer, milliseconds that they must have waited, whose they are (empty: anybody's),
-- then how many may be together that were delivered once, twice, and so on, ever fewer; the last counts for more often, too.
-- Returns the entries, how often each has been delivered now, and how many are gone from the stream.
local size, ids, counts = tonumber(ARGV[5]), {}, {}
local search = {'XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', size}
if ARGV[4] ~= '' then search[#search + 1] = ARGV[4] end
for _, entry in ipairs(redis.call(unpack(search))) do
  local often = math.max(entry[4], 1)
  size = math.min(size, tonumber(ARGV[math.min(4 + often, #ARGV)]))
  if #ids >= size then break end
  ids[#ids + 1] = entry[1]
  counts[entry[1]] = entry[4] + 1
end
if #ids == 0 then return {{}, {}, 0} end
local taken, often = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids)), {}
for at, entry in ipairs(taken) do often[at] = counts[entry[1]] end
return {taken, often, #ids - #taken}
"""

TIDY: Final = """#!lua
-- Delete consumers that have nothing pending: the one named, and those that were silent for long. KEYS: stream. ARGV: group, consumer (empty: none), milliseconds.
local deleted = 0
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for at = 1, #facts, 2 do consumer[facts[at]] = facts[at + 1] end
  if consumer.pending == 0 and (consumer.name == ARGV[2] or consumer.idle > tonumber(ARGV[3])) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    deleted = deleted + 1
  end
end
return deleted
"""
