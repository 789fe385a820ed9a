CREATE OR REPLACE FUNCTION garun.micros(p_timestamp TEXT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN p_timestamp ~ '^[0-9]{1,18}$' THEN p_timestamp::bigint END $$;

COMMENT ON FUNCTION garun.micros(TEXT) IS
    'event_timestamp as a number: microseconds since 1970 UTC; null where the text is no such number.';
