CREATE OR REPLACE FUNCTION garun.day_offset(p_day DATE, p_time_zone TEXT) RETURNS INTEGER
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN min(o) = max(o) THEN min(o)::int END
      FROM (SELECT extract(epoch FROM d AT TIME ZONE 'UTC' AT TIME ZONE p_time_zone - d) AS o
              FROM generate_series((p_day - 1)::timestamp, p_day + 2, interval '1 day') AS d) AS days
$$;

COMMENT ON FUNCTION garun.day_offset(DATE, TEXT) IS
    'Seconds that the time zone is ahead of UTC, where that is the same from the day before to the day after; else
null.';
