CREATE OR REPLACE FUNCTION garun.term(p_text TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT lower(btrim(coalesce(p_text, ''), E' \t\n\r\f\x0B\u00a0\u3000')) $$;

COMMENT ON FUNCTION garun.term(TEXT) IS
    'A search term as it is counted: without white space at its ends (no-break and ideographic space included), in lower
case; null as an empty one.';
