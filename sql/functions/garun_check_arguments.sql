-- What the analytics functions refuse, in one place. SQLSTATE 22023, invalid_parameter_value.

CREATE OR REPLACE FUNCTION garun.check_range(p_tenant_id UUID, p_start_date DATE, p_end_date DATE) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF p_tenant_id IS NULL THEN
        RAISE EXCEPTION 'p_tenant_id must not be null' USING ERRCODE = '22023';
    END IF;
    IF p_end_date < p_start_date THEN
        RAISE EXCEPTION 'p_end_date (%) is before p_start_date (%)', p_end_date, p_start_date USING ERRCODE = '22023';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION garun.check_page(p_page INTEGER, p_limit INTEGER) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF p_page IS NULL OR p_page < 1 THEN
        RAISE EXCEPTION 'p_page must be 1 or more, got %', coalesce(p_page::text, 'null') USING ERRCODE = '22023';
    END IF;
    IF p_limit IS NULL OR p_limit < 1 OR p_limit > 1000 THEN
        RAISE EXCEPTION 'p_limit must be from 1 to 1000, got %', coalesce(p_limit::text, 'null') USING ERRCODE = '22023';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION garun.envelope(p_data JSONB, p_total BIGINT, p_page INTEGER, p_limit INTEGER) RETURNS JSONB
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object('data', coalesce(p_data, '[]'), 'total', coalesce(p_total, 0), 'page', p_page,
        'limit', p_limit, 'has_more', p_page::bigint * p_limit < coalesce(p_total, 0))
$$;

COMMENT ON FUNCTION garun.check_range(UUID, DATE, DATE) IS
    'Raises 22023 for a null tenant and for an end before the start; a null date is open.';
COMMENT ON FUNCTION garun.check_page(INTEGER, INTEGER) IS 'Raises 22023 for a page below 1 and a limit outside 1 to 1000.';
COMMENT ON FUNCTION garun.envelope(JSONB, BIGINT, INTEGER, INTEGER) IS
    'The envelope of a page: data, total, page, limit, has_more.';
