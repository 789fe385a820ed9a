/* sftp_auth.c - from a connected socket to an open SFTP channel: key exchange, the host's key, authentication.
 *
 * What failures mean is said by the Lua half. Refuses to authenticate before that has said that the host's key is the
 * right one (trust). */
#include "bind/sftp_step.h"

#include <stdlib.h>
#include <string.h>
#include <lauxlib.h>

/* ---- key exchange ---- */

/* What this library can do and today's servers take: no ETM, no chacha20, no rsa-sha2 in libssh2 1.10, so no mode that
 * Terrapin (CVE-2023-48795) touches. aes128-ctr first: libssh2 enciphers 16 bytes a call, and each round counts. */
static const struct { int method; const char *prefs; } pinned[] = {
    { LIBSSH2_METHOD_KEX, "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,"
                          "ecdh-sha2-nistp521,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,"
                          "diffie-hellman-group14-sha256,diffie-hellman-group-exchange-sha256" },
    { LIBSSH2_METHOD_CRYPT_CS, "aes128-ctr,aes192-ctr,aes256-ctr" },
    { LIBSSH2_METHOD_CRYPT_SC, "aes128-ctr,aes192-ctr,aes256-ctr" },
    { LIBSSH2_METHOD_MAC_CS, "hmac-sha2-256,hmac-sha2-512" },
    { LIBSSH2_METHOD_MAC_SC, "hmac-sha2-256,hmac-sha2-512" },
};

static int handshake(struct sftp_step *st)
{
    return libssh2_session_handshake(st->s->ssh, st->s->fd);
}

/* handshake(host key algorithms, compression) */
static int l_handshake(lua_State *L)
{
    struct sftp *s = l_sftp(L, "sftp.connect");
    const char *prefs = luaL_checkstring(L, 2);
    bool compression = lua_toboolean(L, 3);
    const char *comp = compression ? "zlib@openssh.com,none" : "none";
    int rc = 0;

    if (!s->ssh)
        return l_raisef(L, "usage", "argument", "sftp.connect: not connected");
    if (compression)
        libssh2_session_flag(s->ssh, LIBSSH2_FLAG_COMPRESS, 1);
    for (size_t i = 0; !rc && i < sizeof pinned / sizeof *pinned; i++)
        rc = libssh2_session_method_pref(s->ssh, pinned[i].method, pinned[i].prefs);
    if (!rc)
        rc = libssh2_session_method_pref(s->ssh, LIBSSH2_METHOD_HOSTKEY, prefs);
    if (!rc)
        rc = libssh2_session_method_pref(s->ssh, LIBSSH2_METHOD_COMP_CS, comp);
    if (!rc)
        rc = libssh2_session_method_pref(s->ssh, LIBSSH2_METHOD_COMP_SC, comp);
    if (rc)
        return l_sftp_step_failed(L, s, rc);
    lua_settop(L, 1);
    return l_sftp_step(L, "key exchange", handshake, NULL);
}

/* host_key() -> the key's blob (RFC 4253, 6.6) */
static int l_host_key(lua_State *L)
{
    struct sftp *s = l_sftp(L, "sftp.connect");
    size_t len = 0;
    int type = 0;
    const char *key = s->ssh ? libssh2_session_hostkey(s->ssh, &len, &type) : NULL;

    lua_pushlstring(L, key ? key : "", key ? len : 0);
    return 1;
}

/* hello() -> the first bytes that the server sent: its banner and, in clear, its KEXINIT */
static int l_hello(lua_State *L)
{
    struct sftp *s = ((struct sftp_box *)luaL_checkudata(L, 1, SFTP_TYPE))->s;

    if (s && !s->on_thread && s->hello.data)
        lua_pushlstring(L, s->hello.data, s->hello.len);
    else
        lua_pushliteral(L, "");
    return 1;
}

/* methods() -> what was agreed upon: { kex=, host_key=, cipher=, mac=, compression= } */
static int l_methods(lua_State *L)
{
    static const struct { const char *name; int method; } list[] = {
        { "kex", LIBSSH2_METHOD_KEX }, { "host_key", LIBSSH2_METHOD_HOSTKEY }, { "cipher", LIBSSH2_METHOD_CRYPT_CS },
        { "mac", LIBSSH2_METHOD_MAC_CS }, { "compression", LIBSSH2_METHOD_COMP_CS },
    };
    struct sftp *s = l_sftp(L, "session:methods");

    lua_createtable(L, 0, 6);
    for (size_t i = 0; s->ssh && i < sizeof list / sizeof *list; i++) {
        lua_pushstring(L, libssh2_session_methods(s->ssh, list[i].method));
        lua_setfield(L, -2, list[i].name);
    }
    lua_pushstring(L, s->ssh ? libssh2_session_banner_get(s->ssh) : NULL);
    lua_setfield(L, -2, "server");
    return 1;
}

