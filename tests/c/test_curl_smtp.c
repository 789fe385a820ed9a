/* Why garun.smtp is not built on libcurl: its multi interface waits for the answer to a message inside one call, so that
 * nothing else of the process runs meanwhile, up to ten minutes (RFC 5321, 4.5.3.2.6). lib/smtp.c says so itself above
 * smtp_block_statemach() in smtp_done(); QUIT is waited for in the same way. When this test fails, libcurl has learned
 * it, and garun.smtp may think again. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <curl/curl.h>

static const double SILENCE = 0.5;      /* seconds between the dot and the server's answer to it */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Answers every command, is silent for a while after the dot. */
static void *serve(void *arg)
{
    int fd = accept(*(int *)arg, NULL, NULL);
    FILE *in = fdopen(fd, "r");
    struct timespec pause = { .tv_nsec = (long)(SILENCE * 1e9) };
    bool data = false;
    char line[512];

    dprintf(fd, "220 here\r\n");
    while (in && fgets(line, sizeof line, in)) {
        if (data && strcmp(line, ".\r\n") != 0)
            continue;
        if (data)
            nanosleep(&pause, NULL);
        data = !data && strncmp(line, "DATA", 4) == 0;
        dprintf(fd, data ? "354 go on\r\n" : "250 2.0.0 fine\r\n");
        if (strncmp(line, "QUIT", 4) == 0)
            break;
    }
    if (in)
        fclose(in);
    return NULL;
}

static size_t give(char *to, size_t size, size_t n, void *arg)
{
    static const char text[] = "Subject: x\r\n\r\nhello\r\n";
    bool *given = arg;

    (void)size, (void)n;
    if (*given)
        return 0;
    *given = true;
    memcpy(to, text, sizeof text - 1);
    return sizeof text - 1;
}

static void test_libcurl_waits_inside_one_call(void **state)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), running = 1;
    struct curl_slist *to = curl_slist_append(NULL, "<b@example.com>");
    CURLM *multi = curl_multi_init();
    CURL *easy = curl_easy_init();
    double longest = 0;
    bool given = false;
    pthread_t thread;
    char url[64];

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&at, &len);
    assert_int_equal(pthread_create(&thread, NULL, serve, &listener), 0);
    snprintf(url, sizeof url, "smtp://127.0.0.1:%d", ntohs(at.sin_port));
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_MAIL_FROM, "<a@example.com>");
    curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, to);
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(easy, CURLOPT_READDATA, &given);
    curl_multi_add_handle(multi, easy);
    while (running) {
        double start = now();
        curl_multi_perform(multi, &running);
        if (now() - start > longest)
            longest = now() - start;
        if (running)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    curl_multi_remove_handle(multi, easy);
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
    curl_slist_free_all(to);
    pthread_join(thread, NULL);
    close(listener);
    assert_true(given);
    printf("the longest call of libcurl took %.3f s, the server was silent for %.3f s\n", longest, SILENCE);
    assert_true(longest > SILENCE * 0.9);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_libcurl_waits_inside_one_call) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
