CREATE OR REPLACE FUNCTION garun.utc(p_time TIMESTAMP) RETURNS TEXT
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT to_char(p_time, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

COMMENT ON FUNCTION garun.utc(TIMESTAMP) IS
    'A column of type TIMESTAMP as ISO 8601. They hold UTC: garun''s sessions run with TimeZone UTC.';
