/* test_zone.c - runtime/clock: calendar and time zones, held against Python's datetime and zoneinfo.
 *
 * Python reads the same zone files, so every zone of the machine is compared at random instants from 1900 to 2100 and
 * around its changes, in both directions. Skipped without python3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "clock/civil.h"
#include "clock/zone.h"

static const char oracle[] =
    "import random, zoneinfo\n"
    "from datetime import datetime, timedelta, timezone\n"
    "random.seed(20240131)\n"
    "zoneinfo.reset_tzpath(to=['/usr/share/zoneinfo'])\n"
    "utc, epoch = timezone.utc, datetime(1970, 1, 1)\n"
    "first, last = -2208988800, 4102444800\n"
    "def offset(z, t):\n"
    "    return int((epoch.replace(tzinfo=utc) + timedelta(seconds=t)).astimezone(z).utcoffset().total_seconds())\n"
    "def tell(name, z, t):\n"
    "    here = (epoch.replace(tzinfo=utc) + timedelta(seconds=t)).astimezone(z)\n"
    "    print('A', name, t, int(here.utcoffset().total_seconds()), here.tzname(), int(bool(here.dst())))\n"
    "def ask(name, z, local):\n"
    "    wall = epoch + timedelta(seconds=local)\n"
    "    early = local - int(wall.replace(tzinfo=z, fold=0).utcoffset().total_seconds())\n"
    "    late = local - int(wall.replace(tzinfo=z, fold=1).utcoffset().total_seconds())\n"
    "    if early == late: fit, t = 0, early\n"
    "    elif early < late: fit, t = 2, early\n"
    "    else:\n"
    "        fit, low, high, before = 1, late - 1, early, offset(z, late - 1)\n"
    "        while high - low > 1:\n"
    "            middle = (low + high) // 2\n"
    "            if offset(z, middle) == before: low = middle\n"
    "            else: high = middle\n"
    "        t = high\n"
    "    print('L', name, local, t, fit)\n"
    "for name in sorted(zoneinfo.available_timezones()):\n"
    "    if name in ('Factory', 'localtime', 'posixrules'): continue\n"
    "    z = zoneinfo.ZoneInfo(name)\n"
    "    times = [random.randrange(first, last) for _ in range(60)]\n"
    "    for t in times: tell(name, z, t)\n"
    "    for t in times[:30]: ask(name, z, t)\n"
    "    for a, b in zip(sorted(times), sorted(times)[1:]):\n"
    "        if offset(z, a) == offset(z, b): continue\n"
    "        was = offset(z, a)\n"
    "        while b - a > 1:\n"
    "            middle = (a + b) // 2\n"
    "            if offset(z, middle) == was: a = middle\n"
    "            else: b = middle\n"
    "        tell(name, z, a)\n"
    "        tell(name, z, b)\n"
    "        for d in (-5400, -1800, -1, 0, 1, 1800, 3599, 3600, 5400): ask(name, z, b + was + d)\n";

static struct zone *load(const char *name)
{
    struct err e;
    struct zone *z = zone_load(ZONE_DIR, name, &e);
    if (!z)
        fail_msg("%s", e.message);
    return z;
}

static FILE *ask_python(char script[static 64])
{
    snprintf(script, 64, "/tmp/garun-zone-XXXXXX");
    int fd = mkstemp(script);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    fputs(oracle, f);
    fclose(f);
    char command[128];
    snprintf(command, sizeof command, "python3 %s", script);
    return popen(command, "r");
}

static void every_zone_agrees_with_python(void **state)
{
    (void)state;
    if (system("command -v python3 >/dev/null && test -e " ZONE_DIR "/Europe/Berlin") != 0)
        skip();
    char script[64], line[256], name[ZONE_NAME_MAX + 1] = "", known[ZONE_NAME_MAX + 1], abbrev[32];
    FILE *f = ask_python(script);
    assert_non_null(f);
    struct zone *z = NULL;
    long instants = 0, locals = 0, zones = 0;
    while (fgets(line, sizeof line, f)) {
        long long a, b;
        int c, dst;
        char kind = line[0];
        if (kind == 'A')
            assert_int_equal(sscanf(line, "A %64s %lld %d %31s %d", known, &a, &c, abbrev, &dst), 5);
        else
            assert_int_equal(sscanf(line, "L %64s %lld %lld %d", known, &a, &b, &c), 4);
        if (strcmp(name, known) != 0) {
            zone_free(z);
            memcpy(name, known, sizeof name);
            z = load(name);
            zones++;
        }
        if (kind == 'A') {
            struct zone_local here;
            zone_at(z, a, &here);
            if (here.offset != c || strcmp(here.abbrev, abbrev) != 0)
                fail_msg("%s at %lld: %d %s, Python says %d %s", name, a, here.offset, here.abbrev, c, abbrev);
            instants++;
        } else {
            int64_t instant;
            int fit = (int)zone_instant(z, a, &instant);
            if (instant != b || fit != c)
                fail_msg("%s, local %lld: instant %lld fit %d, Python says %lld fit %d", name, a, (long long)instant,
                         fit, b, c);
            locals++;
        }
    }
    zone_free(z);
    assert_int_equal(pclose(f), 0);
    remove(script);
    print_message("%ld zones, %ld instants, %ld local times\n", zones, instants, locals);
    assert_true(zones > 400 && instants > 25000 && locals > 15000);
}

static void days_and_dates_are_each_others_inverse(void **state)
{
    (void)state;
    int64_t day = civil_days(-400, 1, 1);
    for (int y = -400; y <= 2400; y++) {
        for (int m = 1; m <= 12; m++) {
            for (int d = 1; d <= civil_month_days(y, m); d++, day++) {
                struct civil c = civil_date(day);
                if (c.year != y || c.month != m || c.day != d || civil_days(y, m, d) != day)
                    fail_msg("%d-%d-%d is day %lld", y, m, d, (long long)day);
            }
        }
    }
    assert_int_equal(civil_days(1970, 1, 1), 0);
    assert_int_equal(civil_days(2000, 3, 1), 11017);
    assert_int_equal(civil_weekday(0), 4);
    assert_int_equal(civil_weekday(civil_days(2024, 1, 1)), 1);
    assert_int_equal(civil_weekday(civil_days(1899, 12, 31)), 7);
    assert_false(civil_valid(2023, 2, 29));
    assert_false(civil_valid(1900, 2, 29));
    assert_true(civil_valid(2000, 2, 29));
    assert_int_equal(civil_floor_day(-1), -1);
    assert_int_equal(civil_floor_day(86400), 1);
}

static void far_years_follow_the_rule_at_the_end(void **state)
{
    (void)state;
    struct zone *z = load("Europe/Berlin");
    struct zone_local here;
    int64_t july = civil_days(2750, 7, 1) * 86400, january = civil_days(2751, 1, 1) * 86400, instant;
    zone_at(z, july, &here);
    assert_int_equal(here.offset, 7200);
    assert_string_equal(here.abbrev, "CEST");
    assert_true(here.dst);
    zone_at(z, january, &here);
    assert_int_equal(here.offset, 3600);
    assert_int_equal(zone_instant(z, july, &instant), ZONE_UNIQUE);
    assert_int_equal(instant, july - 7200);
    zone_free(z);
}

static void gaps_and_overlaps_follow_the_stated_rule(void **state)
{
    (void)state;
    struct zone *z = load("Europe/Berlin");
    int64_t instant, gap = civil_days(2024, 3, 31) * 86400, overlap = civil_days(2024, 10, 27) * 86400;
    assert_int_equal(zone_instant(z, gap + 2 * 3600 + 1800, &instant), ZONE_GAP);
    assert_int_equal(instant, gap + 3600);                       /* 01:00 UTC = 03:00 CEST */
    assert_int_equal(zone_instant(z, gap + 2 * 3600, &instant), ZONE_GAP);
    assert_int_equal(zone_instant(z, gap + 3 * 3600, &instant), ZONE_UNIQUE);
    assert_int_equal(instant, gap + 3600);
    assert_int_equal(zone_instant(z, overlap + 2 * 3600 + 1800, &instant), ZONE_OVERLAP);
    assert_int_equal(instant, overlap + 1800);                   /* still CEST */
    assert_int_equal(zone_instant(z, overlap + 3 * 3600, &instant), ZONE_UNIQUE);
    assert_int_equal(zone_next(z, gap), gap + 3600);
    assert_int_equal(zone_next(z, gap + 3600), overlap + 3600);
    zone_free(z);

    z = load("Pacific/Apia");                                    /* 2011-12-30 did not exist there */
    int64_t day = civil_days(2011, 12, 30) * 86400;
    assert_int_equal(zone_instant(z, day + 12 * 3600, &instant), ZONE_GAP);
    assert_int_equal(instant, civil_days(2011, 12, 30) * 86400 + 10 * 3600);
    zone_free(z);
}

