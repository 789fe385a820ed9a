/* http_error.c - what went wrong with a call, in the operator's words. Owns nothing. Never names a secret: what is shown
 * of the URL was stripped by the Lua half, and libcurl's texts hold host names and system errors only. */
#include "bind/http.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "core/err.h"

/* libcurl's text for this transfer, control characters (a server's words) made visible. */
static void why(const struct http_call *c, char *out, size_t size)
{
    const char *text = *c->text ? c->text : curl_easy_strerror(c->result);
    size_t n = 0;

    for (; *text && n + 5 < size; text++)
        n += (size_t)snprintf(out + n, size - n, isprint((unsigned char)*text) ? "%c" : "\\x%02X", (unsigned char)*text);
    out[n] = '\0';
}

static bool set(struct err *e, const struct http_call *c, const char *code, bool retryable, const char *what)
{
    err_set(e, "http", code, "%s: %s", c->what, what);
    e->retryable = retryable;
    return true;
}

static void hint(struct err *e, const char *text)
{
    snprintf(e->hint, sizeof e->hint, "%s", text);
}

static void by_us(const struct http_call *c, struct err *e)
{
    char text[160];

    switch (c->failure) {
    case HTTP_TIMEOUT:
        snprintf(text, sizeof text, "not done within timeout = %g s (%s)", c->timeout,
                 !c->launched ? "it waited for a free connection" : !c->sent ? "no connection yet"
                 : !c->head_done ? "no answer yet" : "the answer was on its way");
        set(e, c, "timeout", true, text);
        break;
    case HTTP_STALL:
        snprintf(text, sizeof text, "the server has sent nothing for stall_timeout = %g s%s", c->stall,
                 c->head_done ? ", in the middle of the answer" : "");
        set(e, c, "stall", true, text);
        snprintf(e->detail, sizeof e->detail, "%llu bytes of the body had come", (unsigned long long)c->got);
        break;
    case HTTP_TOO_LARGE:
        snprintf(text, sizeof text, "the body is larger than max_body = %llu bytes", (unsigned long long)c->max);
        set(e, c, "too_large", false, text);
        hint(e, "raise max_body, or read it with stream = true");
        break;
    case HTTP_REPLAY:
        set(e, c, "cut", true, "the server closed the kept connection before it answered; it may have acted on the request "
            "or not");
        hint(e, "the request is not sent twice by itself; pass idempotent = true where that does no harm");
        break;
    case HTTP_BAD_HEAD:
        set(e, c, "protocol", false, "the head of the answer is damaged or larger than 256 KiB");
        break;
    case HTTP_CLOSED:
        set(e, c, "closed", false, "the client was closed meanwhile");
        break;
    case HTTP_DISK:
        err_errno(e, "http", c->disk_errno, "%s: cannot write the body", c->what);
        e->retryable = false;
        break;
    case HTTP_NO_MEMORY:
    case HTTP_FINE:
        set(e, c, "ENOMEM", false, "not enough memory");
        break;
    }
}

static void cut(const struct http_call *c, struct err *e)
{
    curl_off_t length = -1;

    set(e, c, "cut", true, c->head_done ? "the connection ended before the body did" : c->sent
        ? "the server closed the connection without an answer" : "the connection broke before the request was sent");
    why(c, e->detail, sizeof e->detail);
    curl_easy_getinfo(c->job.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (c->head_done && length >= 0)
        snprintf(e->detail, sizeof e->detail, "%llu of %lld bytes came", (unsigned long long)c->got, (long long)length);
    else if (c->head_done) {
        size_t n = strlen(e->detail);
        snprintf(e->detail + n, sizeof e->detail - n, "; %llu bytes came", (unsigned long long)c->got);
    }
}

static void tls(const struct http_call *c, struct err *e, const char *text, bool retryable)
{
    char whole[512];

    snprintf(whole, sizeof whole, "no secure connection: %s", text);
    set(e, c, "tls", retryable, whole);
    if (c->result == CURLE_PEER_FAILED_VERIFICATION)
        hint(e, strstr(text, "certificate subject name") || strstr(text, "no alternative certificate")
             ? "the certificate belongs to another name than the one in the URL"
             : "for a certificate of your own CA pass ca = \"/path/ca.pem\"; verification cannot be switched off");
    else if (c->result == CURLE_SSL_CACERT_BADFILE)
        hint(e, "option ca names a file of PEM certificates, or is such text itself");
    else if (c->result == CURLE_SSL_CERTPROBLEM)
        hint(e, "options cert, key and key_password must belong together");
}

void http_error(const struct http_call *c, struct err *e)
{
    char text[400], whole[512];
    long errnum, proxy = 0;

    if (c->failure != HTTP_FINE) {
        by_us(c, e);
        return;
    }
    why(c, text, sizeof text);
    curl_easy_getinfo(c->job.easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
    if (proxy && proxy / 100 != 2 && !c->sent) {
        snprintf(whole, sizeof whole, "the proxy refused: status %ld", proxy);
        set(e, c, "proxy", proxy / 100 == 5, whole);
        if (proxy == 407)
            hint(e, "it wants user and password: proxy = \"http://user:password@host:port\"");
        return;
    }
    switch ((int)c->result) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        set(e, c, "dns", true, text);
        break;
    case CURLE_COULDNT_CONNECT:
        if (c->sent) {
            cut(c, e);
            break;
        }
        errnum = 0;
        curl_easy_getinfo(c->job.easy, CURLINFO_OS_ERRNO, &errnum);
        snprintf(whole, sizeof whole, "no connection: %s", errnum ? strerror((int)errnum) : text);
        set(e, c, "connect", true, whole);
        if (errnum)
            snprintf(e->detail, sizeof e->detail, "%s", text);
        break;
    case CURLE_OPERATION_TIMEDOUT:      /* the only time limit that libcurl knows */
        snprintf(whole, sizeof whole, "no connection within connect_timeout = %g s", c->connect);
        set(e, c, "connect", true, whole);
        break;
    case CURLE_PROXY:
        snprintf(whole, sizeof whole, "the proxy refused: %s", text);
        set(e, c, "proxy", false, whole);
        break;
    case CURLE_SSL_CONNECT_ERROR:
        tls(c, e, text, true);
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_USE_SSL_FAILED:
        tls(c, e, text, false);
        break;
    case CURLE_FILESIZE_EXCEEDED:
        snprintf(whole, sizeof whole, "the body is larger than max_body = %llu bytes", (unsigned long long)c->max);
        set(e, c, "too_large", false, whole);
        hint(e, "raise max_body, or read it with stream = true");
        break;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        cut(c, e);
        break;
    case CURLE_OUT_OF_MEMORY:
        set(e, c, "ENOMEM", false, "not enough memory");
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        snprintf(whole, sizeof whole, "this is no proper HTTP answer: %s", text);
        set(e, c, "protocol", false, whole);
        break;
    case CURLE_URL_MALFORMAT:
        snprintf(whole, sizeof whole, "bad URL: %s", text);
        set(e, c, "url", false, whole);
        break;
    default:
        snprintf(whole, sizeof whole, "%s (libcurl %d)", text, (int)c->result);
        set(e, c, "failed", false, whole);
        break;
    }
}
