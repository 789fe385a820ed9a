/* proc.c - garun.core.proc: child processes.
 *
 * Owns each child until it has been reaped. Closing a handle ends its child (unless it was detached) with SIGTERM and,
 * after the grace, SIGKILL; whoever closes does not wait for that. When garun itself ends, children that are still
 * there get a last short while and then SIGKILL: none is left behind. The Lua half is runtime/lua/garun/proc.lua,
 * which checks the options; refuses to run a shell. */
#include "bind/bind.h"
#include "bind/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <lauxlib.h>
#include "core/err.h"

#define TYPE          "garun.process"
#define LAST_WHILE_MS 2000      /* what children get between SIGTERM and SIGKILL when garun ends */
#define REAP_MS       100       /* to see a killed one gone; past that it is stuck in the kernel and init's to reap */

struct box {                    /* the userdata */
    struct proc *p;
};

struct children {               /* a userdata in the registry; its __gc runs when the Lua state is closed */
    struct proc *first;
};

/* ---- lifetime ---- */

void proc_unref(struct proc *p)
{
    if (--p->refs)
        return;
    if (p->list) {
        if (p->prev)
            p->prev->next = p->next;
        else
            *p->list = p->next;
        if (p->next)
            p->next->prev = p->prev;
    }
    for (int i = 0; i < 3; i++)
        buf_free(&p->pipes[i].buf);
    free(p->name);
    free(p);
}

static void on_closed(uv_handle_t *h)
{
    proc_unref(h->data);
}

static void close_handle(struct proc *p, uv_handle_t *h, bool *open)
{
    (void)p;
    if (*open && !uv_is_closing(h))
        uv_close(h, on_closed);
    *open = false;
}

static void close_timers(struct proc *p)
{
    if (!p->timers_open)
        return;
    p->timers_open = false;
    uv_close((uv_handle_t *)&p->alarm, on_closed);
    uv_close((uv_handle_t *)&p->grace, on_closed);
}

static int send_signal(struct proc *p, int signum)
{
    if (p->exited || p->pid <= 0)
        return ESRCH;
    return kill(p->group ? -p->pid : p->pid, signum) == 0 ? 0 : errno;
}

static void on_grace(uv_timer_t *t)
{
    send_signal(t->data, SIGKILL);
}

void proc_alarm(struct proc *p, double seconds, uv_timer_cb cb)
{
    if (!p->timers_open)
        return;
    uv_update_time(p->alarm.loop);
    uv_timer_start(&p->alarm, cb, seconds > 0 ? (uint64_t)(seconds * 1000) + 1 : 1, 0);
}

void proc_terminate(struct proc *p)
{
    if (p->exited || !p->timers_open || uv_is_active((uv_handle_t *)&p->grace))
        return;
    send_signal(p, SIGTERM);
    send_signal(p, SIGCONT);      /* a stopped process would hear of it never */
    uv_update_time(p->grace.loop);
    uv_timer_start(&p->grace, on_grace, (uint64_t)(p->grace_seconds * 1000) + 1, 0);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signum)
{
    struct proc *p = process->data;
    p->exited = true;
    p->status = (int)status;
    p->signal = signum;
    if (p->timers_open)
        uv_timer_stop(&p->grace);
    close_handle(p, (uv_handle_t *)process, &p->process_open);
    if (p->closed)
        close_timers(p);
    wait_done(&p->wait);
}

/* The handle is given up. What is still to do happens in callbacks. */
static void proc_close(struct proc *p)
{
    if (p->closed)
        return;
    p->closed = true;
    for (int i = 0; i < 3; i++)
        proc_pipe_close(&p->pipes[i]);
    if (p->timers_open)
        uv_timer_stop(&p->alarm);
    if (!p->exited && p->process_open && !p->detach)
        proc_terminate(p);
    else
        close_timers(p);
    wait_done(&p->wait);
}

struct proc *l_proc(lua_State *L, const char *fn)
{
    struct proc *p = ((struct box *)luaL_checkudata(L, 1, TYPE))->p;
    if (!p || p->closed)
        l_raisef(L, "proc", "closed", "%s: the handle of %s is closed", fn, p ? p->name : "the process");
    return p;
}

/* ---- spawn ---- */

struct plumbing {
    int child[3], parent[3];
};

/* Makes the descriptor for one of the child's three. spec: pipe, null, inherit, merge, or < or > and a path. Pipes are
 * real ones: libuv would make socket pairs, and a child cannot open /dev/stdout when that is a socket. */
