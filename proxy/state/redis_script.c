// SPDX-License-Identifier: Apache-2.0
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "proxy/state/redis_impl.h"

/*
 * What must be done in one piece is done in Redis, by a script; docs/redis.md lists the keys. In short, R
 * being a repository as seen with one scope, C an image's canonical name:
 *
 *     list:R:<manifest>    hash   object -> "1" if that is a manifest or an index, else "0"; itself too
 *     man:R:<object>       hash   manifest that lists it -> "<size> <media type>"; of objects that are
 * manifests blob:R:<object>      hash   the same of all other objects manifests:R          set    manifests
 * that have a list names:<scope>|<upstream>   sorted set   C of every R that has manifests upstreams set
 *     variants:C:<source>  hash   injection -> "<target> <media type>"
 *     target:C:<target>    set    "<source> <injection>"
 *     injection:<digest>   string; expires if only tokens asked for it
 *     token:<key>          hash
 *     token-ends           sorted set   key by expires_ms
 *     lease:<digest>       hash   fence, done, holder; expires
 *     lease-fence          string   the last fence
 *     records              stream, one field a entry; records-epoch: a random name of it
 *     delivered:<replica>  string       the last entry of that replica, as it calls it
 *     turn:<task>          string       who does it; expires
 *     position:<task>      string       how far it got in the stream
 *     meter:<what>:<who>   string       how often; expires. Of a bucket that leaks: expires when it is empty
 *
 * A link stands in two hashes, once by manifest and once by object, so that neither question has to look
 * through what is not asked for. A layer that thousands of manifests share is found by one random field of
 * its hash.
 */
#define HEAD     "local A,P,C=ARGV,'" REDIS_KEYS "',redis.call "
#define LINK_KEY "local function K(kind,o) return P..(kind=='1' and 'man:' or 'blob:')..A[1]..':'..o end "

/* An injection's text (nil: it is there) is to stay so long, in ms, or '': for good. The longest that was
 * ever said holds; a token's locations do not take the place of the configuration's. */
#define INJECTION                                                                                            \
    "local function hold(d,text,ms) local k=P..'injection:'..d "                                             \
    "if ms=='' then C('SET',k,text) return end "                                                             \
    "local left=C('PTTL',k) if left==-1 then return end "                                                    \
    "if left>tonumber(ms) then ms=left end "                                                                 \
    "if text then C('SET',k,text,'PX',ms) elseif left>=0 then C('PEXPIRE',k,ms) end end "

