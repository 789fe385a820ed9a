CREATE OR REPLACE FUNCTION garun.iso(p_at BIGINT) RETURNS TEXT
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT to_char(timestamp 'epoch' + p_at * interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

COMMENT ON FUNCTION garun.iso(BIGINT) IS 'Microseconds since 1970 UTC as ISO 8601, as in 2024-01-05T10:20:30.123456Z.';