/* trust(): the host's key is the right one; from here on secrets may be sent */
static int l_trust(lua_State *L)
{
    struct sftp *s = l_sftp(L, "sftp.connect");

    s->trusted = true;
    buf_free(&s->hello);
    return 0;
}

/* ---- authentication ---- */

static void l_trusted(lua_State *L)
{
    if (!l_sftp(L, "sftp.connect")->trusted)
        l_raisef(L, "sftp", "HOST_KEY_UNKNOWN", "sftp.connect: the host's key was not checked");
}

static int auth_list(struct sftp_step *st)
{
    LIBSSH2_SESSION *ssh = st->s->ssh;

    st->list = libssh2_userauth_list(ssh, st->user, (unsigned)st->user_len);
    if (st->list || libssh2_userauth_authenticated(ssh))
        return 0;
    int rc = libssh2_session_last_errno(ssh);
    return rc < 0 ? rc : LIBSSH2_ERROR_PROTO;
}

static int push_list(lua_State *L, struct sftp_step *st)
{
    lua_pushstring(L, st->list);         /* nil: the server lets this user in as it is */
    return 1;
}

/* auth_list(user) -> true and "publickey,password" ..., nil when nothing is needed */
static int l_auth_list(lua_State *L)
{
    l_trusted(L);
    return l_sftp_step(L, "the list of authentication methods", auth_list, push_list);
}

static int auth_password(struct sftp_step *st)
{
    return libssh2_userauth_password_ex(st->s->ssh, st->user, (unsigned)st->user_len, st->secret, (unsigned)st->secret_len,
                                        NULL);
}

/* auth_password(user, password) */
static int l_auth_password(lua_State *L)
{
    l_trusted(L);
    return l_sftp_step(L, "the answer to the password", auth_password, NULL);
}

/* The password answers a prompt that does not echo; any other question (a code, a name) gets an empty answer. */
static LIBSSH2_USERAUTH_KBDINT_RESPONSE_FUNC(on_prompts)
{
    struct sftp *s = *abstract;

    (void)name, (void)name_len, (void)instruction, (void)instruction_len;
    for (int i = 0; i < num_prompts; i++) {
        bool secret = !prompts[i].echo && s->step && s->step->secret;
        responses[i].text = secret ? sftp_alloc(s->step->secret_len + 1, abstract) : NULL;      /* libssh2 frees it */
        responses[i].length = responses[i].text ? (unsigned)s->step->secret_len : 0;
        if (responses[i].text)
            memcpy(responses[i].text, s->step->secret, s->step->secret_len);
    }
}

static int auth_prompts(struct sftp_step *st)
{
    return libssh2_userauth_keyboard_interactive_ex(st->s->ssh, st->user, (unsigned)st->user_len, on_prompts);
}

/* auth_prompts(user, password): keyboard-interactive */
static int l_auth_prompts(lua_State *L)
{
    l_trusted(L);
    return l_sftp_step(L, "the answer to the password", auth_prompts, NULL);
}

static int auth_key(struct sftp_step *st)
{
    return libssh2_userauth_publickey_frommemory(st->s->ssh, st->user, st->user_len, NULL, 0, st->secret, st->secret_len,
                                                 st->pass);
}

/* auth_key(user, private key's text, passphrase or nil) */
static int l_auth_key(lua_State *L)
{
    l_trusted(L);
    return l_sftp_step(L, "the answer to the key", auth_key, NULL);
}

enum { AGENT_KEYS = 64 };

struct agent {
    LIBSSH2_AGENT *agent;
    struct libssh2_agent_publickey *keys[AGENT_KEYS];
    int n, n_rsa, at;
};

static void agent_drop(void *own)
{
    struct agent *a = own;

    if (a->agent) {
        libssh2_agent_disconnect(a->agent);
        libssh2_agent_free(a->agent);
    }
    free(a);
}

static bool is_rsa(const struct libssh2_agent_publickey *k)
{
    static const char name[] = "\0\0\0\7ssh-rsa";

    return k->blob_len >= sizeof name - 1 && memcmp(k->blob, name, sizeof name - 1) == 0;
}

