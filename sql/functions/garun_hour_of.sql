CREATE OR REPLACE FUNCTION garun.hour_of(p_at BIGINT, p_day DATE, p_time_zone TEXT, p_offset INTEGER) RETURNS INTEGER
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN p_at IS NULL THEN 0
        WHEN p_offset IS NOT NULL THEN
            greatest(0, least(23, (p_at / 1000000 + p_offset - (p_day - date '1970-01-01') * 86400::bigint) / 3600))::int
        ELSE greatest(0, least(23, floor(extract(epoch FROM
            (timestamptz 'epoch' + p_at * interval '1 microsecond') AT TIME ZONE p_time_zone - p_day::timestamp)
            / 3600)))::int
    END
$$;

COMMENT ON FUNCTION garun.hour_of(BIGINT, DATE, TEXT, INTEGER) IS
    'The hour, 0 to 23, of an event (microseconds since 1970 UTC) on its event_date by the clock of the time zone. An
event whose local day is another one goes to the nearest hour of event_date; without a time to hour 0. p_offset:
seconds from UTC when garun.day_offset knows one for the whole day, which is quicker; else null.';