const char *const redis_script_text[REDIS_SCRIPT_COUNT] = {
    /* scope key for a store that has none -> schema, scope key */
    [REDIS_META] = HEAD "C('HSETNX',P..'meta','scope_key',A[1]) C('HSETNX',P..'meta','schema',A[2]) "
                        "return {C('HGET',P..'meta','schema'),C('HGET',P..'meta','scope_key')}",
    /* text -> the same, as it was written and read */
    [REDIS_CHECK] = HEAD "C('SET',P..'check',A[1]) return C('GET',P..'check')",

    /* R, C, scope|upstream, upstream, manifest, {object, kind, value}… */
    [REDIS_LINK_PUT] = HEAD LINK_KEY
    "local m=A[5] local list=P..'list:'..A[1]..':'..m "
    "for i=6,#A,3 do local o,kind=A[i],A[i+1] local old=C('HGET',list,o) "
    "if old~=kind then C('HSET',list,o,kind) if old then C('HDEL',K(old,o),m) end end "
    "C('HSET',K(kind,o),m,A[i+2]) end "
    "C('SADD',P..'manifests:'..A[1],m) C('ZADD',P..'names:'..A[3],0,A[2]) C('SADD',P..'upstreams',A[4]) "
    "return 1",
    /* R, C, scope|upstream, manifest: with its children, and what was made of them */
    [REDIS_LINK_DROP] = HEAD LINK_KEY
    "local seen,todo={[A[4]]=true},{A[4]} "
    "local function push(o) if not seen[o] then seen[o]=true todo[#todo+1]=o end end "
    "while #todo>0 do local m=table.remove(todo) local list=P..'list:'..A[1]..':'..m "
    "local rows=C('HGETALL',list) "
    "for i=1,#rows,2 do C('HDEL',K(rows[i+1],rows[i]),m) if rows[i+1]=='1' then push(rows[i]) end end "
    "for _,v in ipairs(C('HVALS',P..'variants:'..A[2]..':'..m)) do push(string.match(v,'^%S+')) end "
    "C('DEL',list) C('SREM',P..'manifests:'..A[1],m) end "
    "if C('EXISTS',P..'manifests:'..A[1])==0 then C('ZREM',P..'names:'..A[3],A[2]) end return 1",
    /* R, manifest, object -> 1 or 0 */
    [REDIS_LINK_BELOW] =
        HEAD "local seen,todo={[A[2]]=true},{A[2]} "
             "while #todo>0 do local list=P..'list:'..A[1]..':'..table.remove(todo) "
             "if C('HEXISTS',list,A[3])==1 then return 1 end local rows=C('HGETALL',list) "
             "for i=1,#rows,2 do local o=rows[i] "
             "if rows[i+1]=='1' and not seen[o] then seen[o]=true todo[#todo+1]=o end end end return 0",
    /* R, digest -> value: its own row, else one of a manifest that lists it */
    [REDIS_MANIFEST_GET] =
        HEAD LINK_KEY "local key=K('1',A[2]) local v=C('HGET',key,A[2]) if v then return v end "
                      "return C('HRANDFIELD',key,1,'WITHVALUES')[2] or false",
    /* R, digest -> value: of a manifest that lists it, which is not itself */
    [REDIS_BLOB_GET] =
        HEAD LINK_KEY "local v=C('HRANDFIELD',K('0',A[2]),1,'WITHVALUES') if v[2] then return v[2] end "
                      "v=C('HRANDFIELD',K('1',A[2]),2,'WITHVALUES') "
                      "for i=1,#v,2 do if v[i]~=A[2] then return v[i+1] end end return false",

    /* C, source, injection, target, value */
    [REDIS_VARIANT_PUT] =
        HEAD "local key,pair=P..'variants:'..A[1]..':'..A[2],A[2]..' '..A[3] local old=C('HGET',key,A[3]) "
             "if old then C('SREM',P..'target:'..A[1]..':'..string.match(old,'^%S+'),pair) end "
             "C('HSET',key,A[3],A[5]) C('SADD',P..'target:'..A[1]..':'..A[4],pair) return 1",
    /* C, target -> source, injection, value */
    [REDIS_VARIANT_BY_TARGET] =
        HEAD "local pair=C('SRANDMEMBER',P..'target:'..A[1]..':'..A[2]) if not pair then return false end "
             "local s,i=string.match(pair,'^(%S+) (%S+)$') "
             "return {s,i,C('HGET',P..'variants:'..A[1]..':'..s,i)}",
    /* R, C, digest -> source, injection, value, value of the link */
    [REDIS_VARIANT_BY_REF] = HEAD LINK_KEY
    "local function look(m,v) local pair=C('SRANDMEMBER',P..'target:'..A[2]..':'..m) "
    "if not pair then return false end local s,i=string.match(pair,'^(%S+) (%S+)$') "
    "return {s,i,C('HGET',P..'variants:'..A[2]..':'..s,i),v} end "
    "local own=C('HGET',K('1',A[3]),A[3]) local found=own and look(A[3],own) "
    "if found then return found end "
    "for kind=0,1 do local rows=C('HGETALL',K(tostring(kind),A[3])) "
    "for i=1,#rows,2 do found=look(rows[i],rows[i+1]) if found then return found end end end return false",

    /* digest, text, how long or "" */
    [REDIS_INJECTION_PUT] = HEAD INJECTION "hold(A[1],A[2],A[3]) return 1",
    /* key, expires_ms, injection, how long, "1" if there is a text of it, the text, {field, value}… */
    [REDIS_TOKEN_PUT] = HEAD INJECTION
    "local key=P..'token:'..A[1] "
    "if C('EXISTS',key)==1 then return redis.error_reply('EXISTS this token is there already') end "
    "hold(A[3],A[5]=='1' and A[6] or nil,A[4]) "
    "C('HSET',key,unpack(A,7)) C('ZADD',P..'token-ends',A[2],A[1]) return 1",
    /* key */
    [REDIS_TOKEN_DROP] = HEAD "C('DEL',P..'token:'..A[1]) C('ZREM',P..'token-ends',A[1]) return 1",
    /* key, pulls */
    [REDIS_TOKEN_PULLED] = HEAD "local key=P..'token:'..A[1] "
                                "if C('EXISTS',key)==1 then C('HINCRBY',key,'pulls',A[2]) end return 1",
    /* before_ms, n -> how many */
    [REDIS_TOKEN_PRUNE] = HEAD
    "local keys=C('ZRANGEBYSCORE',P..'token-ends','-inf',A[1],'LIMIT',0,A[2]) "
    "for _,k in ipairs(keys) do C('DEL',P..'token:'..k) C('ZREM',P..'token-ends',k) end return #keys",

    /* scopes, "1" if others count as anon, after, n -> names, sorted within each upstream only */
    [REDIS_NAMES] = HEAD
    "local scopes,all,min=cjson.decode(A[1]),{},A[3]=='' and '-' or '('..A[3] "
    "for _,u in ipairs(C('SMEMBERS',P..'upstreams')) do local scope=scopes[u] or (A[2]=='1' and 'anon') "
    "if scope then for _,name in ipairs(C('ZRANGEBYLEX',P..'names:'..scope..'|'..u,min,'+','LIMIT',0,A[4])) "
    "do all[#all+1]=name end end end return all",

    /* digest, holder, ttl in ms, fence that does not count, first fence of an empty Redis
     * -> "1" if it is ours now, fence, "1" if done, holder */
    [REDIS_LEASE_TAKE] = HEAD
    "local key,count=P..'lease:'..A[1],P..'lease-fence' local v=C('HMGET',key,'fence','done','holder') "
    "if v[1] and v[1]~=A[4] and (v[3]=='' or v[3]~=A[2]) then return {'0',v[1],v[2],v[3]} end "
    "C('SETNX',count,A[5]) C('INCR',count) local fence=C('GET',count) "
    "C('HSET',key,'fence',fence,'done','0','holder',A[2]) C('PEXPIRE',key,A[3]) "
    "return {'1',fence,'0',A[2]}",
    /* digest, fence, ttl in ms, "1" if done -> 1 or 0 */
    [REDIS_LEASE_KEEP] = HEAD "local key=P..'lease:'..A[1] if C('HGET',key,'fence')~=A[2] then return 0 end "
                              "if A[3]=='0' then C('DEL',key) return 1 end "
                              "C('HSET',key,'done',A[4]) C('PEXPIRE',key,A[3]) return 1",
    /* replica, random, most entries, how long to remember it, {name, bytes}… */
    [REDIS_STREAM_PUT] =
        HEAD "C('SET',P..'records-epoch',A[2],'NX') local key=P..'delivered:'..A[1] local last=C('GET',key) "
             "local first=5 for i=#A-1,5,-2 do if A[i]==last then first=i+2 break end end "
             "for i=first,#A,2 do C('XADD',P..'records','MAXLEN','~',A[3],'*','r',A[i+1]) end "
             "C('SET',key,A[#A-1],'EX',A[4]) return 1",
    /* epoch, after, n -> epoch, {id, bytes}… */
    [REDIS_STREAM_GET] =
        HEAD "local epoch=C('GET',P..'records-epoch') if not epoch then return {''} end local all={epoch} "
             "for _,e in ipairs(C('XRANGE',P..'records',epoch==A[1] and '('..A[2] or '-','+','COUNT',A[3])) "
             "do all[#all+1]=e[1] all[#all+1]=e[2][2] end return all",
    /* task, holder, how long in ms ('0': no more), done or '', known or '' -> '1' if it is ours, place */
    [REDIS_TURN_TAKE] = HEAD
    "local key,at=P..'turn:'..A[1],P..'position:'..A[1] local who,place=C('GET',key),C('GET',at) "
    "if who and who~=A[2] then return {'0',place or '0-0'} end "
    "local function n(x) local a,b=string.match(x or '0-0','^(%d+)-(%d+)$') "
    "return tonumber(a),tonumber(b) end "
    "if A[4]~='' then local a,b=n(A[4]) local c,d=n(place) "
    "if a>c or a==c and b>d then place=A[4] C('SET',at,place) end end "
    "if A[3]=='0' then if who then C('DEL',key) end return {'0',place or '0-0'} end "
    "C('SET',key,A[2],'PX',A[3]) "
    "if not place then place=A[5] if place=='' then local e=C('XREVRANGE',P..'records','+','-','COUNT',1) "
    "place=e[1] and e[1][1] or '0-0' end C('SET',at,place) end return {'1',place}",

    /* name, how much more, window in ms or '0' -> value, ms that are left */
    [REDIS_METER] = HEAD
    "local key,add,window=P..'meter:'..A[1],tonumber(A[2]),tonumber(A[3]) local left=C('PTTL',key) "
    "if window>0 then local n=C('INCRBY',key,A[2]) if left<0 then left=window C('PEXPIRE',key,left) end "
    "return {tostring(n),tostring(left)} end "
    "left=math.max(left,0)+add if left>0 then C('SET',key,1,'PX',left) else left=0 C('DEL',key) end "
    "return {tostring(left),tostring(left)}",
};

void redis_script_sha1(enum redis_script_id id, char ret[REDIS_SHA1 + 1])
{
    const char *text = redis_script_text[id];
    unsigned char sum[SHA_DIGEST_LENGTH];
    (void)SHA1((const unsigned char *)text, strlen(text), sum);
    for (int i = 0; i < SHA_DIGEST_LENGTH; ++i)
        (void)snprintf(ret + 2 * i, 3, "%02x", sum[i]);
}
