"""What has to happen in Redis in one go and needs an answer on the way; Redis runs each script alone.

Keys are made up from ids inside the scripts, so a Redis Cluster is not supported, as it was not by the original.
"""

from __future__ import annotations

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
local machine, document, kept = unpack(ARGV)
local id = redis.call('XADD', 'ucvm:events', 'MAXLEN', '~', kept, '*', 'event', document)
redis.call('XADD', 'ucvm:events:' .. machine, 'MAXLEN', '~', 1000, id, 'event', document)
redis.call('PUBLISH', 'ucvm:notices', 'event ' .. id)
return id
"""
"""Adds an event to the story of all and to that of its machine. ARGV: machine id, event, how many are kept."""
