"""What has to happen in Redis in one go and needs an answer on the way; Redis runs each script alone.

Keys are made up from ids inside the scripts, so a Redis Cluster is not supported, as it was not by the original.
"""

from __future__ import annotations

SUBMIT = """
local id, queue, original = unpack(ARGV)
local key = 'ucvm:job:' .. id
if redis.call('EXISTS', key, 'job:' .. id .. ':description') > 0 then return 0 end
local number = redis.call('INCR', 'ucvm:number')
redis.call('HSET', key, 'number', number, unpack(ARGV, 4))
if original ~= '' then redis.call('SET', 'job:' .. id .. ':description', original) end
redis.call('ZADD', 'ucvm:jobs', number, id)
redis.call('ZADD', 'ucvm:jobs:waiting', number, id)
redis.call('RPUSH', queue, id)
redis.call('PUBLISH', 'ucvm:notices', 'job ' .. id)
return 1
"""
"""Puts a job at the end of a queue; 0 if its id is taken.

ARGV: id, key of the queue, description as the original's tools write it (empty to hide it), names and values of fields.
"""

SAVE = """
local id, queue, quiet, score, status, submitted, lease, takers = unpack(ARGV)
local key = 'ucvm:job:' .. id
local now = redis.call('HMGET', key, 'status', 'submitted', 'lease', 'takers', 'number')
if now[1] ~= status or now[2] ~= submitted or now[3] ~= lease or now[4] ~= takers then return 0 end
redis.call('HSET', key, unpack(ARGV, 9))
if quiet == '' then redis.call('PUBLISH', 'ucvm:notices', 'job ' .. id) end
local becomes, number = redis.call('HGET', key, 'status'), now[5]
if becomes == 'running' then
    redis.call('ZADD', 'ucvm:leases', score, id)
    return 1
end
redis.call('ZREM', 'ucvm:leases', id)
if lease ~= '' then redis.call('SREM', 'ucvm:holds:' .. cjson.decode(lease).machine_id, id) end
redis.call('ZREM', 'ucvm:jobs:' .. status, id)
redis.call('ZADD', 'ucvm:jobs:' .. becomes, number, id)
if becomes == 'waiting' then
    redis.call('LPUSH', queue, id)
    return 1
end
redis.call('ZADD', 'ucvm:ended:' .. becomes, score, id)
-- An original job manager that still takes it finds nothing to hand out.
redis.call('DEL', 'job:' .. id .. ':description')
if status == 'waiting' then redis.call('LREM', queue, 0, id) end
return 1
"""
"""Writes a job that has changed; one that waits again goes to the head of the queue. 0 if it is not as it was read.

ARGV: id, key of the queue, something to tell nobody, when its lease ends or when it ended; its status, submission,
lease and takers as they were read, of which each change changes one; names and values of the fields that changed.
"""

FORGET = """
local id, submitted = unpack(ARGV)
local key = 'ucvm:job:' .. id
local now = redis.call('HMGET', key, 'submitted', 'status')
if now[1] ~= submitted or redis.call('ZREM', 'ucvm:ended:' .. now[2], id) == 0 then return 0 end
-- Not what is the original's: if it is there again, somebody has submitted another job of this id.
redis.call('DEL', key)
redis.call('ZREM', 'ucvm:jobs', id)
redis.call('ZREM', 'ucvm:jobs:' .. now[2], id)
return 1
"""
"""Removes a job that has ended; 0 if this one is not there. ARGV: id, when it was submitted."""

TAKE = """
local lease, grant, account, token, now, expires, machine, max_tries = unpack(ARGV)

-- The place of a job in the order of submission; one of an original tool has it once it is at the head.
local function number_of(id)
    local number = redis.call('HGET', 'ucvm:job:' .. id, 'number')
    if not number then
        if redis.call('HGET', 'ucvm:head', 'id') ~= id then
            redis.call('HSET', 'ucvm:head', 'id', id, 'number', redis.call('INCR', 'ucvm:number'))
        end
        number = redis.call('HGET', 'ucvm:head', 'number')
    end
    return tonumber(number)
end

local function next_id()
    local any = redis.call('LINDEX', 'waiting_jobs', 0)
    local ours = machine ~= '' and redis.call('LINDEX', 'ucvm:waiting', 0)
    if not ours or (any and number_of(any) < number_of(ours)) then return redis.call('LPOP', 'waiting_jobs') end
    return redis.call('LPOP', 'ucvm:waiting')
end

while true do
    local id = next_id()
    if not id then return false end
    local key = 'ucvm:job:' .. id
    local status = redis.call('HGET', key, 'status')
    if not status then  -- submitted by an original tool
        local number = number_of(id)
        redis.call('HSET', key, 'number', number, 'description', '', 'submitted', now, 'tries', 0,
            'max_tries', max_tries, 'result', '', 'reason', '', 'takers', '{}')
        redis.call('ZADD', 'ucvm:jobs', number, id)
        status = 'waiting'
    end
    if status == 'waiting' then
        local takers = cjson.decode(redis.call('HGET', key, 'takers'))
        takers[lease] = account
        redis.call('HSET', key, 'status', 'running', 'changed', now, 'lease', grant, 'token', token,
            'takers', cjson.encode(takers))
        redis.call('HINCRBY', key, 'tries', 1)
        redis.call('ZREM', 'ucvm:jobs:waiting', id)
        redis.call('ZADD', 'ucvm:jobs:running', redis.call('HGET', key, 'number'), id)
        redis.call('ZADD', 'ucvm:leases', expires, id)
        if machine ~= '' then redis.call('SADD', 'ucvm:holds:' .. machine, id) end
        redis.call('PUBLISH', 'ucvm:notices', 'job ' .. id)
        return {id, redis.call('HGETALL', key)}
    end
end
"""
"""Leases the first job that waits. ARGV: lease id, lease, account, token, now, expires, machine id, tries."""

ADMIT = """
local name, question, now, cooldown = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('GET', 'ucvm:asked::' .. name) == question then return 'taken' end
local seen = tonumber(redis.call('GET', 'agentseen::' .. name) or '')
if seen and now - seen < cooldown then return 'too soon' end
redis.call('SET', 'agentseen::' .. name, string.format('%d', math.floor(now)))
redis.call('SET', 'ucvm:asked::' .. name, question, 'EX', 86400)
return 'admitted'
"""
"""Lets an account ask. ARGV: local part, id of the question, now, cooldown."""

APPEND = """
local machine, document, kept, kept_of_machine = unpack(ARGV)
local id = redis.call('XADD', 'ucvm:events', 'MAXLEN', '~', kept, '*', 'event', document)
redis.call('XADD', 'ucvm:events:' .. machine, 'MAXLEN', '~', kept_of_machine, id, 'event', document)
redis.call('PUBLISH', 'ucvm:notices', 'event ' .. id)
return id
"""
"""Adds an event to the story of all and to that of its machine. ARGV: machine id, event, how many each keeps."""

FORGET_EVENTS = """
local machine, first, last, count = unpack(ARGV)
local entries = redis.call('XRANGE', 'ucvm:events', first, last, 'COUNT', count)
for _, entry in ipairs(entries) do
    if cjson.decode(entry[2][2]).machine_id == machine then redis.call('XDEL', 'ucvm:events', entry[1]) end
end
if #entries < tonumber(count) then return '' end
return '(' .. entries[#entries][1]
"""
"""Removes the events of a machine from a part of the story of all; returns where the next one begins, if there is one.

ARGV: machine id, first and last id of the stream, most events to look at.
"""