static bool plumb(struct plumbing *b, int number, const char *spec, uv_stdio_container_t *io, const char *name,
                  struct err *e)
{
    *io = (uv_stdio_container_t){ .flags = UV_IGNORE };      /* libuv opens /dev/null */
    if (strcmp(spec, "null") == 0)
        return true;
    io->flags = UV_INHERIT_FD;
    io->data.fd = number;
    if (strcmp(spec, "inherit") == 0)
        return true;
    if (strcmp(spec, "merge") == 0) {
        io->data.fd = b->child[1] >= 0 ? b->child[1] : 1;
        return true;
    }
    if (strcmp(spec, "pipe") == 0) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            return err_errno(e, "proc", errno, "proc.spawn: %s: cannot make a pipe", name);
        b->child[number] = ends[number == 0 ? 0 : 1];
        b->parent[number] = ends[number == 0 ? 1 : 0];
    } else {
        int flags = *spec == '<' ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND;
        b->child[number] = open(spec + 1, flags | O_CLOEXEC | O_NOCTTY, 0666);
        if (b->child[number] < 0)
            return err_errno(e, "proc", errno, "proc.spawn: %s: cannot open %s", name, spec + 1);
    }
    io->data.fd = b->child[number];
    return true;
}

static bool start(struct proc *p, uv_loop_t *loop, uv_process_options_t *o, struct plumbing *b, struct err *e)
{
    uv_timer_init(loop, &p->alarm);
    uv_timer_init(loop, &p->grace);
    p->alarm.data = p->grace.data = p->process.data = p;
    p->refs += 2;
    p->timers_open = true;
    for (int i = 0; i < 3; i++) {
        if (b->parent[i] < 0)
            continue;
        if (!proc_pipe_open(p, i, b->parent[i], loop, e))
            return false;
        b->parent[i] = -1;
    }
    int r = uv_spawn(loop, &p->process, o);
    p->refs++;
    p->process_open = true;
    if (r == 0) {
        p->pid = p->process.pid;
        return true;
    }
    p->exited = true;
    close_handle(p, (uv_handle_t *)&p->process, &p->process_open);
    err_errno(e, "proc", -r, "proc.spawn: cannot start %s", p->name);
    struct stat st;
    if (r == UV_ENOENT && o->cwd && stat(o->cwd, &st) != 0)
        snprintf(e->hint, sizeof e->hint, "its directory %s does not exist", o->cwd);
    else if (r == UV_ENOENT && !strchr(p->name, '/'))
        snprintf(e->hint, sizeof e->hint, "no such program in PATH (%.300s); is its package installed?",
                 getenv("PATH") ? getenv("PATH") : "unset");
    else if (r == UV_EPERM && (o->flags & (UV_PROCESS_SETUID | UV_PROCESS_SETGID)))
        snprintf(e->hint, sizeof e->hint, "only root may start programs as another user");
    return false;
}

/* Turns the array at idx into a NULL-terminated one of pointers into it; NULL for nil. Leaves it on the stack. */
static char **l_strings(lua_State *L, int idx)
{
    if (lua_isnil(L, idx)) {
        lua_pushnil(L);
        return NULL;
    }
    lua_Integer n = luaL_len(L, idx);
    const char **list = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *list, 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, idx, i + 1);
        list[i] = lua_tostring(L, -1);      /* the array keeps it */
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return (char **)(void *)list;           /* libuv's type; neither it nor execve writes there */
}

/* spawn(argv, envp or nil, stdin, stdout, stderr, { cwd, uid, gid, group, detach, grace }) -> process */
static int l_spawn(lua_State *L)
{
    struct garun *g = garun_of(L);
    struct plumbing b = { .child = { -1, -1, -1 }, .parent = { -1, -1, -1 } };
    uv_stdio_container_t io[3];
    uv_process_options_t o = { .exit_cb = on_exit_status, .stdio = io, .stdio_count = 3 };
    struct err e;
    const char *spec[3];

    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 6, LUA_TTABLE);
    lua_settop(L, 6);
    for (int i = 0; i < 3; i++)
        spec[i] = luaL_checkstring(L, 3 + i);
    o.args = l_strings(L, 1);
    o.file = o.args[0];
    o.env = l_strings(L, 2);
    lua_getfield(L, 6, "cwd");
    o.cwd = lua_tostring(L, -1);
    if (lua_getfield(L, 6, "uid") != LUA_TNIL) {
        o.uid = (uv_uid_t)lua_tointeger(L, -1);
        o.flags |= UV_PROCESS_SETUID;
    }
    if (lua_getfield(L, 6, "gid") != LUA_TNIL) {
        o.gid = (uv_gid_t)lua_tointeger(L, -1);
        o.flags |= UV_PROCESS_SETGID;
    }
    lua_getfield(L, 6, "grace");
    lua_getfield(L, 6, "detach");
    lua_getfield(L, 6, "group");                     /* stack: ..., grace, detach, group */
    if (!o.file)
        return l_raisef(L, "usage", "argument", "proc.spawn: the first item is the program's name");

    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->p = NULL;
    luaL_setmetatable(L, TYPE);
    lua_getfield(L, LUA_REGISTRYINDEX, "garun.children");
    struct children *children = lua_touserdata(L, -1);

    struct proc *p = calloc(1, sizeof *p);
    if (p)
        p->name = strdup(o.file);
    if (!p || !p->name) {
        free(p);
        return l_raisef(L, "proc", "ENOMEM", "proc.spawn: not enough memory");
    }
    p->refs = 1;
    p->wait.lasting = true;
    box->p = p;
    p->list = &children->first;
    p->next = children->first;
    if (p->next)
        p->next->prev = p;
    children->first = p;
    p->grace_seconds = lua_tonumber(L, -5);
    p->detach = lua_toboolean(L, -4);
    p->group = p->detach || lua_toboolean(L, -3);
    if (p->group)
        o.flags |= UV_PROCESS_DETACHED;              /* setsid(2): a session, hence a group, of its own */

    bool ok = true;
    for (int i = 0; ok && i < 3; i++)
        ok = plumb(&b, i, spec[i], &io[i], p->name, &e);
    ok = ok && start(p, loop_uv(g), &o, &b, &e);
    for (int i = 0; i < 3; i++) {
        if (b.child[i] >= 0)
            close(b.child[i]);
        if (b.parent[i] >= 0)
            close(b.parent[i]);
    }
    if (!ok) {
        p->exited = true;
        proc_close(p);
        return l_raise(L, &e);
    }
    lua_pop(L, 1);
    return 1;
}