static void unknown_and_hostile_names_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = { "", "Europe/Nowhere", "../../etc/passwd", "/etc/localtime", "Europe/../UTC",
                                         "Europe", "tzdata.zi", "a b", ".", "Europe//Berlin" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct err e;
        assert_null(zone_load(ZONE_DIR, names[i], &e));
        assert_string_equal(e.code, "unknown");
    }
    struct err e;
    assert_null(zone_load("/nonexistent", "Europe/Berlin", &e));
    assert_string_equal(e.code, "tzdata");
    struct zone *z = zone_load("/nonexistent", "UTC", &e);       /* needs no file */
    assert_non_null(z);
    assert_int_equal(zone_next(z, 0), INT64_MAX);
    zone_free(z);
}

static void a_damaged_file_is_an_error_whatever_byte_it_is(void **state)
{
    (void)state;
    static unsigned char good[16384], bad[16384];
    FILE *f = fopen(ZONE_DIR "/America/New_York", "rb");
    if (!f)
        skip();
    size_t len = fread(good, 1, sizeof good, f);
    fclose(f);
    assert_in_range(len, 1000, sizeof good - 1);
    struct err e;
    for (size_t n = 0; n < len; n++) {           /* cut at every byte */
        struct zone *z = zone_parse(good, n, "test", &e);
        assert_null(z);
    }
    srand(1);
    for (int i = 0; i < 20000; i++) {
        memcpy(bad, good, len);
        for (int k = 0; k < 4; k++)
            bad[(size_t)rand() % len] = (unsigned char)rand();
        struct zone *z = zone_parse(bad, len, "test", &e);
        if (z) {                                 /* it may still make sense; then every question has an answer */
            struct zone_local here;
            int64_t instant;
            for (int64_t t = -5000000000; t < 9000000000; t += 777777777) {
                zone_at(z, t, &here);
                assert_non_null(here.abbrev);
                zone_instant(z, t, &instant);
            }
            zone_free(z);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_and_dates_are_each_others_inverse),
        cmocka_unit_test(every_zone_agrees_with_python),
        cmocka_unit_test(far_years_follow_the_rule_at_the_end),
        cmocka_unit_test(gaps_and_overlaps_follow_the_stated_rule),
        cmocka_unit_test(unknown_and_hostile_names_are_refused),
        cmocka_unit_test(a_damaged_file_is_an_error_whatever_byte_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