static int agent_open(struct sftp_step *st)
{
    struct agent *a = calloc(1, sizeof *a);

    if (!a)
        return LIBSSH2_ERROR_ALLOC;
    st->own = a;
    st->drop = agent_drop;
    a->agent = libssh2_agent_init(st->s->ssh);
    if (!a->agent)
        return LIBSSH2_ERROR_ALLOC;
    if (st->secret)
        libssh2_agent_set_identity_path(a->agent, st->secret);
    if (libssh2_agent_connect(a->agent) != 0 || libssh2_agent_list_identities(a->agent) != 0)
        return LIBSSH2_ERROR_AGENT_PROTOCOL;
    for (int rsa = 0; rsa <= 1; rsa++) {
        struct libssh2_agent_publickey *k = NULL;
        while (a->n < AGENT_KEYS && libssh2_agent_get_identity(a->agent, &k, k) == 0)
            if (is_rsa(k) == (rsa == 1)) {
                a->keys[a->n++] = k;
                a->n_rsa += rsa;
            }
    }
    return 0;
}

/* The agent's keys one after the other, RSA last: servers count failures, and with this library they fail. */
static int auth_agent(struct sftp_step *st)
{
    if (st->stage == 0) {
        int rc = agent_open(st);
        if (rc)
            return rc;
        st->stage = 1;
    }
    for (struct agent *a = st->own; a->at < a->n; a->at++) {
        int rc = libssh2_agent_userauth(a->agent, st->user, a->keys[a->at]);
        if (rc == 0 || rc == LIBSSH2_ERROR_EAGAIN || strcmp(sftp_ssh_name(rc), "CUT") == 0)
            return rc;
    }
    st->stage = 2;
    return 0;
}

static int push_agent(lua_State *L, struct sftp_step *st)
{
    const struct agent *a = st->own;

    lua_pushboolean(L, st->stage == 1);
    lua_pushinteger(L, a->n);
    lua_pushinteger(L, a->n_rsa);
    return 3;
}

/* auth_agent(user, socket's path or nil) -> true, whether one was taken, keys tried, RSA keys among them */
static int l_auth_agent(lua_State *L)
{
    l_trusted(L);
    return l_sftp_step(L, "the answer to the agent's keys", auth_agent, push_agent);
}

/* ---- the channel ---- */

/* The window is what may be in flight to us: more than a copy asks for at a time, so that it never stands still for a
 * window update. */
#define WINDOW (16u << 20)

static int open_channel(struct sftp_step *st)
{
    struct sftp *s = st->s;

    if (st->stage == 0) {
        s->channel = libssh2_channel_open_ex(s->ssh, "session", 7, WINDOW, LIBSSH2_CHANNEL_PACKET_DEFAULT, NULL, 0);
        if (!s->channel) {
            int rc = libssh2_session_last_errno(s->ssh);
            return rc < 0 ? rc : LIBSSH2_ERROR_CHANNEL_FAILURE;
        }
        st->stage = 1;
    }
    if (st->stage == 1) {
        int rc = libssh2_channel_process_startup(s->channel, "subsystem", 9, "sftp", 4);
        if (rc)
            return rc;
        st->stage = 2;
    }
    /* What sftp-server writes to its standard error would fill the window. */
    return libssh2_channel_handle_extended_data2(s->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
}

static int push_open(lua_State *L, struct sftp_step *st)
{
    struct err e;

    if (!sftp_wire_open(st->s, &e)) {
        sftp_fail(st->s, &e);
        return l_raise(L, &e);
    }
    return 0;
}

/* open(): the channel with the server's subsystem "sftp"; then requests may be made */
static int l_open(lua_State *L)
{
    l_trusted(L);
    return l_sftp_step(L, "the SFTP subsystem", open_channel, push_open);
}

static const luaL_Reg methods[] = {
    { "handshake", l_handshake },
    { "host_key", l_host_key },
    { "hello", l_hello },
    { "methods", l_methods },
    { "trust", l_trust },
    { "auth_list", l_auth_list },
    { "auth_password", l_auth_password },
    { "auth_prompts", l_auth_prompts },
    { "auth_key", l_auth_key },
    { "auth_agent", l_auth_agent },
    { "open", l_open },
    { NULL, NULL }
};

void l_sftp_auth_methods(lua_State *L)
{
    luaL_setfuncs(L, methods, 0);
}
