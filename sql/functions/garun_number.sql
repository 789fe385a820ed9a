-- The exponent has two digits at the most: the text comes from strangers, and numeric raises beyond its range.
CREATE OR REPLACE FUNCTION garun.number(p_value JSONB) RETURNS NUMERIC
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE jsonb_typeof(p_value)
           WHEN 'number' THEN p_value::numeric
           WHEN 'string' THEN
               CASE WHEN p_value #>> '{}' ~ '^[+-]?([0-9]{1,60}\.?[0-9]{0,60}|\.[0-9]{1,60})([eE][+-]?[0-9]{1,2})?$'
                    THEN (p_value #>> '{}')::numeric END
           END
$$;

COMMENT ON FUNCTION garun.number(JSONB) IS 'A JSON number, or a JSON string that holds one; else null.';