/* ---- the handle ---- */

static void on_alarm(uv_timer_t *t)
{
    struct proc *p = t->data;
    p->timed = true;
    wait_done(&p->wait);
}

static void wait_cancel(struct wait *w)
{
    struct proc *p = (struct proc *)((char *)w - offsetof(struct proc, wait));
    if (p->timers_open)
        uv_timer_stop(&p->alarm);
}

static int l_wait_k(lua_State *L, int status, lua_KContext ctx)
{
    struct proc *p = (struct proc *)ctx;
    char name[32];
    (void)status;
    wait_cancel(&p->wait);
    if (p->closed)
        return l_raisef(L, "proc", "closed", "process:wait: the handle of %s is closed", p->name);
    if (!p->exited) {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 1);
    if (p->signal) {
        const char *abbrev = sigabbrev_np(p->signal);
        if (abbrev)
            snprintf(name, sizeof name, "SIG%s", abbrev);
        else
            snprintf(name, sizeof name, "SIG%d", p->signal);      /* a real-time signal */
        lua_pushstring(L, name);
        lua_setfield(L, -2, "signal");
    } else {
        lua_pushinteger(L, p->status);
        lua_setfield(L, -2, "status");
    }
    return 1;
}

/* wait([seconds]) -> { status = } or { signal = }, nil when the time is over */
static int l_wait(lua_State *L)
{
    struct proc *p = l_proc(L, "process:wait");
    bool timed = !lua_isnoneornil(L, 2);
    double seconds = luaL_optnumber(L, 2, 0);
    lua_settop(L, 1);
    if (p->exited)
        return l_wait_k(L, LUA_OK, (lua_KContext)p);
    l_wait_check(L, "process:wait");
    if (p->wait.held)
        return l_raisef(L, "proc", "busy", "process:wait: another task waits for %s", p->name);
    p->timed = false;
    if (timed)
        proc_alarm(p, seconds, on_alarm);
    return wait_park(L, &p->wait, "process:wait", wait_cancel, l_wait_k, (lua_KContext)p);
}

static int signal_number(const char *name)
{
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 1; i < NSIG; i++) {
        const char *abbrev = sigabbrev_np(i);
        if (abbrev && strcmp(abbrev, name) == 0)
            return i;
    }
    return -1;
}

/* kill(signal) -> false when the process has ended already */
static int l_kill(lua_State *L)
{
    struct proc *p = l_proc(L, "process:kill");
    int signum = lua_isinteger(L, 2) ? (int)lua_tointeger(L, 2) : signal_number(luaL_optstring(L, 2, "TERM"));
    if (signum < 0 || signum >= NSIG)
        return l_raisef(L, "usage", "argument",
                        "process:kill: unknown signal '%s'; write TERM, KILL, INT ... or a number", lua_tostring(L, 2));
    int errnum = send_signal(p, signum);
    if (errnum && errnum != ESRCH) {
        struct err e;
        err_errno(&e, "proc", errnum, "process:kill: %s (pid %d)", p->name, p->pid);
        return l_raise(L, &e);
    }
    lua_pushboolean(L, errnum == 0);
    return 1;
}

static int l_terminate(lua_State *L)
{
    proc_terminate(l_proc(L, "process:terminate"));
    return 0;
}

static int l_index(lua_State *L)
{
    struct proc *p = ((struct box *)luaL_checkudata(L, 1, TYPE))->p;
    const char *key = lua_tostring(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL && key && p && strcmp(key, "pid") == 0)
        lua_pushinteger(L, p->pid);
    return 1;
}

static int l_close(lua_State *L)
{
    struct proc *p = ((struct box *)luaL_checkudata(L, 1, TYPE))->p;
    if (p)
        proc_close(p);
    return 0;
}

static int l_gc(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, TYPE);
    struct proc *p = box->p;
    box->p = NULL;
    if (p) {
        proc_close(p);
        proc_unref(p);
    }
    return 0;
}

static int l_tostring(lua_State *L)
{
    struct proc *p = ((struct box *)luaL_checkudata(L, 1, TYPE))->p;
    lua_pushfstring(L, "proc.process(%s, pid %d, %s)", p ? p->name : "", p ? p->pid : 0,
                    !p || p->closed ? "closed" : p->exited ? "ended" : "running");
    return 1;
}

/* The Lua state is closed, the loop will not run again: SIGTERM was sent when the handles were closed. Signals and
 * waits go straight to the kernel here, and this is the one place that blocks. */
static int l_children_gc(lua_State *L)
{
    struct children *c = lua_touserdata(L, 1);
    const struct timespec nap = { .tv_nsec = 10 * 1000 * 1000 };
    for (int waited = 0;; waited += 10) {
        bool left = false;
        for (struct proc *p = c->first; p; p = p->next) {
            if (p->exited || p->detach)
                continue;
            if (waitpid(p->pid, NULL, WNOHANG) != 0)
                p->exited = true;
            else if (waited >= LAST_WHILE_MS)
                send_signal(p, SIGKILL);
            left = left || !p->exited;
        }
        if (!left || waited >= LAST_WHILE_MS + REAP_MS)
            break;
        nanosleep(&nap, NULL);
    }
    for (struct proc *p = c->first; p; p = p->next)
        p->list = NULL;
    c->first = NULL;
    return 0;
}

/* ---- about processes and users ---- */

static int l_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

static int l_uid(lua_State *L)
{
    lua_pushinteger(L, geteuid());
    return 1;
}

/* user(name or uid) -> { name, uid, gid, home, shell }, nil when there is none */
static int l_user(lua_State *L)
{
    errno = 0;
    const struct passwd *pw = lua_isinteger(L, 1) ? getpwuid((uid_t)lua_tointeger(L, 1))
                                                  : getpwnam(luaL_checkstring(L, 1));
    /* getpwnam(3): any of these errno values may mean "not found". */
    if (!pw && errno != 0 && errno != ENOENT && errno != ESRCH && errno != EBADF && errno != EPERM) {
        struct err e;
        err_errno(&e, "proc", errno, "proc.user: cannot look up %s", luaL_tolstring(L, 1, NULL));
        return l_raise(L, &e);
    }
    if (!pw) {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 5);
    lua_pushstring(L, pw->pw_name);
    lua_setfield(L, -2, "name");
    lua_pushinteger(L, pw->pw_uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, pw->pw_gid);
    lua_setfield(L, -2, "gid");
    lua_pushstring(L, pw->pw_dir);
    lua_setfield(L, -2, "home");
    lua_pushstring(L, pw->pw_shell);
    lua_setfield(L, -2, "shell");
    return 1;
}

static int l_exists(lua_State *L)
{
    lua_Integer pid = luaL_checkinteger(L, 1);
    lua_pushboolean(L, pid > 0 && pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM));
    return 1;
}

static int l_hostname(lua_State *L)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0)
        snprintf(name, sizeof name, "localhost");
    lua_pushstring(L, name);
    return 1;
}

static const luaL_Reg methods[] = {
    { "wait", l_wait },
    { "kill", l_kill },
    { "terminate", l_terminate },
    { "close", l_close },
    { NULL, NULL },
};

static const luaL_Reg metamethods[] = {
    { "__close", l_close },
    { "__gc", l_gc },
    { "__tostring", l_tostring },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "spawn", l_spawn },
    { "pid", l_pid },
    { "uid", l_uid },
    { "user", l_user },
    { "exists", l_exists },
    { "hostname", l_hostname },
    { NULL, NULL },
};

int luaopen_garun_core_proc(lua_State *L)
{
    luaL_newmetatable(L, TYPE);
    luaL_setfuncs(L, metamethods, 0);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    l_proc_pipe_methods(L);                          /* stack: metatable, methods */
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, l_index, 1);
    lua_setfield(L, -3, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -3, "__metatable");

    struct children *c = lua_newuserdatauv(L, sizeof *c, 0);
    c->first = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_children_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, "garun.children");
    luaL_newlib(L, functions);                       /* stack: metatable, methods, module */
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "methods");                  /* proc.lua adds to them */
    return 1;
}
